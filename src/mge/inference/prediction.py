"""Predictions for photos, independent of the runtime of the mixture. Imports no torch."""

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
from PIL import Image

from mge.config import ModelConfig, check_whole
from mge.data.photo import NamedPhoto, as_text, open_photo
from mge.data.preprocess import CropGeometry
from mge.errors import ConfigError, DataError
from mge.inference.embedding import embed_each
from mge.notebook.frames import Rows, make_frame, make_matrix
from mge.notebook.html import html_bars, html_card, html_table, text_card
from mge.notebook.thumbnail import html_thumbnail
from mge.storage.model_facts import list_facts

if TYPE_CHECKING:
    from pandas import DataFrame

Photo = str | Path | bytes | Image.Image | NamedPhoto
GivenPhoto = TypeVar("GivenPhoto", bound=Photo)  # so that lists of paths are lists of photos, too
Picture = TypeVar("Picture")  # pixels of one photo: a NumPy array, or a tensor
Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
UNKNOWN = "unknown"  # the label of a photo with too low a probability
NUM_SHOWN = 5  # most probable classes that a notebook shows


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Prediction of a mixture for one photo.

    Args:
        path: Path of the photo; empty for an image in memory.
        label: Name of the most probable class, or `unknown` if its probability is too low; see `reason`.
        probability: Probability of the most probable class, from 0 to 1.
        probabilities: The probability of every class, in the order of `class_names`.
        class_names: Names of the classes.
        expert_labels: The most probable class of each expert by itself.
        gate_probs: Gate weight of each expert.
        boxes_xyxy: Region seen by each expert, in the photo's own pixels, end-exclusive.
        reason: Reason for the label `unknown`; empty otherwise.

    With early exit, experts that did not run are left out of the three fields before `reason`.
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
        """Name of the most probable class, whatever its probability."""
        return self.top(1)[0][0]

    @property
    def num_experts_run(self) -> int:
        """Number of experts that ran for the photo."""
        return len(self.boxes_xyxy)

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k most probable classes with their probabilities, in falling order."""
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:k]

    def _repr_html_(self) -> str:
        """Return the photo with its boxes, and the most probable classes; without the photo if its file is gone."""
        picture = ""
        if self.path:
            with contextlib.suppress(DataError):
                picture = html_thumbnail(open_photo(self.path), self.boxes_xyxy)
        facts = {"photo": as_text(self.path)} if self.path else {}
        facts |= {"reason": self.reason} if self.reason else {}
        facts["experts"] = ", ".join(
            f"{label} (gate {100 * share:.0f} %)"
            for label, share in zip(self.expert_labels, self.gate_probs, strict=True)
        )
        title = f"{self.label}  {100 * self.probability:.1f} %"
        return html_card(title, facts, picture, html_bars(self.top(NUM_SHOWN)))


class Predictions(list[Prediction]):
    """A list of predictions that becomes data frames on request."""

    def to_frame(self) -> "DataFrame":
        """Return a data frame with a row for each photo: path, label, probability, reason, num_experts_run.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return make_frame(self._rows())

    @property
    def probabilities(self) -> "DataFrame":
        """The probability of every class as a data frame: a row for each photo, a column for each class.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        class_names = self[0].class_names if self else ()
        values = np.array([each.probabilities for each in self]).reshape(len(self), len(class_names))
        return make_matrix(values, rows=[each.path for each in self], columns=class_names, row_name="path")

    def _rows(self) -> Rows:
        names = ("path", "label", "probability", "reason", "num_experts_run")
        return Rows({name: getattr(each, name) for name in names} for each in self)

    def _repr_html_(self) -> str:
        return html_table([{**row, "path": as_text(row["path"])} for row in self._rows()])


def reject(prediction: Prediction, *, threshold: float) -> Prediction:
    """Return the prediction with the label `unknown` if its probability is below the threshold."""
    if prediction.probability >= threshold:
        return prediction
    reason = (
        f"the most likely class, {prediction.likeliest}, has {100 * prediction.probability:.1f} %, below the threshold "
        f"of {100 * threshold:.1f} %"
    )
    return dataclasses.replace(prediction, label=UNKNOWN, reason=reason)


class Answer(NamedTuple):
    """Prediction for one photo, with the attention map of each expert."""

    prediction: Prediction
    attention: Array  # (E, h, w) map of each expert over its view, in [0, 1]


class Prepared(NamedTuple, Generic[Picture]):
    """A preprocessed photo."""

    image: Picture  # uint8 (3, side, side), in the runtime's type
    geometry: CropGeometry  # mapping back to the photo's own pixels


class AnyClassifier(ABC, Generic[Picture]):
    """Common interface of classifiers, independent of the runtime of the mixture.

    Args:
        class_names: Names of the classes, in the order of the logits.
        least_probability: Probability below which a photo is unknown. None: no rejection.
    """

    def __init__(self, *, class_names: Sequence[str], least_probability: float | None) -> None:
        self.class_names, self.least_probability = tuple(class_names), least_probability

    def __repr__(self) -> str:
        return text_card(f"{type(self).__name__} of {len(self.class_names):,} classes", self.facts())

    def _repr_html_(self) -> str:
        return html_card(f"{type(self).__name__} of {len(self.class_names):,} classes", self.facts())

    def facts(self) -> dict[str, str]:
        """Return what the model is, in a few lines: network, classes, view, accuracy if known, fitted parameters."""
        return list_facts(*self._architecture())

    @abstractmethod
    def _architecture(self) -> tuple[ModelConfig, tuple[str, ...], Mapping[str, Any]]:
        """Return the architecture, the class names, and the other content of model.json."""

    @overload
    def predict(self, photos: Photo, *, batch_size: int = 16, cascade: bool = False) -> Prediction: ...

    @overload
    def predict(self, photos: list[Photo], *, batch_size: int = 16, cascade: bool = False) -> Predictions: ...

    @overload
    def predict(self, photos: list[GivenPhoto], *, batch_size: int = 16, cascade: bool = False) -> Predictions: ...

    def predict(
        self, photos: Photo | list[GivenPhoto], *, batch_size: int = 16, cascade: bool = False
    ) -> Prediction | Predictions:
        """Classify a photo, or a list of them, which gives a list with `to_frame()` and `probabilities` for pandas.

        Args:
            photos: A path, the bytes of a file or a Pillow image, or a list of these.
            batch_size: Photos at a time.
            cascade: Whether to exit early: later experts run only on photos that are still uncertain.

        Raises:
            DataError: a photo cannot be read.
            ConfigError: early exit is requested, and the model has no thresholds for it; or the batch size is invalid.
        """
        given = photos if isinstance(photos, list) else [photos]
        predictions = Predictions()
        for result in self.stream(given, batch_size=batch_size, cascade=cascade):
            if isinstance(result, DataError):
                raise result
            predictions.append(result)
        return predictions if isinstance(photos, list) else predictions[0]

    def stream(
        self, photos: Iterable[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Iterator[Prediction | DataError]:
        """Classify photos one batch after the other, as `predict` does.

        Yields:
            For each photo, in order, its prediction, or the error of reading it.
        """
        if isinstance(photos, Photo):  # a path is iterable, too
            raise ConfigError("photos is a single photo; accepted: a list or another iterable of photos")
        batch_size = check_whole("batch_size", batch_size, at_least=1)
        if cascade:
            self._need_thresholds()
        remaining = iter(photos)
        while batch := list(islice(remaining, batch_size)):
            pairs = [(name_of(photo), self.try_to_prepare(photo)) for photo in batch]
            readable = [(name, item) for name, item in pairs if not isinstance(item, DataError)]
            answers = iter(self._answer(readable, cascade=cascade))
            for _, item in pairs:
                yield item if isinstance(item, DataError) else next(answers).prediction

    def embed(self, photos: Photo | list[GivenPhoto], *, batch_size: int = 16) -> Array:
        """Return the features of photos, float32 (N, D): for similar photos, clusters or another classifier.

        They are the pooled features that each expert's large-part head reads, those of the backbone's own classifier:
        D is the number of experts times that width, expert 0 (the whole photo) first. A single photo is one row.

        Args:
            photos: A path, the bytes of a file or a Pillow image, or a list of these.
            batch_size: Photos at a time; it does not change the features but for rounding.

        Raises:
            DataError: a photo cannot be read, or the list is empty.
            ConfigError: the batch size is invalid, or this is an exported graph, which has no features.
        """
        given = photos if isinstance(photos, list) else [photos]
        rows = []
        for row in embed_each(self, given, batch_size=batch_size):
            if isinstance(row, DataError):
                raise row
            rows.append(row)
        if not rows:
            raise DataError("photos is empty; give at least one photo to embed")
        return np.stack(rows)

    def explain(self, photo: Photo, *, against: str | None = None) -> Image.Image:
        """Return the picture that `mge explain` draws: the photo, and view, attention and prediction of each expert.

        Args:
            photo: A path, the bytes of a file or a Pillow image.
            against: A class to contrast the prediction with.

        Raises:
            DataError: the photo cannot be read.
            ConfigError: there is no such class, or this is an exported graph.
        """
        raise ConfigError("an exported graph cannot explain its predictions; load the run folder or model folder")

    def answer(self, prepared: Sequence[Prepared[Picture]]) -> list[Answer]:
        """Classify preprocessed photos in one batch, and return predictions with attention maps.

        Args:
            prepared: One or more photos, from `prepare`.
        """
        return self._answer([("", photo) for photo in prepared], cascade=False)

    @abstractmethod
    def prepare(self, photo: Photo) -> Prepared[Picture]:
        """Preprocess a photo for the mixture.

        Raises:
            DataError: it cannot be read.
        """

    def features(self, images: list[Picture]) -> Array:
        """Return the features (B, D) of preprocessed photos, as `embed` does.

        Raises:
            ConfigError: this is an exported graph, which has no features.
        """
        raise ConfigError(
            "an exported graph has no features, only predictions; load the run folder or model folder to embed photos"
        )

    @abstractmethod
    def _need_thresholds(self) -> tuple[float, ...]:
        """Return the top-2 margin at which each expert but the last exits early; ConfigError without."""

    @abstractmethod
    def _ask(self, images: list[Picture], *, cascade: bool) -> Mapping[str, Array]:
        """Run the mixture on a batch; return fields of `MixtureOutput`, `probabilities`, maybe `num_experts_run`.

        Args:
            images: Images of preprocessed photos.
            cascade: Whether to exit early: later experts run only on photos that are still uncertain.
        """

    def try_to_prepare(self, photo: Photo) -> Prepared[Picture] | DataError:
        """Preprocess a photo, or return the error of reading it."""
        try:
            return self.prepare(photo)
        except DataError as error:
            return error

    def _answer(self, photos: Sequence[tuple[str, Prepared[Picture]]], *, cascade: bool) -> list[Answer]:
        """Classify named photos in one batch."""
        if not photos:
            return []
        said = self._ask([item.image for _, item in photos], cascade=cascade)
        return [
            Answer(self._prediction(said, row, name=name, geometry=item.geometry), said["attention"][row])
            for row, (name, item) in enumerate(photos)
        ]

    def _prediction(self, said: Mapping[str, Array], row: int, *, name: str, geometry: CropGeometry) -> Prediction:
        """Convert the outputs for one photo to a prediction."""
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
    """Return the name of a photo in predictions: its path, or its name in a larger file."""
    if isinstance(photo, NamedPhoto):
        return photo.name
    return str(photo) if isinstance(photo, str | Path) else ""
