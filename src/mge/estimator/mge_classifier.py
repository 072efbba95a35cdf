"""Training and inference behind the interface of scikit-learn's classifiers, which itself is not needed."""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

import mge
from mge.config import Preset, complete_options
from mge.data.labels import clean_label
from mge.errors import ConfigError, DataError
from mge.inference.prediction import Photo

OWN = ("preset", "out", "device")


class MGEClassifier:
    """A mixture of experts as a scikit-learn classifier of photos: for pipelines, cross-validation and grid search.

    It follows the conventions of scikit-learn's estimators, except that X holds photos, not numbers: paths, Pillow
    images, or uint8 arrays (H, W, 3) or (H, W).

    Args:
        preset: Preset that supplies the default values, as in `mge.train`.
        out: Folder in which the run is kept. None: the run is written to a temporary folder, and its best model stays
            in memory; a grid search needs that.
        device: Device of predictions, by torch's name. `accelerator` is that of training.
        options: Any option of `mge.train`, such as `backbone` or `epochs`. `test_fraction` is 0 unless given.

    Attributes:
        classes_: The labels, sorted, in the order of the columns of `predict_proba`.
        classifier_: The trained `Classifier`.
        summary_: Metrics of the run, such as on the photos that were held out for validation.

    Raises:
        ConfigError: there is no such option.
    """

    def __init__(
        self, *, preset: Preset = "default", out: str | Path | None = None, device: str = "cpu", **options: Any,  # noqa: ANN401
    ) -> None:  # fmt: skip
        complete_options(options)  # names that there are not
        self.preset, self.out, self.device, self.options = preset, out, device, options

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.get_params().items())})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters: preset, out, device, and the options that were given."""
        return {**{name: getattr(self, name) for name in OWN}, **self.options}

    def set_params(self, **params: Any) -> Self:  # noqa: ANN401
        """Change parameters; any option of `mge.train` may be among them.

        Raises:
            ConfigError: there is no such parameter.
        """
        own = {name: value for name, value in params.items() if name in OWN}
        options = {name: value for name, value in params.items() if name not in OWN}
        complete_options(options)
        for name, value in own.items():
            setattr(self, name, value)
        self.options = {**self.options, **options}
        return self

    def fit(self, X: Iterable[Any], y: ArrayLike) -> Self:
        """Train a mixture on photos, and keep its best epoch.

        Args:
            X: The photos.
            y: Their labels: texts or numbers.

        Raises:
            DataError: the photos or labels cannot be used for training.
            ConfigError: an option has an invalid value.
        """
        photos, labels = list(X), np.asarray(y)
        if labels.ndim != 1 or len(labels) != len(photos):
            raise DataError(f"y has the shape {labels.shape} for {len(photos)} photos; accepted: one label for each")
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        names = _name_classes(self.classes_.tolist())
        options = {"test_fraction": 0.0, **self.options}
        with tempfile.TemporaryDirectory(prefix="mge-") as folder:
            manifest = _write_manifest(photos, [names[number] for number in numbers], folder=Path(folder))
            out = Path(folder) / "run" if self.out is None else self.out
            run = mge.train(manifest, preset=self.preset, out=out, **options)
            self.classifier_ = mge.load(run, device=self.device, fast=False)
            self.summary_ = run.summary()
        self._columns = [self.classifier_.class_names.index(name) for name in names]
        return self

    def predict_proba(self, X: Iterable[Any]) -> NDArray[np.float64]:
        """Return the probability of each class for each photo, with a column for each of `classes_`.

        Raises:
            ConfigError: it is not fitted.
            DataError: a photo cannot be read.
        """
        if not hasattr(self, "classifier_"):
            raise ConfigError("this MGEClassifier is not fitted; call fit(photos, labels) first")
        predictions = self.classifier_.predict([_as_photo(photo) for photo in X])
        rows = np.array([each.probabilities for each in predictions], dtype=np.float64)
        rows = rows.reshape(len(predictions), len(self.classes_))[:, self._columns]
        normal: NDArray[np.float64] = rows / rows.sum(axis=1, keepdims=True)  # in float64, as scikit-learn checks it
        return normal

    def predict(self, X: Iterable[Any]) -> NDArray[Any]:
        """Return the most probable label of each photo, whatever its probability."""
        probabilities = self.predict_proba(X)  # raises where it is not fitted
        labels: NDArray[Any] = self.classes_[probabilities.argmax(1)]
        return labels

    def score(self, X: Iterable[Any], y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy, from 0 to 1."""
        weights = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        return float(np.average(self.predict(X) == np.asarray(y), weights=weights))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classifier_")

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  (scikit-learn's, which alone asks for it)
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags  # noqa: PLC0415

        return Tags(
            estimator_type="classifier", target_tags=TargetTags(required=True), classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, three_d_array=True, string=True), non_deterministic=False,
        )  # fmt: skip


def _name_classes(labels: Sequence[object]) -> list[str]:
    """Return the names of classes: the labels as text, without invisible differences.

    Raises:
        DataError: two labels have one name, or a label has none.
    """
    names: dict[str, object] = {}
    for label in labels:
        name = clean_label(str(label))
        if not name or name in names:
            other = f"reads like {names[name]!r}" if name else "has no visible character"
            raise DataError(f"the label {label!r} {other}; give each class a label that can be told from the others")
        names[name] = label
    return list(names)


def _write_manifest(photos: Sequence[Any], labels: Sequence[str], *, folder: Path) -> Path:
    """List photos with their labels in a manifest; those in memory are written beside it, without loss."""
    lines = []
    for number, (photo, label) in enumerate(zip(photos, labels, strict=True)):
        given = _as_photo(photo)
        if isinstance(given, Image.Image):
            path = folder / f"{number:08}.png"
            given.save(path)
        elif isinstance(given, str | os.PathLike):
            path = Path(given).absolute()
        else:
            raise DataError(f"X[{number}] is {type(photo).__name__}; accepted: a path, a Pillow image or a uint8 array")
        lines.append(json.dumps({"path": str(path), "label": label}) + "\n")
    manifest = folder / "photos.jsonl"
    manifest.write_text("".join(lines), encoding="utf-8")
    return manifest


def _as_photo(photo: Any) -> Photo:  # noqa: ANN401  (an array, or what a classifier takes)
    """Return an array as an image, and anything else as it is.

    Raises:
        DataError: the array is not of uint8, (H, W) or (H, W, 3).
    """
    if not isinstance(photo, np.ndarray):
        return photo  # type: ignore[no-any-return]  # checked where it is opened
    if photo.dtype != np.uint8 or not (photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] in (3, 4))):
        raise DataError(
            f"a photo is an array of {photo.dtype} of the shape {photo.shape}; accepted: uint8 of the shape (height, "
            "width, 3) or (height, width)"
        )
    return Image.fromarray(photo)
