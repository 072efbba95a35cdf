"""A time limit: how many epochs fit, that a run ends at it with an annealed learning rate, and early stopping."""

import signal
from pathlib import Path
from typing import Any

import pytest

import mge
from mge.config import TrainConfig, suggest
from mge.errors import ConfigError, Interrupted
from mge.evaluation.run_model import measure
from mge.storage.run_folder import Run
from mge.training import loop, time_limit
from mge.training.step import train_step
from mge.training.time_limit import EpochSeconds
from mge.training.train_state import TrainState
from tests.tiny import SHORT, digest

ONE = {**SHORT, "experts": 1, "part_filters": 0}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30m", 1800),
        ("2h", 7200),
        ("90s", 90),
        ("1h30m", 5400),
        ("0.5h", 1800),
        (300, 300),
        ("45", 45),
        (" 5 min", 300),
    ],
)
def test_a_time_limit_is_hours_minutes_seconds_or_a_number(given: str | float, seconds: float) -> None:
    assert TrainConfig(time_limit=given).limit_seconds == seconds


@pytest.mark.parametrize("given", ["", "soon", "30x", "-5", 0, "0m", "m30", "1h30", True, "1e400", float("nan")])
def test_other_limits_are_refused_in_one_line(given: object) -> None:
    with pytest.raises(ConfigError, match=r"time_limit is .*; accepted: hours, minutes and seconds such as 2h"):
        TrainConfig(time_limit=given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "times", "expected"),
    [
        (1200, EpochSeconds(1, 20), (10, 100)),  # as many whole epochs as fit
        (1260, EpochSeconds(1, 20), (11, 95)),  # rather one more, each a little shorter
        (600, EpochSeconds(1, 0), (10, 60)),  # fewer than ten whole epochs: shorter ones
        (600, EpochSeconds(1, 50), (3, 100)),  # … but not mostly validation
        (30, EpochSeconds(1, 50), (1, 1)),
        (0, EpochSeconds(1, 0), (10, 1)),
    ],
)
def test_the_epochs_fill_the_time(seconds: float, times: EpochSeconds, expected: tuple[int, int]) -> None:
    assert times.fit(seconds, num_batches=100) == expected


def test_after_an_epoch_as_many_follow_as_still_fit() -> None:
    times = EpochSeconds(2, 0)
    assert times.refit(400, num_batches=100, usual=50) == (4, 50)
    assert times.refit(90, num_batches=100, usual=50) == (1, 45)
    assert times.refit(5, num_batches=100, usual=50) == (0, 50)
    assert times.refit(-100, num_batches=100, usual=50) == (0, 50)


class Clock:
    """A clock on which only training steps take time: a second each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr(loop, "train_step", self.step)
        monkeypatch.setattr(time_limit, "OVERHEAD", 0.0)

    def step(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        self.now += 1
        return train_step(*args, **options)


@pytest.mark.parametrize("limit", [14, 40])
def test_a_run_ends_within_a_tenth_of_its_limit_and_with_a_small_learning_rate(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    clock = Clock(monkeypatch)
    run = mge.train(photos, out=tmp_path / "run", **{**ONE, "epochs": 30, "time_limit": f"{limit}s"})
    assert 0.85 * limit <= clock.now - 1000 <= 1.1 * limit
    rows = run.metrics()
    assert rows[-1]["head_lr"] < 0.2 * rows[0]["head_lr"]
    assert f"The epochs are fitted to the time limit of {limit} s." in capsys.readouterr().out
    assert mge.load(run.last).model is not None


def test_the_networks_and_stages_of_a_run_share_its_limit(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    options = {**SHORT, "schedule": "progressive", "baseline": "same_view", "epochs": 20, "time_limit": 36}
    run = mge.train(photos, out=tmp_path / "run", **options)
    assert 31 <= clock.now - 1000 <= 40
    assert {row["stage"] for row in run.metrics()} == {0, 1}
    assert len(Run(run.folder / "plain").metrics()) > 1
    said = capsys.readouterr().out
    for name in ("plain network: ", "mixture, expert stage 1 of 2: ", "mixture, expert stage 2 of 2: "):
        assert f"\n{name}" in said


def test_a_run_under_a_limit_that_was_stopped_ends_in_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**ONE, "time_limit": "16s"}
    clock = Clock(monkeypatch)
    whole = mge.train(photos, out=tmp_path / "whole", **options)

    def stop(*args: Any, **more: Any) -> Any:  # noqa: ANN401
        if clock.now == 1008.0:
            signal.raise_signal(signal.SIGTERM)
        return clock.step(*args, **more)

    clock.now = 1000.0
    monkeypatch.setattr(loop, "train_step", stop)
    with pytest.raises(Interrupted):
        mge.train(photos, out=tmp_path / "stopped", **options)
    monkeypatch.setattr(loop, "train_step", clock.step)
    clock.now = 5000.0
    resumed = mge.train(resume=tmp_path / "stopped")
    assert len(resumed.metrics()) == len(whole.metrics())
    assert digest(resumed.last) == digest(whole.last)


def test_early_stopping_ends_a_run_after_epochs_without_a_better_validation_accuracy(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = iter([40.0, 90.0, 80.0, 90.0, 100.0, 100.0])
    monkeypatch.setattr(loop, "measure", lambda outputs: {**measure(outputs), "mixture_top1": next(scripted)})
    run = mge.train(photos, out=tmp_path / "run", **{**ONE, "epochs": 6, "early_stop": 2})
    assert [row["val_top1_mixture"] for row in run.metrics()] == [40.0, 90.0, 80.0, 90.0]
    assert mge.load(run.last) is not None


def test_early_stopping_needs_validation_photos(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="early_stop is 2, but there are no validation photos; give --val-fraction"):
        mge.train(photos, out=tmp_path / "run", **{**ONE, "early_stop": 2, "val_fraction": 0.0})


def test_a_checkpoint_of_an_earlier_version_counts_its_epochs() -> None:
    saved = {"stage": 2, "epoch": 3, "batch": 0, "best_accuracy": -1.0, "tally": {}}
    position = TrainState.from_dict(saved, num_epochs=10)
    assert (position.former_epochs, position.num_epochs) == (20, 0)


def test_patience_is_early_stopping_elsewhere_and_was_a_timeout_here(tmp_path: Path) -> None:
    known = list(TrainConfig().to_dict())
    assert "did you mean 'early_stop'" in suggest("patience", known)
    assert "did you mean 'time_limit'?" in suggest("max_time", known)
    run = Run.create(tmp_path / "run", config={"data": "photos", "patience": 30.0})
    assert run.config() == {"data": "photos", "process_timeout": 30.0}
