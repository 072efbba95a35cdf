"""`mge check` from the command line: the files that it leaves, its exit code, and what it says to do."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mge
from mge.cli import main
from mge.data.check import scan
from mge.data.records import Record
from mge.errors import ConfigError, DataError
from tests.data.check.test_findings import make_folder
from tests.photos import write_scene


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("bad") / "fruit")


def make_good(folder: Path) -> Path:
    for seed in range(20):
        write_scene(folder / "ab"[seed % 2] / f"{seed}.jpg", seed=seed)
    return folder


def test_what_was_found_is_said_written_and_drawn(
    bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["check", str(bad), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith((out / "check.txt").read_text())
    assert "Photos that cannot be read: 3\n" in text
    assert "Tiny photos, with a side below 32 px: 1\n" in text
    assert "Groups of identical files: 2, of these across splits 1, with different labels 0\n" in text
    assert "Pairs of the same picture: 2, of these across splits 1, with different labels 1\n" in text
    assert "Classes without a photo in val: 1\n  plum\n" in text
    assert "plum/wrong.png [plum]" in text
    assert text.index("Remove the copies from all splits but one") < text.index("Copy the broken photos again")
    assert text.splitlines()[-1] == f"Next: mge check {bad}, once it is mended"
    saved = mge.Findings.from_json((out / "check.json").read_text())
    assert (len(saved.broken), len(saved.tiny), len(saved.exact), len(saved.near)) == (3, 1, 2, 2)
    for name in ("samples.png", "copies.png"):
        assert np.asarray(Image.open(out / name)).std() > 20


def test_the_next_command_can_be_given_as_it_stands_where_a_name_has_spaces(
    bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "my photos"
    data.symlink_to(bad)
    assert main(["check", str(data), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Next: mge check '{data}', once it is mended"


def test_strict_exits_with_2_where_photos_are_broken_or_splits_leak(
    bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(bad), "--out", str(tmp_path / "out"), "--strict"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mge: error: fruit has 3 broken photos and 2 copies across splits")
    assert (tmp_path / "out" / "check.json").exists()
    good = make_good(tmp_path / "good")
    assert main(["check", str(good), "--out", str(tmp_path / "ok"), "--strict"]) == 0


def test_good_photos_have_nothing_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_good(tmp_path / "good")
    monkeypatch.chdir(tmp_path)
    findings = mge.check(good)
    text = (tmp_path / "checks" / "good" / "check.txt").read_text()
    assert not any([findings.broken, findings.exact, findings.near])
    assert "In training all classes have the same number of photos.\n" in text
    assert text.endswith("\n\nNothing to mend.\n")
    assert not (tmp_path / "checks" / "good" / "copies.png").exists()


def test_what_training_refuses_is_a_finding_here(tmp_path: Path) -> None:
    write_scene(tmp_path / "fruit" / "train" / "a" / "1.png", seed=1)
    write_scene(tmp_path / "fruit" / "test" / "b" / "1.png", seed=2)
    findings = mge.check(tmp_path / "fruit", out=tmp_path / "out")
    assert findings.missing == {"train": ("b",), "test": ("a",)}
    assert "training refuses them" in (tmp_path / "out" / "check.txt").read_text()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photos"):
        mge.check(tmp_path / "empty", out=tmp_path / "out")


def test_a_second_check_reads_no_photo_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = make_good(tmp_path / "good")
    first = mge.check(good, out=tmp_path / "first")
    read: list[str] = []
    real = scan._scan

    def spy(record: Record, *, with_hashes: bool) -> scan.PhotoScan:
        read.append(record.path.name)
        return real(record, with_hashes=with_hashes)

    monkeypatch.setattr(scan, "_scan", spy)
    assert mge.check(good, out=tmp_path / "second") == first
    assert read == []
    write_scene(good / "a" / "0.jpg", seed=77, size=(200, 150))
    mge.check(good, out=tmp_path / "third")
    assert read == ["0.jpg"]


def test_the_hamming_distance_and_the_smallest_side_can_be_chosen(bad: Path, tmp_path: Path) -> None:
    assert len(mge.check(bad, out=tmp_path / "wide", near=12).near) == 2
    assert len(mge.check(bad, out=tmp_path / "tiny", tiny_px=100).tiny) == 1
    for wrong in ({"near": 17}, {"tiny_px": 129}, {"tiny_px": 0}):
        with pytest.raises(ConfigError, match="accepted: at least"):
            mge.check(bad, out=tmp_path / "wrong", **wrong)  # type: ignore[arg-type]


def test_names_that_pictures_and_terminals_could_misread_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, label in enumerate(["[bold]", "$x^", "翠鳥"]):
        for number in range(3):
            write_scene(tmp_path / "birds" / label / f"{number}.png", seed=10 * seed + number, size=(20, 20))
    mge.check(tmp_path / "birds", out=tmp_path / "out")
    assert "[bold]/0.png (20 x 20 px)" in capsys.readouterr().out
    assert (tmp_path / "out" / "samples.png").exists()
    assert "翠鳥" in json.loads((tmp_path / "out" / "check.json").read_text())["counts"]["train"]


def test_a_file_whose_name_is_no_text_is_named_with_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = make_good(tmp_path / "good")
    for number, broken in enumerate((False, True)):
        file = os.fsdecode(os.fsencode(good / "a") + b"/cr\xe8me%d.jpg" % number)
        Path(file).write_bytes(b"no photo" if broken else (good / "b" / "1.jpg").read_bytes())
    mge.check(good, out=tmp_path / "out")
    text = capsys.readouterr().out
    assert "cr\ufffdme1.jpg is not a photo" in text
    assert "cr\ufffdme0.jpg [" in text
    assert text.startswith((tmp_path / "out" / "check.txt").read_text(encoding="utf-8"))
    saved = mge.Findings.from_json((tmp_path / "out" / "check.json").read_text(encoding="utf-8"))
    assert saved.broken[0].path == f"{good}/a/cr\ufffdme1.jpg"


def test_all_readers_are_listed_with_why_they_decline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_good(tmp_path / "photos")
    assert main(["check", str(tmp_path / "photos"), "--why", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "\nfood: no; wants meta/train.txt or meta/test.txt\n" in said
    assert "\nfolder: yes; 20 photos of 2 classes\n" in said
    (tmp_path / "photos" / "loose.jpg").touch()
    assert main(["check", str(tmp_path / "photos"), "--why"]) == 2
    assert "\nfolder: yes; would be refused: " in capsys.readouterr().out
