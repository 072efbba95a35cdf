"""Training of heads on cached features of a frozen backbone, computed once for each view: seconds in place of hours."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mge.config import TrainConfig
from mge.data.dataset import PhotoDataset
from mge.data.loader import Batch
from mge.errors import ConfigError
from mge.evaluation.run_model import EvalOutputs, summarize
from mge.models.mixture import MixtureOfExperts
from mge.training.cached_views import CachedViews, Check
from mge.training.step import Network, StepFigures, learn_from


class FeatureCache:
    """Cached features of the training and validation photos, and what the training loop does with them.

    Args:
        folder: Folder for the features.
        photos: Training photos.
        val_photos: Validation photos.
        config: Training options.
        fabric: Lightning Fabric, launched.

    Raises:
        ConfigError: there are several processes.
    """

    def __init__(
        self, folder: Path, *, photos: PhotoDataset, val_photos: PhotoDataset | None, config: TrainConfig,
        fabric: Fabric,
    ) -> None:  # fmt: skip
        if fabric.world_size > 1:
            raise ConfigError(
                f"cached_views is {config.cached_views} and there are {fabric.world_size} processes; cached features "
                "are for one process: use devices=1, or cached_views=0"
            )
        batch_size = config.global_batch_size
        self.train = CachedViews(folder / "train", photos, num_views=config.cached_views, batch_size=batch_size)
        self.val: CachedViews | None = None
        if val_photos is not None:
            self.val = CachedViews(folder / "val", val_photos, num_views=1, batch_size=batch_size)
        self.follows_labels = config.train_cam_class == "label"

    @torch.no_grad()
    def prepare(self, model: MixtureOfExperts, *, check: Check) -> None:
        """Compute the features that the active experts lack, and the outputs of all but the last of them.

        Args:
            model: The mixture; all its active experts but the last are trained. Its mode is restored afterwards.
            check: Called after each batch; may raise to stop.
        """
        was_training = model.training
        model.eval()
        for views in (self.train, self.val):
            if views is not None:
                views.prepare(model, follows_labels=self.follows_labels and views is self.train, check=check)
        model.train(was_training)

    def load(self, batches: Sequence[Sequence[int]], *, epoch: int) -> Iterator[Batch]:
        """Yield batches without images, whose indices are the rows of the cached features."""
        first = epoch % self.train.num_views * len(self.train.photos)
        for batch in batches:
            yield self.train.batch(torch.tensor(batch) + first)

    def step(
        self, fabric: Fabric, network: Network, batch: Batch, targets: Tensor, /, *, config: TrainConfig
    ) -> StepFigures:
        """Accumulate one batch's gradients, as `train_step` does for photos."""
        passes = self.train.passes(network.experts, batch)
        return learn_from(fabric, network, passes, batch, targets, config=config)

    @torch.inference_mode()
    def validate(self, fabric: Fabric, model: MixtureOfExperts) -> EvalOutputs:
        """Run the heads of the active experts on the validation photos' features; attention and boxes stay empty."""
        assert self.val is not None
        was_training = model.training
        model.eval()
        experts = model.experts_in_turn[: model.active_experts]
        parts = []
        for rows in torch.arange(self.val.num_rows).split(self.val.batch_size):
            batch = Batch(*(tensor.to(fabric.device) for tensor in self.val.batch(rows)))
            with fabric.autocast():
                output = model.combine(list(self.val.passes(experts, batch)))
            parts.append(summarize(output, batch, mix=model.config.mix))
        model.train(was_training)
        return EvalOutputs(*(torch.cat(column) for column in zip(*parts, strict=True)))
