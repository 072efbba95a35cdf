"""`mge compare` measures runs on the same photos, and refuses what cannot be compared."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import mge
from mge.cli import main
from tests.photos import COLORS, write_class_folders
from tests.runs import write_run

NAMES = tuple(COLORS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("photos"), per_class=8, splits=("train", "test"))


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A mixture, the plain network inside it, and one whose classes come in another order."""
    folder = tmp_path_factory.mktemp("runs")
    mixture = write_run(folder / "mixture", data=photos, num_experts=3)
    plain = write_run(mixture / "plain", data=photos, num_experts=1, part_filters=0)
    other = write_run(folder / "other", data=photos, num_experts=2, class_names=NAMES[::-1])
    return [mixture, plain, other]


@pytest.fixture(scope="module")
def compared(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("compared")
    return folder, mge.compare([str(run) for run in runs], output=folder, ensemble=True, resamples=200)


def test_accuracies_are_those_of_evaluate(runs: list[Path], compared: tuple[Path, dict[str, Any]]) -> None:
    _, figures = compared
    assert [run["name"] for run in figures["runs"]] == ["mixture", "mixture/plain", "other", "ensemble"]
    for run, row in zip(runs, figures["runs"], strict=False):
        assert row["top1"] == mge.evaluate(run)["mixture_top1"]
    assert len(figures["pairs"]) == 6
    assert (figures["num_photos"], figures["split"]) == (24, "test")
    *single, ensemble = figures["runs"]
    assert ensemble["parameters"] == sum(row["parameters"] for row in single)


def test_the_list_of_differences_says_what_each_run_predicts(
    runs: list[Path], compared: tuple[Path, dict[str, Any]]
) -> None:
    folder, figures = compared
    with (folder / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 0 < len(rows) == figures["num_different"]
    for name, run in zip(("mixture", "mixture/plain", "other"), runs, strict=True):
        for row, prediction in zip(rows, mge.load(run).predict([row["path"] for row in rows]), strict=True):
            by_name = dict(zip(prediction.class_names, prediction.probabilities, strict=True))
            assert row[f"{name} answer"] == prediction.label
            assert float(row[f"{name} probability"]) == pytest.approx(prediction.probability, abs=1e-4)
            assert float(row[f"{name} of true class"]) == pytest.approx(by_name[row["label"]], abs=1e-4)
            assert row[f"{name} is right"] == str(int(prediction.label == row["label"]))
    for row in rows:
        mean = torch.tensor([float(row[f"{name} of true class"]) for name in ("mixture", "mixture/plain", "other")])
        assert float(row["ensemble of true class"]) == pytest.approx(float(mean.mean()), abs=1e-3)
    with Image.open(folder / "differences.png") as sheet:
        assert min(sheet.size) > 200


def test_the_same_networks_do_not_differ(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs[0], tmp_path / "copy")
    assert main(["compare", str(runs[0]), str(tmp_path / "copy"), "--output", str(tmp_path / "out"),
                 "--resamples", "100"]) == 0  # fmt: skip
    (pair,) = json.loads((tmp_path / "out" / "comparison.json").read_text())["pairs"]
    assert (pair["difference"], pair["interval"], pair["p_value"]) == (0.0, [0.0, 0.0], 1.0)
    assert not (tmp_path / "out" / "differences.png").exists()
    assert "McNemar" in capsys.readouterr().out


def test_models_without_their_run_are_compared_on_given_photos(runs: list[Path], photos: Path, tmp_path: Path) -> None:
    models = [str(run / "best") for run in runs[:2]]
    with pytest.raises(mge.ConfigError, match="compare on with --data"):
        mge.compare(models, output=tmp_path)
    assert mge.compare(models, data=photos, output=tmp_path, resamples=100)["num_photos"] == 24


def test_other_classes_are_refused(runs: list[Path], photos: Path, tmp_path: Path) -> None:
    more = write_run(tmp_path / "more", data=photos, num_experts=1, class_names=(*NAMES, "quince"))
    with pytest.raises(mge.ConfigError, match=r"has 4 classes and .* 3; 'quince' and 0 more"):
        mge.compare([str(runs[0]), str(more)], output=tmp_path / "out")


def test_other_test_photos_are_refused(runs: list[Path], tmp_path: Path) -> None:
    elsewhere = write_class_folders(tmp_path / "elsewhere", per_class=2, splits=("train", "test"))
    other = write_run(tmp_path / "run", data=elsewhere, num_experts=1)
    with pytest.raises(mge.DataError, match=r"was tested on 6 photos and .* on 24, of which 0 are the same"):
        mge.compare([str(runs[0]), str(other)], output=tmp_path / "out")


@pytest.mark.parametrize("count", [1, 2])
def test_one_run_or_the_same_one_twice_is_refused(runs: list[Path], count: int) -> None:
    with pytest.raises(mge.ConfigError, match="accepted: 2 to 20 runs, each once"):
        mge.compare([str(runs[0])] * count)
