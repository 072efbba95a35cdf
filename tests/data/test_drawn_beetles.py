import csv
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mge.data import drawn_beetles
from mge.data.drawn_beetles import BEETLE_CLASSES, draw_beetle
from mge.data.sources.beetles import draw_beetles
from mge.errors import StorageError


def test_a_drawing_is_a_pure_function_of_label_and_seed() -> None:
    first, again, other = draw_beetle(3, seed=7), draw_beetle(3, seed=7), draw_beetle(3, seed=8)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.box_xyxy == again.box_xyxy
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("label", range(len(BEETLE_CLASSES)))
def test_boxes_lie_in_the_picture_and_tips_have_their_color(label: int) -> None:
    beetle = draw_beetle(label, seed=label)
    assert beetle.image.size == (256, 256)
    x1, y1, x2, y2 = beetle.box_xyxy
    assert 0 <= x1 < x2 <= 256
    assert 0 <= y1 < y2 <= 256
    is_red = BEETLE_CLASSES[label].endswith("red")
    for tx1, ty1, tx2, ty2 in beetle.tip_boxes_xyxy:
        red, _, blue = np.asarray(beetle.image)[int((ty1 + ty2) / 2), int((tx1 + tx2) / 2)].astype(int)
        assert (red > blue + 60) if is_red else (blue > red + 60)


@pytest.mark.parametrize("seed", range(6))
def test_the_box_is_tight_around_all_of_the_beetle(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Without the beetle, pixels change up to the box's edges and none beyond them."""
    whole = draw_beetle(seed, seed=seed)
    monkeypatch.setattr(drawn_beetles._Canvas, "finish", lambda self: self.image)  # neither blurred nor reduced
    sharp = np.asarray(draw_beetle(seed, seed=seed).image).astype(int)
    draw = drawn_beetles._Body.draw

    def draw_nothing(self: drawn_beetles._Body, **options: object) -> object:
        canvas, self.canvas = self.canvas, drawn_beetles._Canvas(8, self.canvas.chance)
        try:
            return draw(self, **options)  # type: ignore[arg-type]
        finally:
            self.canvas = canvas

    monkeypatch.setattr(drawn_beetles._Body, "draw", draw_nothing)
    empty = np.asarray(draw_beetle(seed, seed=seed).image).astype(int)
    rows, columns = np.nonzero(np.abs(sharp - empty).sum(2))
    scale = drawn_beetles.SUPERSAMPLE
    found = (columns.min() / scale, rows.min() / scale, (columns.max() + 1) / scale, (rows.max() + 1) / scale)
    np.testing.assert_allclose(found, whole.box_xyxy, atol=2)


def test_a_box_ends_where_the_picture_does() -> None:
    beetle = draw_beetle(8, seed=56)  # an antenna of it reaches over the left edge
    x1, y1, x2, y2 = beetle.box_xyxy
    assert x1 == 0
    assert 0 <= y1 < y2 <= 256
    assert 0 < x2 <= 256
    assert min(x1 for x1, *_ in beetle.tip_boxes_xyxy) == 0


def test_the_set_is_balanced_and_its_manifest_complete(tmp_path: Path) -> None:
    manifest = draw_beetles(tmp_path / "set", train=24, val=12, test=12, side=64)
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    counts = Counter((row["split"], row["label"]) for row in rows)
    assert len(rows) == 48
    assert {counts["train", label] for label in BEETLE_CLASSES} == {2}
    assert all((manifest.parent / row["path"]).is_file() for row in rows)
    assert all(float(row["x1"]) < float(row["x2"]) and float(row["tip1_x1"]) < float(row["tip1_x2"]) for row in rows)
    assert len({(manifest.parent / row["path"]).read_bytes() for row in rows}) == 48


def test_a_set_that_another_process_has_drawn_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"train": 1, "val": 1, "test": 1, "side": 64}

    def slow_pool() -> ProcessPoolExecutor:
        monkeypatch.setattr("mge.data.sources.beetles.ProcessPoolExecutor", ProcessPoolExecutor)
        (draw_beetles(tmp_path / "set", **options).parent / "of the other").touch()
        return ProcessPoolExecutor()

    monkeypatch.setattr("mge.data.sources.beetles.ProcessPoolExecutor", slow_pool)
    manifest = draw_beetles(tmp_path / "set", **options)
    assert (manifest.parent / "of the other").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_cache_that_cannot_be_written_to_is_said_to_be_that(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be drawn into .*/file/beetles: .*; set MGE_CACHE"):
        draw_beetles(tmp_path / "file" / "beetles", train=1, val=1, test=1, side=64)


def test_a_set_is_drawn_once_and_anew_for_other_parameters(tmp_path: Path) -> None:
    options = {"train": 12, "val": 12, "test": 12, "side": 64}
    manifest = draw_beetles(tmp_path / "set", **options)
    photo = next((tmp_path / "set" / "train").rglob("*.jpg"))
    stamp = photo.stat().st_mtime_ns
    draw_beetles(tmp_path / "set", **options)
    assert photo.stat().st_mtime_ns == stamp
    draw_beetles(tmp_path / "set", **options, seed=1)
    assert not photo.exists()
    assert manifest.exists()
    (tmp_path / "set" / "beetles.json").write_text('{"train": ')  # nobody knows what a damaged set is
    draw_beetles(tmp_path / "set", **options)
    assert photo.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
