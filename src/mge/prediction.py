"""What is said about one photo, by whatever runs the mixture. Imports no torch."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, overload

import numpy as np
from PIL import Image

from mge.config import check_whole
from mge.data.photo import NamedPhoto
from mge.data.views import CropGeometry
from mge.errors import ConfigError, DataError

Photo = str | Path | bytes | Image.Image | NamedPhoto
GivenPhoto = TypeVar("GivenPhoto", bound=Photo)  # lists of paths alone are lists of photos, too
Picture = TypeVar("Picture")  # what holds one photo's pixels: an array of NumPy, or a tensor
Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
UNKNOWN = "unknown"  # the label of a photo that the mixture is not sure enough about


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a mixture says about one photo.

    Args:
        path: Where the photo came from; empty for a picture in memory.
        label: Name of the likeliest class, or `unknown` where the mixture is not sure enough of it; see `reason`.
        probability: The likeliest class's probability according to the mixture, from 0 to 1.
        probabilities: The probability of every class, in the order of `class_names`.
        class_names: Names of the classes.
        expert_labels: The class that each expert by itself holds for likeliest.
        gate_probs: How much each expert counted.
        boxes_xyxy: What each expert saw, in the photo's own pixels, end-exclusive.
        reason: Why the label is `unknown`; empty where it is a class.

    In a cascade, an expert that did not look at the photo is left out of the three before `reason`.
    """

    path: str
    label: str
    probability: float
    probabilities: tuple[float, ...] = dataclasses.field(repr=False)  # thousands, perhaps
    class_names: tuple[str, ...] = dataclasses.field(repr=False)
    expert_labels: tuple[str, ...]
    gate_probs: tuple[float, ...]
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]
    reason: str = ""

    @property
    def likeliest(self) -> str:
        """Name of the likeliest class, however sure the mixture is of it."""
        return self.top(1)[0][0]

    @property
    def num_experts_run(self) -> int:
        """How many experts looked at the photo."""
        return len(self.boxes_xyxy)

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k likeliest classes with their probabilities, likeliest first."""
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:k]


def reject(prediction: Prediction, *, threshold: float) -> Prediction:
    """The same prediction, labelled `unknown` where its probability does not reach the threshold."""
    if prediction.probability >= threshold:
        return prediction
    reason = (
        f"the most likely class, {prediction.likeliest}, has {100 * prediction.probability:.1f} %, below the threshold "
        f"of {100 * threshold:.1f} %"
    )
    return dataclasses.replace(prediction, label=UNKNOWN, reason=reason)


class Answer(NamedTuple):
    """What the mixture says about one photo, and where each expert looked."""

    prediction: Prediction
    attention: Array  # (E, h, w) each one's map of its view, in [0, 1]


class Prepared(NamedTuple, Generic[Picture]):
    """A photo as a mixture wants it."""

    image: Picture  # uint8 (3, side, side), as whatever runs the mixture takes it
    geometry: CropGeometry  # how to get from there to the photo's own pixels


class AnyClassifier(ABC, Generic[Picture]):
    """What every classifier of photos does in the same way, whatever runs its mixture.

    Args:
        class_names: Names of the classes, in the order of the logits.
        least_probability: Below it a photo is called unknown. None: no photo is.
    """

    def __init__(self, *, class_names: Sequence[str], least_probability: float | None) -> None:
        self.class_names, self.least_probability = tuple(class_names), least_probability

    @overload
    def predict(self, photos: Photo, *, batch_size: int = 16, cascade: bool = False) -> Prediction: ...

    @overload
    def predict(self, photos: list[Photo], *, batch_size: int = 16, cascade: bool = False) -> list[Prediction]: ...

    @overload
    def predict(self, photos: list[GivenPhoto], *, batch_size: int = 16, cascade: bool = False) -> list[Prediction]: ...

    def predict(
        self, photos: Photo | list[GivenPhoto], *, batch_size: int = 16, cascade: bool = False
    ) -> Prediction | list[Prediction]:
        """Classifies a photo, or a list of them.

        Args:
            photos: A path, the bytes of a file or a Pillow image, or a list of these.
            batch_size: Photos at a time.
            cascade: Whether later experts look only at photos that those before them were not sure about.

        Raises:
            DataError: a photo cannot be read.
            ConfigError: a cascade is asked for, and the model has no thresholds for one; or no photo at a time.
        """
        given = photos if isinstance(photos, list) else [photos]
        predictions: list[Prediction] = []
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
        if isinstance(photos, Photo):  # the letters of a path can be gone through, too
            raise ConfigError("photos is a single photo; accepted: a list or another iterable of photos")
        batch_size = check_whole("batch_size", batch_size, at_least=1)
        if cascade:
            self._need_thresholds()
        remaining = iter(photos)
        while batch := list(islice(remaining, batch_size)):
            pairs = [(name_of(photo), self._try_to_prepare(photo)) for photo in batch]
            readable = [(name, item) for name, item in pairs if not isinstance(item, DataError)]
            answers = iter(self._answer(readable, cascade=cascade, num_waiting=length_hint(remaining)))
            for _, item in pairs:
                yield item if isinstance(item, DataError) else next(answers).prediction

    def answer(self, prepared: Sequence[Prepared[Picture]]) -> list[Answer]:
        """What the mixture says about prepared photos, in one batch, and where each expert looked.

        Args:
            prepared: One or more photos, from `prepare`.
        """
        return self._answer([("", photo) for photo in prepared], cascade=False, num_waiting=0)

    @abstractmethod
    def prepare(self, photo: Photo) -> Prepared[Picture]:
        """A photo as the mixture wants it.

        Raises:
            DataError: it cannot be read.
        """

    @abstractmethod
    def _need_thresholds(self) -> tuple[float, ...]:
        """For each expert but the last, how far it must lead for the later ones not to look; ConfigError without."""

    @abstractmethod
    def _ask(self, images: list[Picture], *, cascade: bool, num_waiting: int) -> Mapping[str, Array]:
        """What the mixture says about a batch: fields of `MixtureOutput`, `probabilities`, perhaps `num_experts_run`.

        Args:
            images: Of prepared photos.
            cascade: Whether later experts look only at photos that those before them were not sure about.
            num_waiting: How many photos are still to come, as far as is known.
        """

    def _try_to_prepare(self, photo: Photo) -> Prepared[Picture] | DataError:
        try:
            return self.prepare(photo)
        except DataError as error:
            return error

    def _answer(
        self, photos: Sequence[tuple[str, Prepared[Picture]]], *, cascade: bool, num_waiting: int
    ) -> list[Answer]:
        """What the mixture says about named photos in one batch."""
        if not photos:
            return []
        said = self._ask([item.image for _, item in photos], cascade=cascade, num_waiting=num_waiting)
        return [
            Answer(self._prediction(said, row, name=name, geometry=item.geometry), said["attention"][row])
            for row, (name, item) in enumerate(photos)
        ]

    def _prediction(self, said: Mapping[str, Array], row: int, *, name: str, geometry: CropGeometry) -> Prediction:
        """What the numbers about one photo say in words."""
        probabilities = said["probabilities"][row]
        best = int(probabilities.argmax())
        count = int(said["num_experts_run"][row]) if "num_experts_run" in said else None
        prediction = Prediction(
            path=name,
            label=self.class_names[best],
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            class_names=self.class_names,
            expert_labels=tuple(self.class_names[label] for label in said["joint_logits"][row, :count].argmax(1)),
            gate_probs=tuple(said["gate_probs"][row, :count].tolist()),
            boxes_xyxy=tuple(tuple(box) for box in geometry.to_photo(said["boxes_xyxy"][row, :count]).tolist()),
        )
        return prediction if self.least_probability is None else reject(prediction, threshold=self.least_probability)


def name_of(photo: Photo) -> str:
    """What a prediction calls a photo: its path, or the name that it has in a larger file."""
    if isinstance(photo, NamedPhoto):
        return photo.name
    return str(photo) if isinstance(photo, str | Path) else ""
