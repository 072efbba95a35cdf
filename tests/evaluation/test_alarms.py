"""Alarms of a training that went wrong: which signs raise them, and what they advise."""

import random
from pathlib import Path
from typing import Any

import pytest

import mge
from mge.evaluation.alarms import chance_alarm, loss_alarm, worse_alarm
from tests.photos import COLORS, write_photo
from tests.tiny import SHORT

SETTINGS: dict[str, Any] = {"data": "my photos", "backbone_lr": 0.01, "head_lr": 0.5, "epochs": 10}


def epochs(*figures: tuple[float, float, float]) -> list[dict[str, float]]:
    names = ("train_loss_mixture", "train_top1_mixture", "val_top1_mixture")
    return [{"stage": 0, "epoch": number, **dict(zip(names, row, strict=True))} for number, row in enumerate(figures)]


def loss_of(rows: list[dict[str, float]]) -> str:
    return loss_alarm(rows, network="mixture", num_classes=10, settings=SETTINGS)


def test_a_loss_that_does_not_fall_is_an_alarm_with_its_cause() -> None:
    assert loss_of(epochs((2.3, 10, 10), (2.1, 12, 10))) == ""
    assert loss_of(epochs((2.30, 10, 10), (2.29, 30, 10))) == ""  # it learns
    assert loss_of(epochs((2.3, 10, 10))) == ""  # too early
    assert loss_of(epochs((2.30, 10, 10), (2.31, 11, 10))) == (
        "the training loss of the mixture does not fall (2.30 in epoch 1, 2.31 now): the labels probably do not match "
        "the photos, or the learning rates are too low; look at the photos with mge check 'my photos'"
    )
    assert loss_of(epochs((46.0, 10, 10), (30.0, 11, 10))) == (
        "the training loss of the mixture is far above that of guessing (30.00 and 2.30): the learning rates are "
        "probably too high; start again with --backbone-lr 0.001 --head-lr 0.05"
    )


def test_validation_at_chance_is_an_alarm_that_tells_memorising_from_not_learning() -> None:
    labels = [0] * 30 + [1] * 20
    rows = epochs((0.7, 60, 55), (0.7, 61, 60))
    text = chance_alarm(rows, labels, network="plain network", settings=SETTINGS)
    assert "at chance (at most 60.0 %; always predicting the most frequent class has 60.0 %)" in text
    assert text.endswith("train longer with --epochs 30, or look at the photos with mge check 'my photos'")
    learned = epochs((0.7, 60, 55), (0.1, 99, 60))
    assert "their labels probably do not match" in chance_alarm(learned, labels, network="mixture", settings=SETTINGS)
    assert chance_alarm(epochs((0.1, 99, 75)), labels, network="mixture", settings=SETTINGS) == ""
    assert chance_alarm(rows, [], network="mixture", settings=SETTINGS) == ""


def test_a_mixture_that_is_worse_is_an_alarm_where_it_is_more_than_chance() -> None:
    def worse(gain: float, experts: list[float], *, is_significant: bool = True) -> str:
        return worse_alarm(
            gain=gain, is_significant=is_significant, opponent="the plain network", figures={"experts_top1": experts},
            data="photos",
        )  # fmt: skip

    assert worse(2.0, [50.0, 60.0]) == ""
    assert worse(-2.0, [50.0, 60.0], is_significant=False) == ""
    assert worse(-32.5, [47.5, 15.0]) == (
        "the mixture is 32.5 points below the plain network: its later experts are less accurate than the first (15.0 "
        "and 47.5 %); use a plain network: mge train photos --experts 1 --part-filters 0, or train longer"
    )
    assert "too few photos or epochs" in worse(-2.0, [50.0, 60.0])


def test_a_run_made_to_fail_raises_its_alarm_in_log_summary_and_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(0)
    for number in range(60):  # the labels have nothing to do with the photos
        write_photo(
            tmp_path / "photos" / rng.choice("ab") / f"{number}.png", rng.choice(list(COLORS.values())), seed=number
        )
    options = {
        **SHORT,
        "experts": 1,
        "part_filters": 0,
        "optimizer": "sgd",
        "head_lr": 1e3,
        "batch_size": 8,
        "epochs": 3,
    }
    run = mge.train(tmp_path / "photos", out=tmp_path / "run", **options)
    alarms = run.summary()["alarms"]
    assert any("far above that of guessing" in alarm and "--head-lr 100" in alarm for alarm in alarms)
    said = capsys.readouterr().out
    assert said.count(f"Alarm: {alarms[0]}.") >= 1
    assert said.count("far above that of guessing") == 2  # when it was seen, and at the end
    result = mge.evaluate(run.folder)
    assert f"Alarm: {alarms[0]}." in result["advice"]
    assert "far above that of guessing" in (run.folder / "evaluation-test" / "report.html").read_text()
