"""A trained mixture that answers questions about photos."""

import contextlib
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mge.cascade.runner import run_cascade
from mge.config import DataConfig
from mge.data.photo import open_photo
from mge.data.transforms import eval_view
from mge.errors import ConfigError, ModelFolderError, first_line
from mge.inference import prediction
from mge.inference.compiled import Arithmetic, multiplies_bfloat16
from mge.inference.compiled_cache import compiled_path
from mge.inference.fast_path import FastPath
from mge.inference.probabilities import calibrated
from mge.models.mixture import MixtureOfExperts
from mge.storage.fitted_parameters import read_least_probability, read_preprocessing, read_temperature, read_thresholds
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.run_folder import find_model_folder

Prepared = prediction.Prepared[torch.Tensor]


class Classifier(prediction.AnyClassifier[torch.Tensor]):
    """A mixture with its class names and its way of preparing photos.

    Args:
        model: The mixture, in the mode of evaluation.
        class_names: Names of the classes, in the order of the logits.
        data: How photos are resized and cropped.
        thresholds: For each expert but the last, the lead (0.5 to 1; see `cascade.margin.top2_margin`) from which the
            later ones do not look in a cascade.
        temperature: What logits are divided by for probabilities to mean what they say; 1 changes nothing.
        least_probability: Below it a photo is called unknown. None: no photo is.
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

    @classmethod
    def from_stored(cls, stored: StoredModel) -> "Classifier":
        """Builds the network of a model folder and fills it with its weights.

        Raises:
            ModelFolderError: the weights are those of another architecture.
        """
        num_classes = len(stored.class_names)
        try:
            with torch.device("meta"):  # takes no memory, whatever a description that somebody wrote asks for
                described = MixtureOfExperts.from_config(stored.config, num_classes=num_classes)
            described.load_state_dict(stored.state, assign=True)
            with torch.random.fork_rng(devices=[]):  # first weights are drawn, and nobody ever sees them
                model = MixtureOfExperts.from_config(stored.config, num_classes=num_classes)
            model.load_state_dict(stored.state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelFolderError(f"the weights do not fit the architecture in model.json: {reason}") from error
        return cls(
            model, class_names=stored.class_names, data=read_preprocessing(stored.metadata),
            thresholds=read_thresholds(stored.metadata), temperature=read_temperature(stored.metadata),
            least_probability=read_least_probability(stored.metadata),
        )  # fmt: skip

    @property
    def num_experts(self) -> int:
        """How many experts look at a photo that is no easy one of a cascade."""
        return self.model.active_experts

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """The probabilities that logits of the mixture stand for, at its temperature."""
        return calibrated(logits, temperature=self.temperature)

    def prepare(self, photo: prediction.Photo) -> Prepared:
        """A photo as the network wants it.

        Raises:
            DataError: it cannot be read.
        """
        return Prepared(*eval_view(open_photo(photo), side=self.side, config=self.data))

    def _need_thresholds(self) -> tuple[float, ...]:
        if self.thresholds is None:
            raise ConfigError(
                "the model has no thresholds for a cascade; this chooses them on validation photos: "
                "mge evaluate RUN --cascade"
            )
        return self.thresholds

    @torch.inference_mode()
    def _ask(self, images: list[torch.Tensor], *, cascade: bool, num_waiting: int) -> dict[str, prediction.Array]:
        if self.model.training:  # batch norm would learn from the photos, and answers depend on each other
            raise ConfigError("the model is in the mode of training; go back with: classifier.model.eval()")
        first = next(self.model.parameters())
        batch = torch.stack(images).to(first.device)
        said: dict[str, torch.Tensor] = {}
        with _in_arithmetic_of(self.model) as model:
            if cascade:
                output, said["num_experts_run"] = run_cascade(model, batch, thresholds=self._need_thresholds())
            elif self.fast is None or first.dtype != torch.float32:  # a compiled graph has the stored weights
                output = model(batch)
            else:
                output = self.fast.answer(batch, num_waiting=num_waiting)
        said |= {**output._asdict(), "probabilities": self.probabilities(output.logits)}
        return {name: tensor.float().cpu().numpy() for name, tensor in said.items()}


@contextlib.contextmanager
def _in_arithmetic_of(model: MixtureOfExperts) -> Iterator[MixtureOfExperts]:
    """Give a network that answers whatever type its owner has made its weights.

    Photos stay float32, in which boxes are exact, and halves are multiplied by autocast. Weights of float64 are
    multiplied in float32: the answers are no better for the digits that they were given.
    """
    first = next(model.parameters())
    if first.dtype in (torch.float16, torch.bfloat16):
        with torch.autocast(first.device.type, dtype=first.dtype):
            yield model
    else:
        yield model if first.dtype == torch.float32 else copy.deepcopy(model).float()


def load_folder(path: str | Path, *, device: str = "cpu", fast: bool | None = None) -> Classifier:
    """Loads the classifier of a folder.

    Args:
        path: A run folder (its best model is taken) or a model folder.
        device: Where it shall run, as torch names it.
        fast: Whether it answers with a compiled graph, which is compiled with the first photos if it is not in the
            cache. None: where that is proven equal and saves time; see `FastPath`.

    Raises:
        ModelFolderError: there is no whole model at this path.
        ConfigError: it cannot run on this device.
    """
    folder = find_model_folder(path)
    stored = load_model(folder)
    classifier = Classifier.from_stored(stored)
    try:
        classifier.model.to(device)
    except (RuntimeError, AssertionError) as error:  # the latter of a torch that was built without it
        raise ConfigError(
            f"device is {device!r}, which cannot be used: {first_line(error)}; accepted: cpu, and cuda, cuda:1, mps, … "
            "where this machine has them"
        ) from error
    if fast or (fast is None and device == "cpu"):
        choices: tuple[Arithmetic, ...] = ("bfloat16", "float32") if multiplies_bfloat16(device) else ("float32",)
        threads = torch.get_num_threads()
        graphs = {
            choice: compiled_path(stored.sha256, arithmetic=choice, device=device, num_threads=threads)
            for choice in choices
        }
        classifier.fast = FastPath(classifier.model, graphs, is_asked_for=bool(fast))
    return classifier
