"""Broken photos are left out of a run when it begins, and the run stays what it was when it goes on."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning_fabric import Fabric

import mge
from mge.cli import main
from mge.config import DataConfig
from mge.data.check import scan
from mge.data.check.broken import Broken
from mge.data.loader import load_batches
from mge.data.records import Record
from mge.data.sources import read_photos
from mge.errors import DataError, Interrupted, ModelFolderError
from mge.evaluation.inspection import skip_broken
from mge.storage.run_folder import Run
from mge.training import loop
from mge.training.step import train_step
from tests.photos import truncate, write_class_folders
from tests.tiny import TINY, digest

OPTIONS = {**TINY, "experts": 1, "part_filters": 0, "schedule": "joint", "epochs": 1, "cache": "no", "workers": 0}
FLAGS = [f"--{name}={str(value).lower()}" for name, value in OPTIONS.items()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "photos", per_class=8)


def split_of(photos: Path) -> dict[str, str]:
    records = read_photos(photos, config=DataConfig()).records
    return {str(record.path): str(record.split) for record in records}


def break_photo(photos: Path, split: str = "train") -> Path:
    """Truncates the first photo of a split, and nothing else."""
    file = Path(min(path for path, name in split_of(photos).items() if name == split))
    return truncate(file)


def skip(photos: Path, run: Run, *, max_fraction: float = 0.05) -> tuple[dict[str, str], tuple[Broken, ...]]:
    fabric = Fabric(accelerator="cpu", devices=1)
    run.write_config({"data": str(photos)})
    left, broken = skip_broken(
        fabric, read_photos(photos, config=DataConfig()), run=run, max_fraction=max_fraction
    )  # fmt: skip
    return {str(record.path): str(record.split) for record in left.records}, broken


def test_a_broken_photo_is_skipped_and_moves_no_other(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = split_of(photos)
    file = break_photo(photos)
    left, broken = skip(photos, Run(tmp_path / "run"))
    assert left == {path: split for path, split in before.items() if path != str(file)}
    assert [(photo.path, photo.split) for photo in broken] == [(str(file), "train")]
    (saved,) = json.loads((tmp_path / "run" / "skipped.json").read_text())
    assert saved["path"] == str(file)
    assert "cannot be read" in saved["reason"]
    said = capsys.readouterr().out
    assert "1 of 24 photos cannot be read" in said
    assert file.name in said


def test_a_broken_photo_whose_name_is_no_text_is_skipped_when_the_run_goes_on_too(photos: Path, tmp_path: Path) -> None:
    file = break_photo(photos)
    file.rename(file.with_name(os.fsdecode(b"apple\xff.png")))
    first, broken = skip(photos, Run(tmp_path / "run"))
    assert [Path(photo.path).name for photo in broken] == [os.fsdecode(b"apple\xff.png")]
    again, _ = skip(photos, Run(tmp_path / "run"))
    assert again == first


def test_all_processes_have_read_the_list_before_the_first_one_writes_it(photos: Path, tmp_path: Path) -> None:
    """One that came late and found a list would not take part in handing it over."""
    run, found = Run(tmp_path / "run"), []
    run.write_config({"data": str(photos)})
    fabric = SimpleNamespace(
        is_global_zero=True, broadcast=lambda sent: sent, barrier=lambda: found.append(run.skipped())
    )  # fmt: skip
    skip_broken(cast(Fabric, fabric), read_photos(photos, config=DataConfig()), run=run, max_fraction=0.05)
    assert found == [None]
    assert run.skipped() == []


def test_where_all_can_be_read_nothing_is_said_and_the_list_is_empty(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left, broken = skip(photos, Run(tmp_path / "run"))
    assert (len(left), broken) == (24, ())
    assert json.loads((tmp_path / "run" / "skipped.json").read_text()) == []
    assert capsys.readouterr().out == ""


def test_the_same_photos_are_skipped_for_good(photos: Path, tmp_path: Path) -> None:
    file = break_photo(photos)
    whole = photos.parent / "whole.png"
    first, _ = skip(photos, Run(tmp_path / "run"))
    shutil.copy(next(path for path in photos.rglob("*.png") if path != file), whole)
    shutil.copy(whole, file)  # mended
    other = break_photo(photos, "test")  # and another one is broken
    again, broken = skip(photos, Run(tmp_path / "run"))
    assert again == first
    assert [photo.path for photo in broken] == [str(file)]
    assert str(other) in again


def test_a_second_run_looks_at_nothing_but_what_is_broken(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = break_photo(photos)
    read: list[Path] = []
    real = scan._scan

    def spy(record: Record, *, with_hashes: bool) -> scan.PhotoScan:
        read.append(record.path)
        return real(record, with_hashes=with_hashes)

    monkeypatch.setattr(scan, "_scan", spy)
    skip(photos, Run(tmp_path / "first"))
    assert len(read) == 24
    skip(photos, Run(tmp_path / "second"))
    assert read[24:] == [file]


def test_too_many_broken_photos_stop_the_run_before_it_begins(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(photos.rglob("*.png"))
    for file in (files[0], files[9]):
        truncate(file)
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *FLAGS]) == 2
    error = capsys.readouterr().err
    assert "2 of 24 photos of photos cannot be read" in error
    assert files[0].name in error
    assert "--max-broken-fraction" in error
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"a fraction of 0\.08;"):
        skip(photos, Run(tmp_path / "strict"), max_fraction=0.08)
    assert len(skip(photos, Run(tmp_path / "lenient"), max_fraction=0.09)[1]) == 2


def test_a_class_without_a_whole_training_photo_is_an_error(photos: Path, tmp_path: Path) -> None:
    for path, split in split_of(photos).items():
        if split == "train" and "lime" in path:
            truncate(Path(path))
    with pytest.raises(DataError, match="class 'lime' of photos has no training photo that can be read"):
        skip(photos, Run(tmp_path / "run"), max_fraction=1.0)


def test_a_damaged_list_is_no_empty_list(photos: Path, tmp_path: Path) -> None:
    skip(photos, Run(tmp_path / "run"))
    (tmp_path / "run" / "skipped.json").write_text("[{")
    with pytest.raises(ModelFolderError, match="is damaged"):
        skip(photos, Run(tmp_path / "run"))


def test_a_run_and_its_baseline_train_on_what_is_left_and_say_what_is_not(photos: Path, tmp_path: Path) -> None:
    break_photo(photos)
    test_photo = break_photo(photos, "test")
    run = mge.train(photos, out=tmp_path / "run", baseline="same_view", max_broken_fraction=0.1, **OPTIONS)
    num_train = sum(split == "train" for split in split_of(photos).values()) - 1
    for folder in (run.folder, run.folder / "plain"):
        assert Run(folder).metrics()[0]["num_photos"] == num_train - num_train % 4
    summary = run.summary()
    assert summary["num_broken"] == 1
    assert summary["num_photos"] == sum(split == "test" for split in split_of(photos).values()) - 1
    evaluated = mge.evaluate(run.folder)
    assert evaluated["num_photos"] == summary["num_photos"]
    assert evaluated["mixture_top1"] == summary["mixture_top1"]
    assert [photo["path"] for photo in evaluated["broken"]] == [str(test_photo)]
    assert json.loads((run.folder / "evaluation-test.json").read_text())["num_broken"] == 1


def test_an_evaluation_of_nothing_but_broken_photos_is_an_error(photos: Path, tmp_path: Path) -> None:
    run = mge.train(photos, out=tmp_path / "run", **OPTIONS)
    for path, split in split_of(photos).items():
        if split == "test":
            truncate(Path(path))
    with pytest.raises(DataError, match="none of the 6 test photos of photos can be read"):
        mge.evaluate(run.folder)


def test_a_resumed_run_skips_what_it_skipped_and_ends_in_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = break_photo(photos)
    whole = mge.train(photos, out=tmp_path / "whole", **OPTIONS)
    with monkeypatch.context() as patch:
        stop_after_first_step(patch)
        with pytest.raises(Interrupted):
            mge.train(photos, out=tmp_path / "stopped", **OPTIONS)
    content = {file: file.read_bytes() for file in photos.rglob("*.png") if file != skipped}
    shutil.copy(next(iter(content)), skipped)  # mended meanwhile: it stays out
    for file in content:
        truncate(file)
    with pytest.raises(DataError, match=r"23 of 24 photos of photos are not what they were when the run began"):
        mge.train(resume=tmp_path / "stopped")
    for file, original in content.items():
        file.write_bytes(original)
    assert digest(mge.train(resume=tmp_path / "stopped").last) == digest(whole.last)


def stop_after_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    real = train_step

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    monkeypatch.setattr(loop, "train_step", step)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_breaks_while_training_is_named_in_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:

    def break_then_load(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        for file in photos.rglob("*.png"):
            truncate(file)
        return load_batches(*args, **options)

    monkeypatch.setattr(loop, "load_batches", break_then_load)
    flags = [
        f"--{name.replace('_', '-')}={str(value).lower()}" for name, value in (OPTIONS | {"workers": workers}).items()
    ]
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"mge: error: {photos}")
    assert ".png cannot be read: " in error
    assert error.endswith("mge check lists every broken photo")
    assert "Traceback" not in error
