"""What is said about one photo, by whatever runs the mixture. Imports no torch."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from mge.data.photo import NamedPhoto
from mge.errors import DataError

Photo = str | Path | bytes | Image.Image | NamedPhoto
Prepared = TypeVar("Prepared")
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
    attention: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (E, h, w) each one's map of its view, in [0, 1]


def name_of(photo: Photo) -> str:
    """What a prediction calls a photo: its path, or the name that it has in a larger file."""
    if isinstance(photo, NamedPhoto):
        return photo.name
    return str(photo) if isinstance(photo, str | Path) else ""


def as_text(path: str) -> str:
    """A path that any file and terminal can hold: a name in another encoding than UTF-8 gets marks for odd letters."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


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
