"""What learns in a stage of training, and what its learning has led to."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mge.config import TrainConfig
from mge.models.mixture import MixtureOfExperts
from mge.storage.run_folder import Run
from mge.training.learning_rate import build_optimizer
from mge.training.position import explain_misfit
from mge.training.step import Network


class Learner:
    """A mixture's weights, their optimiser, and the average of them where one is kept.

    Args:
        fabric: Lightning Fabric, launched.
        network: The mixture as Fabric wrapped it, with the weights that the stage goes on from.
        run: Whose checkpoint `saved` is.
        config: How it learns.
        saved: A checkpoint inside the stage. None: the stage begins.

    Raises:
        ModelFolderError: the checkpoint is not this run's.
    """

    def __init__(
        self, fabric: Fabric, network: Network, *, run: Run, config: TrainConfig, saved: Mapping[str, Any] | None
    ) -> None:
        self.network, self.model, self.config = network, network.model, config
        optimizer = build_optimizer(self.model, config)
        self.averaged: AveragedModel | None = None
        if config.ema:
            self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        if saved is not None:
            with explain_misfit(run):
                optimizer.load_state_dict(saved["optimizer"])
                if self.averaged is not None:
                    self.averaged.load_state_dict(saved["averaged"])
        self.optimizer = cast(Optimizer, fabric.setup_optimizers(optimizer))

    @property
    def evaluated(self) -> MixtureOfExperts:
        """The weights that count: the averaged ones where there are any."""
        return self.model if self.averaged is None else self.averaged.module  # type: ignore[return-value]

    def update(self) -> None:
        """New weights, out of the gradients that have been added up."""
        if self.config.clip_norm:
            for expert in self.model.experts:
                torch.nn.utils.clip_grad_norm_(expert.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def is_finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters())

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
        }
