"""A run that goes on is the run that was never stopped: the same bits, or a refusal that says what has changed."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mge
from mge.errors import ConfigError, DataError, Interrupted, ModelFolderError
from mge.evaluation.run_model import measure
from mge.storage.checkpoint import load_checkpoint
from mge.storage.run_folder import NAMED, Run
from mge.training import loop
from mge.training.step import train_step
from tests.photos import write_photo
from tests.tiny import SHORT, digest

TIMES = ("seconds", "data_wait_percent")
ONE_EXPERT = {**SHORT, "experts": 1, "part_filters": 0}  # where it does not matter what is trained


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody stopped."""
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "whole", **SHORT)


def untimed(run: Run) -> list[dict[str, float]]:
    """The rows of metrics.csv without what a clock measured."""
    return [{name: value for name, value in row.items() if name not in TIMES} for row in run.metrics()]


def patch_step(monkeypatch: pytest.MonkeyPatch, *, dies_at: int = 0, draws: list[float] | None = None) -> None:
    """Trains as always, draws a random number in each step as dropout does, and gets a SIGTERM in one of them."""
    count = iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == dies_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if draws is not None:
            draws.append(torch.rand(()).item())
        return train_step(*args, **options)

    monkeypatch.setattr(loop, "train_step", step)


def stopped(photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, after: int, **options: Any) -> Path:  # noqa: ANN401
    """A run that was asked to stop in a step."""
    with monkeypatch.context() as patch:
        patch_step(patch, dies_at=after)
        with pytest.raises(Interrupted):
            mge.train(photos, out=folder, **{**SHORT, **options})
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 2, "after": 1},
        {"accumulate": 3, "ema": 0.9, "clip_norm": 1.0, "after": 2},
        {"precision": "bfloat16", "optimizer": "sgd", "ema": 0.9, "after": 6},
    ],
    ids=str,
)
def test_wherever_it_is_stopped_a_run_ends_in_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    after, options = options["after"], {name: value for name, value in options.items() if name != "after"}
    whole = mge.train(photos, out=tmp_path / "whole", **{**SHORT, **options})
    resumed = mge.train(resume=stopped(photos, tmp_path / "stopped", monkeypatch, after=after, **options))
    assert digest(resumed.last) == digest(whole.last)
    assert untimed(resumed) == untimed(whole)
    assert resumed.summary() == whole.summary()


def test_each_step_draws_its_own_random_numbers_wherever_the_run_began(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []
    with monkeypatch.context() as patch:
        patch_step(patch, draws=drawn)
        mge.train(photos, out=tmp_path / "whole", **SHORT)
    assert len(set(drawn)) == len(drawn) == 6
    again: list[float] = []
    folder = stopped(photos, tmp_path / "stopped", monkeypatch, after=3)
    with monkeypatch.context() as patch:
        patch_step(patch, draws=again)
        mge.train(resume=folder)
    assert again == drawn[3:]


@pytest.mark.parametrize(("steps", "saves"), [(0, 2), (1, 8), (3, 4)])
def test_checkpoints_come_every_few_steps_where_that_is_asked_for(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, saves: int
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda _, state: saved.append(state["position"]["batch"]))
    mge.train(photos, out=tmp_path / "run", checkpoint_steps=steps, **ONE_EXPERT)
    assert len(saved) == saves  # two epochs of three steps, and one at the end of each epoch in any case


def test_checkpoints_come_by_the_clock(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda _, state: saved.append(state["position"]["batch"]))
    mge.train(photos, out=tmp_path / "run", checkpoint_minutes=0, **ONE_EXPERT)
    assert saved == [1, 2, 3, 0, 1, 2, 3, 0]


@pytest.mark.parametrize("option", [{"seed": 5}, {"gate": "own"}])
def test_a_run_whose_options_were_changed_is_refused_by_their_names(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: dict[str, Any]
) -> None:
    folder = stopped(photos, tmp_path / "run", monkeypatch, after=2)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **option}))
    (name, value) = next(iter(option.items()))
    with pytest.raises(ConfigError, match=rf"{name} is {value}.*, but the run started with {SHORT.get(name, '')}"):
        mge.train(resume=folder)


def test_what_changes_no_result_may_be_changed(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped(photos, tmp_path / "run", monkeypatch, after=2)
    file = folder / "config.yaml"
    harmless = {"workers": 2, "cache": "no", "checkpoint_steps": 1, "checkpoint_minutes": 1.0}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **harmless}))
    assert mge.train(resume=folder).summary()


@pytest.mark.parametrize("after", [1, 2], ids=["of the first epoch", "of the last epoch"])
def test_a_signal_in_validation_stops_the_run_before_another_step(
    photos: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    count = iter(range(1, 1000))

    def measure_and_be_told(answers: Any) -> dict[str, Any]:  # noqa: ANN401
        if next(count) == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(answers)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "measure", measure_and_be_told)
        with pytest.raises(Interrupted, match=rf"interrupted after epoch {after}; checkpoint saved") as stop:
            mge.train(photos, out=tmp_path / "a run", **SHORT)
    assert stop.value.exit_code == 143
    assert str(stop.value).endswith(f"resume with: mge train --resume '{tmp_path / 'a run'}'")
    resumed = mge.train(resume=tmp_path / "a run")
    assert digest(resumed.last) == digest(whole.last)
    assert resumed.summary() == whole.summary()


def add_a_class(photos: Path) -> None:
    for number in range(8):
        write_photo(photos / "kiwi" / f"{number}.png", (90, 120, 40), seed=number)


def rename_a_class(photos: Path) -> None:
    (photos / "lime").rename(photos / "limette")


def add_a_photo(photos: Path) -> None:
    write_photo(photos / "lime" / "9.png", (40, 180, 60), seed=999)


def swap_two_photos(photos: Path) -> None:
    (photos / "lime" / "0.png").rename(photos / "lime" / "a.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_a_class, r"4 classes, but the run started with 3: 'kiwi' is new"),
        (rename_a_class, r"3 classes, but the run started with 3: 'limette' is new, 'lime' is gone"),
        (add_a_photo, r"25 photos, but the run started with 24"),
        (swap_two_photos, r"24 photos, as when the run started, but different ones"),
    ],
)
def test_other_photos_than_the_run_began_with_are_refused(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    message: str,
) -> None:
    own = tmp_path / "photos"
    shutil.copytree(photos, own)
    folder = stopped(own, tmp_path / "run", monkeypatch, after=2)
    change(own)
    with pytest.raises(DataError, match=rf"photos has {message}.*restore them, or start a new run"):
        mge.train(resume=folder)


@pytest.mark.parametrize("name", NAMED)
def test_a_run_that_lost_what_it_is_opened_by_is_one_line(tmp_path: Path, name: str) -> None:
    settings = {"data": "beetles", "format": "auto", "preset": "default"}
    del settings[name]
    run = Run.create(tmp_path / "run", config=settings)
    with pytest.raises(ModelFolderError, match=rf"config\.yaml has no {name}; copy it again or start a new run"):
        mge.train(resume=run.folder)


def test_photos_may_move_with_their_folder(
    photos: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    folder = stopped(tmp_path / "photos", tmp_path / "run", monkeypatch, after=2)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "data": str(tmp_path / "elsewhere")}))
    assert digest(mge.train(resume=folder).last) == digest(whole.last)


@pytest.mark.parametrize("after", [2, 3], ids=["between two steps", "before validation"])
def test_a_vanished_folder_stops_the_run_after_a_checkpoint_and_it_goes_on_when_the_folder_is_back(
    photos: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    own = tmp_path / "photos"
    shutil.copytree(photos, own)

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if len(done) + 1 == after:
            own.rename(tmp_path / "unmounted")
        done.append(train_step(*args, **options))
        return done[-1]

    done: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(DataError, match=r"photos/.*\.png cannot be read: No such file.*restore it and resume"):
            mge.train(own, out=tmp_path / "run", cache="no", workers=0, **SHORT)
    assert load_checkpoint(Run(tmp_path / "run").checkpoint_path)["position"]["batch"] == after
    with pytest.raises(DataError, match="does not exist"):
        mge.train(resume=tmp_path / "run")
    (tmp_path / "unmounted").rename(own)
    assert digest(mge.train(resume=tmp_path / "run").last) == digest(whole.last)


def test_what_a_killed_run_left_half_written_is_cleared_away(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped(photos, tmp_path / "run", monkeypatch, after=2)
    left = folder / "checkpoints" / ".last.ckpt-0123abcd.unfinished"
    left.write_bytes(b"half of a checkpoint")
    mge.train(resume=folder)
    assert not left.exists()


def test_a_run_that_died_before_it_had_a_configuration_is_begun_anew(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "environment.json").write_text("{}")
    (folder / ".config.yaml-0123abcd.unfinished").write_text("data: phot")
    assert mge.train(photos, out=folder, **{**SHORT, "epochs": 1}).summary()
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    "given", [{"out": "runs/other"}, {"preset": "paper"}, {"format": "cub"}, {"epochs": 3}], ids=str
)
def test_an_option_beside_a_run_to_go_on_with_is_not_ignored(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"reads all options from the run; leave out {next(iter(given))}$"):
        mge.train(resume="runs/birds", **given)
