"""`mge localize` writes boxes that other programs read, and measures them where the truth is known."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from torch import Tensor

import mge
from mge.models.mixture import MixtureOfExperts
from tests.photos import COLORS, write_scene
from tests.runs import write_model

SIZES = [(160, 120), (90, 200), (300, 300)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "fruit", num_experts=3, zoom_resolution=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of six test photos, of which the last has no box."""
    folder = tmp_path_factory.mktemp("data")
    lines = ["path,label,split,x1,y1,x2,y2"]
    for number, label in enumerate([*COLORS, *COLORS]):
        width, height = SIZES[number % 3]
        write_scene(folder / f"{number}.png", seed=number, size=(width, height))
        box = f"{width // 4},{height // 4},{width // 2},{height}" if number < 5 else ",,,"
        lines.append(f"{number}.png,{label},test,{box}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def figures(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("out")
    return {"folder": folder, **mge.localize(model, data, output=folder, batch_size=4)}


def test_the_boxes_are_those_of_predictions_and_what_one_expert_found_the_next_one_sees(
    model: Path, data: Path, figures: dict[str, Any]
) -> None:
    with (figures["folder"] / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    predictions = mge.load(model).predict([data.parent / f"{number}.png" for number in range(6)])

    def box(row: dict[str, str], name: str) -> list[float]:
        return [float(row[f"{name}_{edge}"]) for edge in ("x1", "y1", "x2", "y2")]

    for row, prediction in zip(rows, predictions, strict=True):
        assert row["label"] == prediction.label
        assert (int(row["width"]), int(row["height"])) == SIZES[int(Path(row["path"]).stem) % 3]
        for number, view in enumerate(prediction.boxes_xyxy):
            assert box(row, f"view_{number}") == pytest.approx(np.maximum(view, 0), abs=0.02)
        assert box(row, "view_1") == box(row, "found_0")
        assert box(row, "view_2") == box(row, "found_1")
    assert rows[0]["true_x2"] == "80.0"
    assert rows[5]["true_x2"] == ""


def test_pycocotools_reads_the_boxes(figures: dict[str, Any]) -> None:
    coco = COCO(figures["folder"] / "boxes.json")
    assert sorted(coco.getImgIds()) == [1, 2, 3, 4, 5, 6]
    assert [entry["name"] for entry in coco.loadCats(coco.getCatIds())] == list(COLORS)
    for image in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        assert [annotation["expert"] for annotation in annotations] == [0, 1, 2]
        for annotation in annotations:
            x, y, width, height = annotation["bbox"]
            assert 0 <= x < x + width <= image["width"] + 0.01
            assert 0 <= y < y + height <= image["height"] + 0.01
            assert 0 < annotation["score"] <= 1
            assert annotation["area"] == pytest.approx(width * height, abs=0.01)
    results = coco.loadRes(coco.loadAnns(coco.getAnnIds()))  # what a program that evaluates detections is given
    assert len(results.getAnnIds()) == 18


def test_what_has_a_box_is_measured(figures: dict[str, Any], data: Path) -> None:
    assert (figures["num_photos"], figures["num_with_box"]) == (6, 5)
    assert len(figures["experts"]) == 3
    for expert in figures["experts"]:
        assert expert["top1_localisation"] <= 100
        assert expert["max_box_acc_v2"] <= 100
    stored = json.loads((figures["folder"] / "localisation.json").read_text())
    assert stored == {name: value for name, value in figures.items() if name != "folder"}


def test_the_highest_point_is_the_center_of_its_cell_at_the_border_of_the_view_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enlarged, a map goes on beyond its outermost cells as it is there: its first highest pixel is a corner."""

    def attend(net: MixtureOfExperts, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        boxes, cells = find(net, *args, **options)
        marked = torch.zeros_like(cells)
        marked[:, 1, 0] = 1  # the second cell of the first column
        return boxes, marked

    find = MixtureOfExperts.attend
    monkeypatch.setattr(MixtureOfExperts, "attend", attend)
    write_scene(tmp_path / "0.png", seed=0, size=(320, 320))
    classifier = mge.load(model, fast=False)
    prepared, config = classifier.prepare(tmp_path / "0.png"), classifier.model.config
    cell = classifier.side / classifier.model(prepared.image[None]).attention.shape[-1]
    offset = config.attention_offset * config.zoom_resolution
    center = torch.tensor([[0.5 * cell + offset, 1.5 * cell + offset] * 2])
    x, y = prepared.geometry.to_photo(center)[0, :2].tolist()
    box = f"{x - 2},{y - 2},{x + 2},{y + 2}"
    (tmp_path / "manifest.csv").write_text(f"path,label,split,x1,y1,x2,y2\n0.png,{next(iter(COLORS))},test,{box}\n")
    figures = mge.localize(model, tmp_path / "manifest.csv", output=tmp_path / "out")
    assert figures["experts"][0]["pointing_game"] == 100.0


def test_top1_localization_counts_by_hand_what_is_right_and_overlaps_by_half(figures: dict[str, Any]) -> None:
    with (figures["folder"] / "boxes.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["true_x1"]]
    for number, expert in enumerate(figures["experts"]):
        hits = 0
        for row in rows:
            a, b = (
                [float(row[f"{name}_{edge}"]) for edge in ("x1", "y1", "x2", "y2")]
                for name in (f"found_{number}", "true")
            )
            overlap = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
            hits += row["label"] == row["true_label"] and overlap / union >= 0.5
        assert expert["top1_localisation"] == pytest.approx(100 * hits / len(rows), abs=0.01)


def test_photos_without_boxes_get_some_and_nothing_is_measured(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mge.console.progress.SECONDS_BETWEEN_LINES", 0.0)
    for number, label in enumerate(COLORS):
        write_scene(tmp_path / "photos" / label / "0.png", seed=number)
    found = mge.localize(model, tmp_path / "photos", split="train", output=tmp_path / "out")
    assert found["num_with_box"] == 0
    said = capsys.readouterr()
    assert "localization was not evaluated" in said.out
    assert "localizing: 3 of 3 photos" in said.err
    assert len((tmp_path / "out" / "boxes.csv").read_text().splitlines()) == 4


def test_an_empty_split_is_refused(model: Path, data: Path) -> None:
    with pytest.raises(mge.DataError, match="no photos in its val split; it has some in --split "):
        mge.localize(model, data, split="val")
