"""MGEClassifier among scikit-learn's tools."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

import mge
from mge.inference.classifier import Classifier
from tests.photos import COLORS, write_class_folders
from tests.tiny import TINY

QUICK: dict[str, Any] = {
    **TINY, "schedule": "joint", "experts": 1, "part_filters": 0, "epochs": 2, "backbone_lr": 2e-3, "head_lr": 2e-3,
    "baseline": "none", "val_fraction": 0.0, "workers": 0,
}  # fmt: skip


def draw_arrays(per_class: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Photos of three colours as arrays, and numbers as labels, 30, 10 and 20."""
    rng = np.random.default_rng(0)
    labels = np.array([30, 10, 20] * per_class)
    colors = dict(zip((10, 20, 30), COLORS.values(), strict=True))
    noise = rng.integers(-20, 20, (len(labels), 40, 48, 3))
    arrays = [(np.array(colors[label]) + each).clip(0, 255).astype(np.uint8)
              for label, each in zip(labels.tolist(), noise, strict=True)]  # fmt: skip
    return arrays, labels


@pytest.fixture(scope="module")
def fitted() -> mge.MGEClassifier:
    return mge.MGEClassifier(**QUICK | {"epochs": 4}).fit(*draw_arrays(6))


def test_it_learns_arrays_with_numbers_as_labels(fitted: mge.MGEClassifier) -> None:
    arrays, labels = draw_arrays(4)
    assert fitted.classes_.tolist() == [10, 20, 30]
    probabilities = fitted.predict_proba(arrays)
    assert probabilities.shape == (12, 3)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(12), abs=1e-9)
    predicted = fitted.predict(np.stack(arrays))
    assert predicted.tolist() == fitted.classes_[probabilities.argmax(axis=1)].tolist()
    assert fitted.score(arrays, labels) == np.mean(predicted == labels)
    assert fitted.score(arrays, labels, sample_weight=(predicted == labels) + 1e-9) == pytest.approx(1.0)
    assert fitted.score(arrays, labels) > 0.5
    assert fitted.summary_["split"] == "train"
    assert isinstance(fitted.classifier_, Classifier)


def test_arrays_and_images_are_the_same_photos(fitted: mge.MGEClassifier) -> None:
    arrays, _ = draw_arrays(1)
    images = [Image.fromarray(array) for array in arrays]
    assert np.array_equal(fitted.predict_proba(images), fitted.predict_proba(arrays))


def test_a_fitted_one_is_pickled(fitted: mge.MGEClassifier) -> None:
    arrays, _ = draw_arrays(1)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(arrays), fitted.predict_proba(arrays))
    assert again.get_params() == fitted.get_params()


def test_it_keeps_scikit_learns_conventions(fitted: mge.MGEClassifier) -> None:
    estimator = mge.MGEClassifier(**QUICK)
    assert is_classifier(estimator)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params() == {"preset": "scratch", "out": None, "device": "cpu", **{
        name: value for name, value in QUICK.items() if name != "preset"
    }, "epochs": 4}  # fmt: skip
    assert not hasattr(copied, "classifier_")
    check_is_fitted(fitted)
    assert copied.set_params(epochs=3, device="cpu") is copied
    assert copied.get_params()["epochs"] == 3
    assert fitted.get_params()["epochs"] == 4
    assert repr(mge.MGEClassifier(epochs=3)) == "MGEClassifier(preset='default', out=None, device='cpu', epochs=3)"
    assert make_pipeline(estimator).set_params(mgeclassifier__epochs=5)[-1].get_params()["epochs"] == 5
    assert mge.MGEClassifier().get_params() == {"preset": "default", "out": None, "device": "cpu"}


def test_names_and_values_that_there_are_not_are_one_line() -> None:
    with pytest.raises(mge.ConfigError, match="epoch"):
        mge.MGEClassifier(epoch=3)
    with pytest.raises(ValueError, match="n_jobs"):
        mge.MGEClassifier().set_params(n_jobs=3)
    with pytest.raises(mge.ConfigError, match="this MGEClassifier is not fitted; call fit"):
        mge.MGEClassifier().predict(["a.jpg"])
    arrays, labels = draw_arrays(2)
    with pytest.raises(mge.DataError, match=r"y has the shape \(5,\) for 6 photos; accepted: one label for each"):
        mge.MGEClassifier(**QUICK).fit(arrays, labels[:5])
    with pytest.raises(mge.DataError, match=r"X\[0\] is int; accepted: a path, a Pillow image or a uint8 array"):
        mge.MGEClassifier(**QUICK).fit([1, 2], [0, 1])
    with pytest.raises(mge.DataError, match=r"the label 'a b ' reads like 'a b'; give each class a label"):
        mge.MGEClassifier(**QUICK).fit(arrays[:2], ["a b", "a b "])
    with pytest.raises(mge.DataError, match=r"an array of float64 of the shape \(4, 4, 3\); accepted: uint8"):
        mge.MGEClassifier(**QUICK).fit([np.zeros((4, 4, 3))] * 2, [0, 1])


def test_a_grid_search_over_paths_chooses_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_class_folders(Path("photos"), per_class=4)
    paths = np.array(sorted(map(str, folder.rglob("*.png"))))
    labels = [Path(path).parent.name for path in paths]
    search = GridSearchCV(
        mge.MGEClassifier(**QUICK), {"head_lr": [1e-8, 5e-2]}, cv=2, scoring="neg_log_loss", error_score="raise"
    )
    search.fit(paths, labels)
    assert search.best_params_["head_lr"] in (1e-8, 5e-2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.classes_.tolist() == sorted(COLORS)
    assert set(search.predict(paths)) <= set(COLORS)
    assert list(tmp_path.iterdir()) == [tmp_path / "photos"]  # nothing is left behind
