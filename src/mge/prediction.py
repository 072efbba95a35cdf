"""What is said about one photo, by whatever runs the mixture. Imports no torch."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import numpy as np
from PIL import Image

from mge.data.photo import NamedPhoto
from mge.errors import DataError

Photo = str | Path | bytes | Image.Image | NamedPhoto
Prepared = TypeVar("Prepared")
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
    probabilities: tuple[float, ...]
    class_names: tuple[str, ...]
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
        f"the likeliest class, {prediction.likeliest}, has {100 * prediction.probability:.1f} %, and at least "
        f"{100 * threshold:.1f} % is needed"
    )
    return dataclasses.replace(prediction, label=UNKNOWN, reason=reason)


class Answer(NamedTuple):
    """What the mixture says about one photo, and where each expert looked."""

    prediction: Prediction
    attention: Array  # (E, h, w) each one's map of its view, in [0, 1]


class AnyClassifier(ABC):
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
        given = photos if isinstance(photos, list) else [photos]
        predictions = all_or_error(self.stream(given, batch_size=batch_size, cascade=cascade))
        return predictions if isinstance(photos, list) else predictions[0]

    @abstractmethod
    def stream(
        self, photos: Iterable[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Iterator[Prediction | DataError]:
        """Classifies photos one batch after the other, as `predict` does.

        Yields:
            For each photo, in order, its prediction, or the reason why it cannot be read.
        """

    def _prediction(
        self, path: str, probabilities: Array, *, expert_labels: Iterable[int], gate_probs: Array, boxes_xyxy: Array
    ) -> Prediction:
        """What the numbers about one photo say in words; the last three of the experts that looked at it."""
        best = int(probabilities.argmax())
        prediction = Prediction(
            path=path,
            label=self.class_names[best],
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            class_names=self.class_names,
            expert_labels=tuple(self.class_names[label] for label in expert_labels),
            gate_probs=tuple(gate_probs.tolist()),
            boxes_xyxy=tuple(tuple(box) for box in boxes_xyxy.tolist()),
        )
        return prediction if self.least_probability is None else reject(prediction, threshold=self.least_probability)


def name_of(photo: Photo) -> str:
    """What a prediction calls a photo: its path, or the name that it has in a larger file."""
    if isinstance(photo, NamedPhoto):
        return photo.name
    return str(photo) if isinstance(photo, str | Path) else ""


def in_batches(
    photos: Iterable[Photo],
    *,
    batch_size: int,
    prepare: Callable[[Photo], Prepared],
    answer: Callable[[Sequence[tuple[Photo, Prepared]], int], Sequence[Prediction]],
) -> Iterator[Prediction | DataError]:
    """Classifies photos one batch after the other.

    Args:
        photos: The photos.
        batch_size: How many at a time.
        prepare: Makes of a photo what `answer` takes, or raises DataError.
        answer: Classifies a batch; it is told how many photos are still to come, as far as is known.

    Yields:
        For each photo, in order, its prediction, or the reason why it cannot be read.
    """

    def try_to_prepare(photo: Photo) -> Prepared | DataError:
        try:
            return prepare(photo)
        except DataError as error:
            return error

    remaining = iter(photos)
    while batch := list(islice(remaining, batch_size)):
        prepared = [try_to_prepare(photo) for photo in batch]
        pairs = zip(batch, prepared, strict=True)
        readable = [(photo, item) for photo, item in pairs if not isinstance(item, DataError)]
        predicted = iter(answer(readable, length_hint(remaining)) if readable else ())
        for item in prepared:
            yield item if isinstance(item, DataError) else next(predicted)


def all_or_error(results: Iterable[Prediction | DataError]) -> list[Prediction]:
    """All predictions.

    Raises:
        DataError: the first photo that could not be read.
    """
    predictions: list[Prediction] = []
    for result in results:
        if isinstance(result, DataError):
            raise result
        predictions.append(result)
    return predictions
