"""MGE among the types of a notebook: NumPy's numbers, data frames, arrays, and weights that somebody made halves."""

import copy
import json
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import mge
from mge.config import DataConfig, TrainConfig, check_range, check_whole
from mge.errors import ConfigError, DataError
from mge.inference.classifier import Classifier
from mge.models.mixture import create_model
from mge.storage.model_folder import load_model
from tests.photos import COLORS, write_class_folders, write_photo
from tests.runs import write_run

ODD: dict[str, Callable[[], Any]] = {
    "a frame": lambda: pd.DataFrame({"path": ["a.jpg"], "label": ["wren"]}),
    "a list": lambda: ["a.jpg"],
    "an array": lambda: np.zeros((2, 2)),
    "a number": lambda: 3,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    photos = write_class_folders(folder / "photos", per_class=4, splits=("train", "val", "test"))
    return write_run(folder / "run", data=photos, num_experts=2)


@pytest.fixture
def classifier(run: Path) -> Classifier:
    return Classifier.from_stored(load_model(run / "best"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "photo.png", COLORS["lime"], size=(90, 70))


def is_one_line(error: BaseException) -> bool:
    return len(str(error)) < 400 and "\n" not in str(error)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_crop_without_pixels_is_one_failed_photo_and_the_stream_goes_on(
    classifier: Classifier, size: tuple[int, int]
) -> None:
    good = Image.new("RGB", (64, 64), (40, 180, 60))
    crop = good.crop((3, 3, 3 + size[0], 3 + size[1]))
    with pytest.raises(DataError, match=rf"is {size[0]} x {size[1]} pixels"):
        classifier.predict(crop)
    first, failed, last = classifier.stream([good, crop, good])
    assert isinstance(failed, DataError)
    assert not isinstance(first, DataError)
    assert not isinstance(last, DataError)
    assert first.probabilities == pytest.approx(last.probabilities, abs=1e-6)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("verb", ["evaluate", "distill", "localize", "compare", "check", "train"])
def test_data_that_are_no_path_are_one_line(run: Path, tmp_path: Path, verb: str, kind: str) -> None:
    data = ODD[kind]()
    calls: dict[str, Callable[[Any], Any]] = {
        "evaluate": lambda data: mge.evaluate(run, data),
        "distill": lambda data: mge.distill(finished(run, tmp_path), data, out=tmp_path / "student"),
        "localize": lambda data: mge.localize(run, data),
        "compare": lambda data: mge.compare([str(run), str(run / "best")], data=data, output=tmp_path),
        "check": lambda data: mge.check(data),
        "train": lambda data: mge.train(data, out=tmp_path / "run"),
    }  # fmt: skip
    if (verb, kind) == ("train", "a frame"):
        pytest.skip("a frame is what it takes")
    with pytest.raises(ConfigError, match=r"data is a .*; accepted: a path") as caught:
        calls[verb](data)
    assert is_one_line(caught.value)


def finished(run: Path, folder: Path) -> Path:
    """The run as if it had been trained."""
    import shutil

    copied = shutil.copytree(run, folder / "teacher")
    settings = {"preset": "default", "backbone": "test_resnet", "size": 64, "experts": 2, "part_filters": 2}
    mge.Run(copied).write_config({**mge.Run(copied).config(), **settings})
    mge.Run(copied).write_summary({"mixture_top1": 50.0})
    return copied


@pytest.mark.parametrize("kind", ["a frame", "an array", "a number"])
@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_photos_that_are_no_paths_are_one_line(run: Path, tmp_path: Path, verb: str, kind: str) -> None:
    with pytest.raises(
        ConfigError, match=r"unsupported type of photos: .*; accepted: a path, or a list of paths"
    ) as caught:
        getattr(mge, verb)(run, ODD[kind](), output=tmp_path / "out.csv")
    assert is_one_line(caught.value)


def test_a_list_of_pictures_is_told_where_they_are_taken(run: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"unsupported type of photos: Image; .*mge\.load\(RUN\)\.predict also accepts Pillow images"
    ):
        mge.predict(run, [Image.new("RGB", (8, 8))])  # type: ignore[list-item]


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize(
    ("dtype", "accuracy"), [(torch.float16, 1e-3), (torch.bfloat16, 2e-2), (torch.float64, 1e-6)], ids=str
)
def test_weights_of_another_type_answer_too(
    classifier: Classifier, photo: Path, dtype: torch.dtype, accuracy: float, cascade: bool
) -> None:
    classifier.thresholds = (1.0,)
    expected = classifier.predict([photo, photo], cascade=cascade)
    classifier.model.to(dtype)
    found = classifier.predict([photo, photo], cascade=cascade)
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=accuracy)
        assert one.boxes_xyxy[0] == other.boxes_xyxy[0]
    assert next(classifier.model.parameters()).dtype == dtype


def test_a_classifier_is_copied_and_pickled(classifier: Classifier, photo: Path) -> None:
    expected = classifier.predict(photo)
    assert copy.deepcopy(classifier).predict(photo) == expected
    assert pickle.loads(pickle.dumps(classifier)).predict(photo) == expected


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("epochs", np.int64(1), 1),
        ("epochs", np.uint8(7), 7),
        ("epochs", np.array(3), 3),
        ("epochs", torch.tensor(3), 3),
        ("batch_size", np.int32(4), 4),
        ("batch_size", np.str_("auto"), "auto"),
        ("seed", pd.Series([5]).iloc[0], 5),
        ("head_lr", np.float32(0.5), 0.5),
        ("head_lr", np.float16(0.25), 0.25),
        ("head_lr", Fraction(1, 8), 0.125),
        ("head_lr", torch.tensor(0.5), 0.5),
        ("head_lr", np.int64(1), 1),
        ("pretrained", np.bool_(False), False),
        ("weights", Path("weights/resnet.pth"), "weights/resnet.pth"),
        ("optimizer", np.str_("adamw"), "adamw"),
    ],
)
def test_an_option_may_be_any_type_that_is_what_it_wants(name: str, value: object, plain: object) -> None:
    given: dict[str, Any] = {name: value}
    config = TrainConfig(**given)
    assert getattr(config, name) == plain
    assert type(getattr(config, name)) is type(plain)
    assert json.loads(json.dumps(config.to_dict()))[name] == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", np.float64(1.5)), ("epochs", np.bool_(True)), ("epochs", np.array([1])), ("epochs", "3"),
        ("head_lr", np.array([0.1, 0.2])), ("head_lr", np.bool_(True)), ("head_lr", float("nan")),
        ("pretrained", np.int64(1)), ("optimizer", np.array(["sgd"])), ("optimizer", nn.Linear(2, 2)),
        ("weights", {"a": torch.zeros(99, 99)}), ("epochs", nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))),
    ],
    ids=str,
)  # fmt: skip
def test_other_types_are_refused_in_one_line(name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"{name} is .*; accepted: ") as caught:
        TrainConfig(**given)
    assert is_one_line(caught.value)


def test_a_module_as_backbone_is_one_line(photo: Path) -> None:
    module: Any = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(50)))
    for refused in (
        lambda: create_model(module, num_classes=2, pretrained=False),
        lambda: mge.train(photo.parent, backbone=module),
    ):
        with pytest.raises(ConfigError, match=r"^backbone is a Sequential; accepted: text$") as caught:
            refused()
        assert is_one_line(caught.value)


def test_numbers_of_verbs_may_be_numpys_too() -> None:
    assert type(check_whole("top", np.int64(3), at_least=0)) is int
    assert type(check_range("reject", np.float32(0.5), at_least=0, at_most=1)) is float
    with pytest.raises(ConfigError, match="top is True"):
        check_whole("top", np.bool_(True), at_least=0)
    half: Any = np.float32(0.5)
    assert DataConfig(jitter=half).jitter == 0.5


def test_a_threshold_of_numpy_is_no_less_than_a_plain_one(run: Path, tmp_path: Path) -> None:
    figures = mge.evaluate(run, reject=np.float32(0.5), batch_size=np.int64(4), report=False, out=tmp_path / "f.json")  # type: ignore[arg-type]
    assert figures["rejection"]["threshold"] == 0.5
    mge.evaluate(run, reject="off", report=False, out=tmp_path / "f.json")


def read(file: Path) -> Any:  # noqa: ANN401
    if file.suffix == ".json":
        return json.loads(file.read_text())
    return (pd.read_csv if file.suffix == ".csv" else pd.read_parquet)(file).to_dict("records")


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_the_probability_of_every_class_is_a_column(run: Path, photo: Path, tmp_path: Path, form: str) -> None:
    output = tmp_path / f"said.{form}"
    (prediction,) = mge.predict(run, [str(photo)], output=output, probabilities=True, fast=False, top=np.int64(1))  # type: ignore[arg-type]
    expected = dict(zip(prediction.class_names, prediction.probabilities, strict=True))
    (row,) = read(output)
    found = row["probabilities"] if form == "json" else {name: row[f"prob_{name}"] for name in expected}
    assert found == pytest.approx(expected, abs=1e-6)
    mge.predict(run, [str(photo)], output=output, fast=False)
    assert not any(name.startswith("prob_") or name == "probabilities" for name in read(output)[0])


def test_every_class_is_printed(run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mge.predict(run, [str(photo)], probabilities=True, top=1, fast=False)
    (line,) = capsys.readouterr().out.splitlines()
    assert all(f"{label} " in line for label in COLORS)


def test_a_threshold_says_unknown_below_it(run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mge.cli import main

    likeliest = mge.predict(run, [str(photo)], fast=False)[0]
    for threshold, label in ((1.0, "unknown"), (0.0, likeliest.label)):
        assert mge.predict(run, [str(photo)], threshold=threshold, fast=False)[0].label == label
    capsys.readouterr()
    assert main(["predict", str(run), str(photo), "--conf", "1", "--no-fast"]) == 0
    assert ": unknown: the most likely class, " in capsys.readouterr().out
    assert main(["predict", str(run), str(photo), "--threshold", "1.5"]) == 2
    assert "threshold is 1.5; accepted: at least 0 and at most 1" in capsys.readouterr().err
    assert main(["predict", str(run), str(photo), "--threshold", "0.5", "--reject", "false"]) == 2
    assert "threshold is 0.5 and reject is false; leave out one of them" in capsys.readouterr().err


def test_numbers_and_texts_of_numpy_are_written_as_plain_ones() -> None:
    config = TrainConfig(backbone_lr=np.logspace(-2, -1, 2)[0], optimizer=np.array(["sgd"])[0])
    assert yaml.safe_load(yaml.safe_dump(config.to_dict())) == TrainConfig(backbone_lr=0.01).to_dict()
