"""Inference with a trained mixture in PyTorch."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mge.cascade.runner import run_cascade
from mge.config import DataConfig, ModelConfig
from mge.data.drawn_beetles import BEETLE_CLASSES, draw_beetle
from mge.data.photo import open_photo
from mge.data.transforms import eval_view
from mge.errors import ConfigError, ModelFolderError, first_line
from mge.inference import prediction
from mge.inference.compiled import Arithmetic, multiplies_bfloat16
from mge.inference.compiled_cache import compiled_path
from mge.inference.fast_path import FastPath, open_fast_path
from mge.inference.probabilities import calibrated
from mge.models.mixture import MixtureOfExperts
from mge.models.outline import outlined
from mge.storage.fitted_parameters import read_least_probability, read_preprocessing, read_temperature, read_thresholds
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.run_folder import find_model_folder

PROOF_PHOTOS = 64  # on which a compiled graph is compared with the network

Prepared = prediction.Prepared[torch.Tensor]


class Classifier(prediction.AnyClassifier[torch.Tensor]):
    """A mixture with its class names and preprocessing.

    Args:
        model: The mixture, in evaluation mode.
        class_names: Names of the classes, in the order of the logits.
        data: Options for resizing and cropping photos.
        thresholds: For each expert but the last, the top-2 margin (0.5 to 1; see `cascade.margin.top2_margin`) from
            which the later ones are skipped with early exit.
        temperature: Softmax temperature of the probabilities; 1 changes nothing.
        least_probability: Probability below which a photo is unknown. None: no rejection.
    """

    def __init__(
        self, model: MixtureOfExperts, *, class_names: Sequence[str], data: DataConfig | None = None,
        thresholds: Sequence[float] | None = None, temperature: float = 1.0, least_probability: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(class_names=class_names, least_probability=least_probability)
        self.model = model.eval()
        self.data = data or DataConfig()
        self.thresholds = None if thresholds is None else tuple(thresholds)
        self.temperature, self.side = temperature, model.config.photo_side
        self.fast: FastPath | None = None
        self.metadata: Mapping[str, Any] = {}  # of model.json, where the mixture was read from one

    @classmethod
    def from_stored(cls, stored: StoredModel) -> "Classifier":
        """Build the network of a model folder and load its weights.

        Raises:
            ModelFolderError: the weights are those of another architecture.
        """
        num_classes = len(stored.class_names)
        try:
            with outlined():  # takes no memory, whatever the description asks for
                described = MixtureOfExperts(stored.config, num_classes=num_classes, pretrained=False)
            described.load_state_dict(stored.state, assign=True)
            with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and discarded
                model = MixtureOfExperts(stored.config, num_classes=num_classes, pretrained=False)
            model.load_state_dict(stored.state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelFolderError(f"the weights do not fit the architecture in model.json: {reason}") from error
        classifier = cls(
            model, class_names=stored.class_names, data=read_preprocessing(stored.metadata),
            thresholds=read_thresholds(stored.metadata), temperature=read_temperature(stored.metadata),
            least_probability=read_least_probability(stored.metadata),
        )  # fmt: skip
        classifier.metadata = stored.metadata
        return classifier

    @property
    def num_experts(self) -> int:
        """Number of experts that run for a photo without early exit."""
        return self.model.active_experts

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return softmax(logits / temperature)."""
        return calibrated(logits, temperature=self.temperature)

    def prepare(self, photo: prediction.Photo) -> Prepared:
        """Preprocess a photo for the network.

        Raises:
            DataError: it cannot be read.
        """
        return Prepared(*eval_view(open_photo(photo), side=self.side, config=self.data))

    def _architecture(self) -> tuple[ModelConfig, tuple[str, ...], Mapping[str, Any]]:
        return self.model.config, self.class_names, self.metadata

    def _need_thresholds(self) -> tuple[float, ...]:
        if self.thresholds is None:
            raise ConfigError(
                "the model has no early-exit thresholds; fit them on validation photos with: mge evaluate RUN --cascade"
            )
        return self.thresholds

    @torch.inference_mode()
    def features(self, images: list[torch.Tensor]) -> prediction.Array:
        """Return the pooled features (B, D) that the experts' large-part heads read, expert 0 first."""
        batch = self._stack(images)
        with _in_arithmetic_of(self.model) as model:
            passes = model.run_experts(model.normalize(batch))
            rows = torch.cat([each.output.large_features.float() for each in passes], dim=1)
        found: prediction.Array = rows.cpu().numpy()
        return found

    def explain(self, photo: prediction.Photo, *, against: str | None = None) -> Image.Image:
        """Return the picture that `mge explain` draws; see `AnyClassifier.explain`."""
        from mge.report.explanation import draw_explanation  # noqa: PLC0415  (the layer of drawings, which is above)

        self._check_mode()
        return draw_explanation(self, photo, against=against)

    def _check_mode(self) -> None:
        if self.model.training:  # batch norm would learn from the photos, and predictions depend on each other
            raise ConfigError("the model is in training mode; call classifier.model.eval() first")

    def _stack(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Return images as a batch on the model's device."""
        self._check_mode()
        return torch.stack(images).to(next(self.model.parameters()).device)

    @torch.inference_mode()
    def _ask(self, images: list[torch.Tensor], *, cascade: bool) -> dict[str, prediction.Array]:
        batch, first = self._stack(images), next(self.model.parameters())
        said: dict[str, torch.Tensor] = {}
        with _in_arithmetic_of(self.model) as model:
            if cascade:
                output, said["num_experts_run"] = run_cascade(model, batch, thresholds=self._need_thresholds())
            elif self.fast is None or first.dtype != torch.float32:  # a compiled graph contains the stored weights
                output = model(batch)
            else:
                output = self.fast.answer(batch)
        said |= {**output._asdict(), "probabilities": self.probabilities(output.logits)}
        return {name: tensor.float().cpu().numpy() for name, tensor in said.items()}


@contextlib.contextmanager
def _in_arithmetic_of(model: MixtureOfExperts) -> Iterator[MixtureOfExperts]:
    """Yield a network for inference with weights of the user's dtype.

    Photos stay float32, in which boxes are exact, and half-precision weights are used under autocast. float64 weights
    are converted to float32, whose precision is sufficient.
    """
    first = next(model.parameters())
    if first.dtype in (torch.float16, torch.bfloat16):
        with torch.autocast(first.device.type, dtype=first.dtype):
            yield model
    else:
        yield model if first.dtype == torch.float32 else copy.deepcopy(model).float()


def load_folder(path: str | Path, *, device: str = "cpu", fast: bool = False) -> Classifier:
    """Load the classifier of a folder.

    Args:
        path: A run folder (its best model is taken) or a model folder.
        device: Device, by torch's name.
        fast: Whether to use a compiled graph, which is compiled and proven equal now if it is not cached; see
            `open_fast_path`.

    Raises:
        ModelFolderError: there is no complete model at this path.
        ConfigError: it cannot run on this device.
    """
    folder = find_model_folder(path)
    stored = load_model(folder)
    classifier = Classifier.from_stored(stored)
    try:
        classifier.model.to(device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without it
        raise ConfigError(
            f"device is {device!r}, which is not available: {first_line(error)}; accepted: cpu, or cuda, cuda:1, mps, "
            "… if this machine has them"
        ) from error
    if fast:
        choices: tuple[Arithmetic, ...] = ("bfloat16", "float32") if multiplies_bfloat16(device) else ("float32",)
        threads = torch.get_num_threads()
        graphs: dict[Arithmetic, Path] = {
            choice: compiled_path(stored.sha256, arithmetic=choice, device=device, num_threads=threads)
            for choice in choices
        }
        classifier.fast = open_fast_path(classifier.model, graphs, draw=lambda: _draw_for_proof(classifier))
    return classifier


def _draw_for_proof(classifier: Classifier) -> torch.Tensor:
    """Return the fixed images on which graph and network are compared: drawn beetles."""
    drawn = (draw_beetle(number % len(BEETLE_CLASSES), seed=number).image for number in range(PROOF_PHOTOS))
    return torch.stack([classifier.prepare(image).image for image in drawn])
