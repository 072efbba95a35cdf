"""A trained mixture that answers questions about photos."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import torch
from PIL import Image

from mge.config import DataConfig
from mge.data.photo import open_photo
from mge.data.transforms import CropGeometry, eval_view
from mge.errors import ConfigError, DataError, ModelFolderError
from mge.models.cascade import run_cascade
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.run_folder import find_model_folder

Photo = str | Path | bytes | Image.Image


class Prepared(NamedTuple):
    """A photo as the network wants it."""

    image: torch.Tensor  # uint8 (3, side, side)
    geometry: CropGeometry  # how to get from there to the photo's own pixels


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a mixture says about one photo.

    Args:
        path: Where the photo came from; empty for a picture in memory.
        label: Name of the likeliest class.
        probability: Its probability according to the mixture, from 0 to 1.
        probabilities: The probability of every class, in the order of `class_names`.
        class_names: Names of the classes.
        expert_labels: The class that each expert by itself holds for likeliest.
        gate_probs: How much each expert counted.
        boxes_xyxy: What each expert saw, in the photo's own pixels, end-exclusive.

    In a cascade, an expert that did not look at the photo is left out of the last three.
    """

    path: str
    label: str
    probability: float
    probabilities: tuple[float, ...]
    class_names: tuple[str, ...]
    expert_labels: tuple[str, ...]
    gate_probs: tuple[float, ...]
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]

    @property
    def num_experts_run(self) -> int:
        """How many experts looked at the photo."""
        return len(self.boxes_xyxy)

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k likeliest classes with their probabilities, likeliest first."""
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:k]


class Classifier:
    """A mixture with its class names and its way of preparing photos.

    Args:
        model: The mixture, in the mode of evaluation.
        class_names: Names of the classes, in the order of the logits.
        data: How photos are resized and cropped.
        thresholds: For each expert but the last, how sure it must be for the later ones not to look in a cascade.
    """

    def __init__(
        self, model: MixtureOfExperts, *, class_names: Sequence[str], data: DataConfig | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.model = model.eval()
        self.class_names = tuple(class_names)
        self.data = data or DataConfig()
        self.thresholds = None if thresholds is None else tuple(thresholds)
        self.side = round(model.config.size * model.config.detail)

    @classmethod
    def from_stored(cls, stored: StoredModel) -> "Classifier":
        """Builds the network of a model folder and fills it with its weights."""
        model = MixtureOfExperts.from_config(stored.config, num_classes=len(stored.class_names))
        try:
            model.load_state_dict(stored.state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelFolderError(f"the weights do not fit the architecture in model.json: {reason}") from error
        preprocessing = stored.metadata.get("preprocessing", {})
        return cls(
            model, class_names=stored.class_names, data=DataConfig.from_dict(preprocessing),
            thresholds=stored.metadata.get("cascade", {}).get("thresholds"),
        )  # fmt: skip

    def prepare(self, photo: Photo) -> Prepared:
        """A photo as the network wants it.

        Raises:
            DataError: it cannot be read.
        """
        opened = photo if isinstance(photo, Image.Image) else open_photo(photo)
        return Prepared(*eval_view(opened.convert("RGB"), side=self.side, config=self.data))

    @overload
    def predict(self, photos: Photo, *, batch_size: int = 16, cascade: bool = False) -> Prediction: ...

    @overload
    def predict(self, photos: list[Photo], *, batch_size: int = 16, cascade: bool = False) -> list[Prediction]: ...

    def predict(
        self, photos: Photo | list[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Prediction | list[Prediction]:
        """Classifies a photo, or a list of them.

        Args:
            photos: A path, the bytes of a file or a Pillow image, or a list of these.
            batch_size: Photos at a time.
            cascade: Whether later experts look only at photos that those before them were not sure about.

        Raises:
            DataError: a photo cannot be read.
            ConfigError: a cascade is asked for, and the model has no thresholds for one.
        """
        predictions: list[Prediction] = []
        given = photos if isinstance(photos, list) else [photos]
        for result in self.stream(given, batch_size=batch_size, cascade=cascade):
            if isinstance(result, DataError):
                raise result
            predictions.append(result)
        return predictions if isinstance(photos, list) else predictions[0]

    def stream(
        self, photos: Iterable[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Iterator[Prediction | DataError]:
        """Classifies photos one batch after the other, as `predict` does.

        Yields:
            For each photo, in order, its prediction, or the reason why it cannot be read.
        """
        thresholds = self._need_thresholds() if cascade else None
        remaining = iter(photos)
        while batch := list(islice(remaining, batch_size)):
            prepared = [self._try_to_prepare(photo) for photo in batch]
            readable = [
                (photo, item) for photo, item in zip(batch, prepared, strict=True) if isinstance(item, Prepared)
            ]
            predicted = iter(self._predict_batch(readable, thresholds=thresholds) if readable else ())
            for item in prepared:
                yield item if isinstance(item, DataError) else next(predicted)

    def _try_to_prepare(self, photo: Photo) -> Prepared | DataError:
        try:
            return self.prepare(photo)
        except DataError as error:
            return error

    def _need_thresholds(self) -> tuple[float, ...]:
        if self.thresholds is None:
            raise ConfigError(
                "the model has no thresholds for a cascade; this chooses them on validation photos: "
                "mge evaluate RUN --cascade"
            )
        return self.thresholds

    @torch.inference_mode()
    def _predict_batch(
        self, photos: list[tuple[Photo, Prepared]], *, thresholds: tuple[float, ...] | None
    ) -> list[Prediction]:
        device = next(self.model.parameters()).device
        images = torch.stack([prepared.image for _, prepared in photos]).to(device)
        if thresholds is None:
            output, counts = self.model(images), [self.model.active_experts] * len(images)
        else:
            output, num_experts_run = run_cascade(self.model, images, thresholds=thresholds)
            counts = num_experts_run.tolist()
        probabilities = output.logits.float().softmax(1).cpu()
        return [
            self._prediction(
                photo,
                probabilities[row],
                gate_probs=output.gate_probs[row, :count].tolist(),
                expert_labels=output.joint_logits[row, :count].argmax(1).tolist(),
                boxes_xyxy=prepared.geometry.to_photo(output.boxes_xyxy[row, :count].float().cpu()).tolist(),
            )
            for row, ((photo, prepared), count) in enumerate(zip(photos, counts, strict=True))
        ]

    def _prediction(
        self, photo: Photo, probabilities: torch.Tensor, *, gate_probs: list[float], expert_labels: list[int],
        boxes_xyxy: list[Any],
    ) -> Prediction:  # fmt: skip
        best = int(probabilities.argmax())
        return Prediction(
            path=str(photo) if isinstance(photo, str | Path) else "",
            label=self.class_names[best],
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            class_names=self.class_names,
            expert_labels=tuple(self.class_names[label] for label in expert_labels),
            gate_probs=tuple(gate_probs),
            boxes_xyxy=tuple(tuple(box) for box in boxes_xyxy),
        )


def load(path: str | Path, *, device: str = "cpu") -> Classifier:
    """Loads a trained classifier.

    Args:
        path: A run folder (its best model is taken) or a model folder.
        device: Where it shall run, as torch names it.

    Raises:
        ModelFolderError: there is no whole model at this path.
    """
    classifier = Classifier.from_stored(load_model(find_model_folder(path)))
    classifier.model.to(device)
    return classifier
