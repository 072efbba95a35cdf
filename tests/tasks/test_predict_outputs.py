"""Predictions never replace what they are of, and rows that were kept are of the photos as they are."""

import csv
import json
import os
import shutil
import stat
import threading
import time
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

import mge
from mge.cli import main
from tests.data.sources.test_containers import write_tar
from tests.photos import write_class_folders, write_photo
from tests.tasks.test_predict_volume import Stopped, only, read_csv, stop_after


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with photos in class folders, a list, a table and an archive of them."""
    monkeypatch.chdir(tmp_path)
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=2).rglob("*.png"))
    (tmp_path / "list.csv").write_text("\n".join(["path", *map(str, photos)]))
    parquet.write_table(pyarrow.table({"image": [photo.read_bytes() for photo in photos]}), tmp_path / "t.parquet")
    write_tar(tmp_path / "a.tar", {f"{n}.png": photo.read_bytes() for n, photo in enumerate(photos)})
    return tmp_path


@pytest.mark.parametrize(
    ("given", "output"),
    [
        ("t.parquet", "t.parquet"), ("list.csv", "list.csv"), ("*.csv", "list.csv"), ("a.tar", "a.tar"),
        ("photos", "photos/lime/0.png"), ("list.csv", "photos/lime/0.png"), (".", "photos/lime/0.png"),
        ("t.parquet", "./photos/../t.parquet"), ("t.parquet", "hard.parquet"), ("hard.parquet", "t.parquet"),
        ("t.parquet", "link.parquet"), ("linked/t.parquet", "t.parquet"),
    ],
)  # fmt: skip
def test_what_is_read_is_not_replaced_by_predictions(
    tiny_model: Path, home: Path, capsys: pytest.CaptureFixture[str], given: str, output: str
) -> None:
    (home / "hard.parquet").hardlink_to(home / "t.parquet")
    (home / "link.parquet").symlink_to("t.parquet")
    (home / "linked").symlink_to(".")
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert main(["predict", str(tiny_model), given, "--output", output, "--format", "csv"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mge: error: output is ")
    assert "which is also an input and would be overwritten; give another file" in line
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_a_wrong_output_is_refused_before_the_model_is_looked_for(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "p.csv").mkdir()
    for output in ("p.csv", "list.csv/p.csv", "/proc/p.csv"):
        assert main(["predict", "no model", "photos", "--output", output]) in (2, 74)
        assert f"output is '{output}', which" in capsys.readouterr().err


def test_a_model_is_not_replaced_by_predictions(
    tiny_model: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_model, home / "model")
    assert main(["predict", "model", "photos", "--output", "model/model.json"]) == 2
    assert "is part of a model or run folder" in capsys.readouterr().err
    assert mge.load(home / "model")


def test_predictions_are_written_through_a_link(tiny_model: Path, home: Path) -> None:
    (home / "disk").mkdir()
    (home / "p.csv").symlink_to("disk/p.csv")
    mge.predict(tiny_model, ["photos"], output="p.csv")
    assert (home / "p.csv").is_symlink()
    assert len(read_csv(home / "disk" / "p.csv")) == 6
    assert only(home / "disk") == ["p.csv"]


def test_predictions_go_into_pipes_and_devices_as_text_goes(tiny_model: Path, home: Path) -> None:
    os.mkfifo("pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_text()))
    reader.start()
    found = mge.predict(tiny_model, ["photos"], output="pipe", format="csv")
    reader.join(20)
    assert [row["label"] for row in csv.DictReader(got[0].splitlines())] == [prediction.label for prediction in found]
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    assert len(mge.predict(tiny_model, ["photos"], output="/dev/null", format="jsonl")) == 6
    assert Path("/dev/null").is_char_device()
    with pytest.raises(mge.ConfigError, match="a pipe or a device, and format is 'parquet'; give a file"):
        mge.predict(tiny_model, ["photos"], output="/dev/null", format="parquet")
    assert not list(home.glob(".*"))


def stop(model: Path, photos: str, *, after: int, monkeypatch: pytest.MonkeyPatch, output: str = "p.jsonl") -> None:
    """Predicts until so many rows are kept, and dies."""
    with monkeypatch.context() as patch:
        stop_after(patch, after)
        with pytest.raises(Stopped):
            mge.predict(model, [photos], output=output)


def resume(model: Path, photos: str, *, output: str = "p.jsonl") -> list[str]:
    """Goes on, and gives the photos that were classified anew; what the file says is checked on the way."""
    anew = [prediction.path for prediction in mge.predict(model, [photos], output=output)]
    rows = [json.loads(line) for line in Path(output).read_text().splitlines()]
    fresh = mge.predict(model, [photos], format="json")
    assert [(row["path"], row["label"]) for row in rows] == [(each.path, each.label) for each in fresh]
    for row, each in zip(rows, fresh, strict=True):
        assert row["probability"] == pytest.approx(each.probability, abs=1e-5)
    return anew


def test_a_photo_that_was_mended_or_replaced_is_classified_anew_and_others_are_kept(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended, replaced, turned = "photos/apple/0.png", "photos/apple/1.png", "photos/lime/0.png"
    whole = Path(mended).read_bytes()
    Path(mended).write_bytes(b"no photo")
    stop(tiny_model, "photos", after=4, monkeypatch=monkeypatch)
    Path(mended).write_bytes(whole)
    write_photo(home / "other.png", (90, 40, 160))
    os.utime("other.png", ns=(time.time_ns(), Path(replaced).stat().st_mtime_ns))  # as `cp -p` and archives leave it
    Path("other.png").rename(replaced)
    Path(turned).write_bytes(Path(turned).read_bytes())  # the same, but who knows
    assert resume(tiny_model, "photos") == [mended, replaced, turned, "photos/plum/0.png", "photos/plum/1.png"]


def test_photos_that_have_come_or_gone_leave_the_rows_of_others(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(tiny_model, "photos", after=4, monkeypatch=monkeypatch)
    Path("photos/apple/0.png").unlink()
    write_photo(home / "photos" / "apple" / "2.png", (200, 40, 40))
    assert resume(tiny_model, "photos") == ["photos/apple/2.png", "photos/plum/0.png", "photos/plum/1.png"]


def test_the_same_names_in_another_working_directory_are_other_photos(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(home / "p.jsonl")
    stop(tiny_model, "photos", after=4, monkeypatch=monkeypatch, output=output)
    shutil.copytree("photos", "elsewhere/photos")  # of the same sizes and times
    monkeypatch.chdir("elsewhere")
    assert len(resume(tiny_model, "photos", output=output)) == 6


@pytest.mark.parametrize("container", ["a.tar", "t.parquet"])
def test_rows_of_an_archive_that_was_written_anew_are_made_anew(
    tiny_model: Path, home: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    stop(tiny_model, container, after=4, monkeypatch=monkeypatch)
    assert len(resume(tiny_model, container)) == 2
    stop(tiny_model, container, after=4, monkeypatch=monkeypatch)
    os.utime(container)
    assert len(resume(tiny_model, container)) == 6


def test_pictures_figures_and_boxes_replace_no_photo_and_no_list(
    tiny_model: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "boxes.csv").write_text((home / "list.csv").read_text())
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    model = str(tiny_model)
    for command, refusal in (
        (["explain", model, "photos", "--output", "photos/apple"], "but '0.png' there is an input and would be lost"),
        (["localize", model, "boxes.csv", "--output", "."], "but 'boxes.csv' there is an input and would be lost"),
        (["evaluate", model, "list.csv", "--out", "list.csv"], "which is also an input and would be overwritten"),
        (["evaluate", model, "photos", "--out", "photos.json"], "its report would be written among the photos in"),
        (["evaluate", model, "photos", "--out", "/dev/null"], "which has no place for a report next to it"),
        (["check", "photos", "--out", "photos/checked"], "inside 'photos', which is an input"),
        (["compare", model, model, "--data", "photos", "--output", "photos"], "inside 'photos', which is an input"),
        (["bench", "--out", "photos"], "which is a folder"),
        (["export", model, "--out", "photos"], "contains 'apple', which is not part of an export"),
        (["convert", "weights.pth", "list.csv"], "which exists and is not a folder"),
    ):
        assert main(command) in (2, 74)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("mge: error: ")
        assert refusal in line
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_figures_go_where_they_are_asked_for_and_a_report_beside_them(tiny_model: Path, home: Path) -> None:
    figures = mge.evaluate(tiny_model, "photos", out="figures.json")
    assert json.loads(Path("figures.json").read_text()) == figures
    assert Path("figures/report.html").exists()
    assert mge.evaluate(tiny_model, "photos", out="/dev/null", report=False) == figures
    assert Path("/dev/null").is_char_device()
