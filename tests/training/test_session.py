import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mge
from mge.data.loader import Batch
from mge.errors import ConfigError, DivergedError, Interrupted, ModelFolderError
from mge.evaluation.run_model import measure
from mge.inference.devices import choose_precision
from mge.models import mixture
from mge.storage.model_folder import load_model
from mge.storage.run_folder import Run
from mge.training import loop, network
from mge.training.step import train_step
from tests.targets import one_hot
from tests.tiny import SHORT, digest


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nobody stopped."""
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "whole", ema=0.9, **SHORT)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: int = signal.SIGTERM) -> None:
    """Sends this process a signal during the given step, as a scheduler would."""
    real, count = train_step, iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == steps:
            os.kill(os.getpid(), number)
        return real(*args, **options)

    monkeypatch.setattr(loop, "train_step", step)


@pytest.mark.usefixtures("pictures")
def test_a_run_leaves_everything_that_the_design_promises(photos: Path, tmp_path: Path) -> None:
    run = mge.train(photos, out=tmp_path / "run", baseline="both", **SHORT)
    names = {path.name for path in run.folder.iterdir()}
    assert names >= {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "summary.json",
        "best",
        "last",
        "checkpoints",
        "report",
    }
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["split"] == "test"
    assert len(summary["experts_top1"]) == 2
    assert {"plain_top1", "plain_equal_compute_top1", "mixture_top1", "mean_top1", "oracle_top1"} <= set(summary)
    assert summary["oracle_top1"] >= max(summary["experts_top1"])
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {"train_loss_expert1", "train_top1_mixture", "diversity_expert1", "val_top1_mixture"} <= set(rows[0])
    assert (run.report / "what_each_expert_saw.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ([40.0, 90.0, 85.0, 30.0], 2),  # within one standard error of 90 % of a handful of photos, and trained longer
        ([40.0, 90.0, 30.0, 89.0], 3),
        ([0.0, 100.0, 99.0, 98.0], 1),  # 100 % has no spread
    ],
)
def test_the_last_epoch_within_one_standard_error_of_the_highest_accuracy_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: list[float], kept: int
) -> None:
    scripted = iter(accuracies)
    monkeypatch.setattr(loop, "measure", lambda outputs: {**measure(outputs), "mixture_top1": next(scripted)})
    run = mge.train(photos, out=tmp_path / "run", **{**SHORT, "experts": 1, "part_filters": 0, "epochs": 4})
    assert load_model(run.best).metadata["provenance"]["epoch"] == kept
    assert load_model(run.last).metadata["provenance"]["epoch"] == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_between_steps_and_the_resumed_run_ends_in_the_same_bits(
    photos: Path, whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, steps=6, number=number)
        with pytest.raises(Interrupted, match="--resume") as stopped:
            mge.train(photos, out=tmp_path / "stopped", ema=0.9, **SHORT)
    assert stopped.value.exit_code == 128 + number
    resumed = mge.train(resume=tmp_path / "stopped")
    assert digest(resumed.last) == digest(whole.last)
    assert resumed.summary() == whole.summary()
    drop = {"seconds", "data_wait_percent"}
    strip = [[{k: v for k, v in row.items() if k not in drop} for row in run.metrics()] for run in (resumed, whole)]
    assert strip[0] == strip[1]


def test_the_result_does_not_depend_on_workers_or_cache(photos: Path, tmp_path: Path) -> None:
    runs = [
        mge.train(photos, out=tmp_path / name, workers=workers, cache=cache, **SHORT)
        for name, workers, cache in (("a", 0, "yes"), ("b", 2, "no"))
    ]
    assert digest(runs[0].last) == digest(runs[1].last)


def skew(photos: Path, folder: Path) -> Path:
    """A copy of the photos with fewer of one class."""
    skewed = folder / "photos"
    shutil.copytree(photos, skewed)
    for number in range(4):
        (skewed / "plum" / f"{number}.png").unlink()
    return skewed


@pytest.mark.parametrize(("balance", "schedule"), [("sampler", "joint"), ("loss", "progressive")])
def test_with_every_change_of_photos_a_run_resumes_in_the_same_bits_for_any_number_of_workers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str, schedule: str
) -> None:
    options = {
        **SHORT, "resized_crop": 0.3, "randaugment": 9, "erasing": 0.5, "mixup": 0.4, "cutmix": 1.0, "balance": balance,
        "schedule": schedule, "epochs": 1,
    }  # fmt: skip
    skewed = skew(photos, tmp_path)
    whole = mge.train(skewed, out=tmp_path / "whole", workers=2, cache="no", **options)
    with monkeypatch.context() as patch:
        stop_after(patch, steps=2)
        with pytest.raises(Interrupted):
            mge.train(skewed, out=tmp_path / "stopped", workers=0, cache="yes", **options)
    assert digest(mge.train(resume=tmp_path / "stopped").last) == digest(whole.last)


@pytest.mark.parametrize(("balance", "cutmix"), [("none", 0.0), ("sampler", 1.0), ("loss", 0.0)])
def test_targets_are_blended_and_weighted_where_the_options_ask_for_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str, cutmix: float
) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def step(fabric: Any, network: Any, batch: Batch, targets: Tensor, **options: Any) -> Any:  # noqa: ANN401
        seen.append((batch.labels, targets))
        return train_step(fabric, network, batch, targets, **options)

    monkeypatch.setattr(loop, "train_step", step)
    options = {**SHORT, "experts": 1, "part_filters": 0, "epochs": 1, "balance": balance}
    skewed = skew(photos, tmp_path)
    mge.train(skewed, out=tmp_path / "run", **options, cutmix=cutmix)
    labels, targets = (torch.cat(column) for column in zip(*seen, strict=True))
    assert targets.shape == (len(labels), 3)
    if cutmix:
        assert ((targets > 0).sum(1) == 2).any()
        torch.testing.assert_close(targets.sum(1), torch.ones(len(labels)))
    else:
        weights = [13 / (3 * 5), 13 / (3 * 5), 13 / (3 * 3)] if balance == "loss" else [1.0, 1.0, 1.0]
        torch.testing.assert_close(targets, one_hot(labels, 3) * torch.tensor(weights))


def test_who_trains_and_loads_draws_the_random_numbers_that_they_would_have_drawn_without(
    photos: Path, tmp_path: Path
) -> None:
    expected = torch.Generator().manual_seed(torch.initial_seed())
    run = mge.train(photos, out=tmp_path / "run", **{**SHORT, "experts": 1, "part_filters": 0, "epochs": 1})
    mge.load(run).predict(photos / "lime" / "0.png")
    assert torch.equal(torch.rand(3), torch.rand(3, generator=expected))


def test_another_seed_gives_another_model(photos: Path, tmp_path: Path) -> None:
    options = {**SHORT, "epochs": 1}
    first, second = (mge.train(photos, out=tmp_path / str(seed), **options, seed=seed) for seed in (0, 1))
    assert digest(first.last) != digest(second.last)


@pytest.mark.parametrize("freeze_previous", [True, False])
def test_the_progressive_schedule_adds_experts_and_keeps_former_ones_if_told_to(
    photos: Path, tmp_path: Path, freeze_previous: bool
) -> None:
    options = {**SHORT, "epochs": 1, "schedule": "progressive", "freeze_previous": freeze_previous}
    run = mge.train(photos, out=tmp_path / "run", **options)
    assert [(row["stage"], row["epoch"]) for row in run.metrics()] == [(0, 0), (1, 0)]
    assert "train_loss_expert1" not in run.metrics()[0]
    one = mge.train(photos, out=tmp_path / "one", **{**options, "experts": 1})
    first, alone = mge.load(run.last).model.experts[0], mge.load(one.last).model.experts[0]
    same = all(a.equal(b) for a, b in zip(first.state_dict().values(), alone.state_dict().values(), strict=True))
    assert same is freeze_previous


def test_a_progressive_run_resumes_in_its_stage(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**SHORT, "epochs": 1, "schedule": "progressive"}
    whole = mge.train(photos, out=tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        stop_after(patch, steps=6)
        with pytest.raises(Interrupted):
            mge.train(photos, out=tmp_path / "stopped", **options)
    assert digest(mge.train(resume=tmp_path / "stopped").last) == digest(whole.last)


def test_a_diverging_run_stops_and_says_what_to_change(photos: Path, tmp_path: Path) -> None:
    options = {**SHORT, "optimizer": "sgd", "backbone_lr": 1e30, "head_lr": 1e30}
    with pytest.raises(DivergedError, match="--clip-norm") as stopped:
        mge.train(photos, out=tmp_path / "run", **options)
    assert stopped.value.exit_code == 3


def test_a_run_says_so_where_many_classes_choose_the_part_head(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (mixture, network):
        monkeypatch.setattr(module, "DENSE_UP_TO", 2)
    options = {**SHORT, "epochs": 1, "experts": 1}
    mge.train(photos, out=tmp_path / "auto", **options)
    assert "part_head is classwise for 3 classes (auto: from 3 on)" in capsys.readouterr().out
    mge.train(photos, out=tmp_path / "dense", part_head="dense", **options)
    assert "classwise" not in capsys.readouterr().out


def test_a_run_says_so_where_many_classes_choose_the_part_filters(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mixture, "PART_FILTERS_IN_ALL", 15)
    options = {**SHORT, "epochs": 1, "experts": 1, "part_filters": "auto"}
    mge.train(photos, out=tmp_path / "auto", **options)
    assert "part_filters is 5 per class for 3 classes (auto" in capsys.readouterr().out
    mge.train(photos, out=tmp_path / "ten", **{**options, "part_filters": 10})
    assert "part_filters is" not in capsys.readouterr().out


def test_a_finished_run_is_not_trained_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = mge.train(photos, out=tmp_path / "run", **{**SHORT, "epochs": 1})
    monkeypatch.setattr(loop, "train_step", None)
    assert mge.train(resume=run.folder).summary() == run.summary()


def test_wrong_requests_say_what_to_do(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--resume"):
        mge.train()
    with pytest.raises(ConfigError, match="did you mean 'experts'"):
        mge.train(photos, expert=2)
    with pytest.raises(ModelFolderError, match="not a run folder"):
        mge.train(resume=tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").write_text("")
    with pytest.raises(ConfigError, match="not empty"):
        mge.train(photos, out=tmp_path / "full", **SHORT)
    with pytest.raises(ConfigError, match="too small"):
        mge.train(photos, out=tmp_path / "small", **{**SHORT, "size": 32})
    with pytest.raises(ConfigError, match="did you mean"):
        mge.train(photos, out=tmp_path / "unknown", **{**SHORT, "backbone": "resnet51"})


@pytest.mark.parametrize("schedule", ["joint", "progressive"])
def test_the_gate_stays_even_until_it_is_its_turn(schedule: str, photos: Path, tmp_path: Path) -> None:
    late = {**SHORT, "schedule": schedule, "gate_lr": 0.1}
    largest = []
    for start in (0.0, 1.0):
        run = mge.train(photos, out=tmp_path / str(start), gate_from=start, **late)
        largest.append(float(load_model(run.last).state["gate.layers.1.weight"].abs().max()))
    assert largest[0] > 0
    assert largest[1] == 0


def test_the_precision_has_a_name_in_fabric() -> None:
    assert choose_precision("bfloat16", accelerator="auto") == "bf16-mixed"
    assert choose_precision("float32", accelerator="auto") == "32-true"
    assert choose_precision("auto", accelerator="auto") in ("bf16-mixed", "32-true")
