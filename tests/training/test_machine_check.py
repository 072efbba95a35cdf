"""The machine is looked at before anything slow: weights, memory, and the time that a training takes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mge
from mge.config import split_options
from mge.data.records import PhotoSet, Record
from mge.errors import ConfigError
from mge.inference.devices import one_device
from mge.training import machine_check
from mge.training.forecast import QUICK, Forecast
from mge.training.memory import MemoryPlan, shrink
from tests.tiny import SHORT, TINY


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (5_000, ("", 32, 1)),
        (4_000 + 2 * 150, ("no photo cache, 2 data-loading processes", 32, 1)),
        (
            2_200,
            ("no photo cache, 1 data-loading process, batch size 16 with --accumulate 2, the same effective", 16, 2),
        ),
        (10, ("1 data-loading process, batch size 2 with --accumulate 16", 2, 16)),
    ],
)
def test_memory_is_saved_at_the_cache_then_the_workers_then_the_batch(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: tuple[str, int, int]
) -> None:
    monkeypatch.setattr("mge.training.memory.WORKER_BYTES", 150)
    start = MemoryPlan(batch_size=32, accumulate=1, workers=0, caches=True, network=4_000, cache=1_000)
    plan = shrink(start, free=free, uncached_workers=4, multiple=2, network_at=lambda size: 125 * size)
    words, batch_size, accumulate = expected
    assert words in plan.describe_change(start)
    assert (plan.batch_size, plan.accumulate) == (batch_size, accumulate)


def test_what_may_not_change_stays() -> None:
    start = MemoryPlan(batch_size=32, accumulate=1, workers=4, caches=True, network=4_000, cache=1_000)
    plan = shrink(start, free=10, uncached_workers=None, multiple=0, network_at=lambda size: size)
    assert (plan.caches, plan.workers, plan.batch_size) == (True, 1, 32)


def test_a_run_without_enough_memory_halves_its_batch_and_keeps_to_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_check, "free_memory", lambda: 60_000_000)
    monkeypatch.setattr(machine_check, "network_bytes", lambda *args, config, **options: 20_000_000 * config.batch_size)
    run = mge.train(
        photos,
        out=tmp_path / "run",
        **{**SHORT, "epochs": 1, "experts": 1, "part_filters": 0, "cache": "no", "workers": 0},
    )
    said = capsys.readouterr().out
    assert "but only 0.1 GB are free: now batch size 2 with --accumulate 2, the same effective size\n" in said
    settings = run.config()
    assert (settings["batch_size"], settings["accumulate"]) == (2, 2)
    assert (run.origin() or {})["settings"]["batch_size"] == 2
    assert re.search(
        r"Plan: network \(test_resnet, 64 px, 1 epoch\); 1\d training photos, \d+ CPU cores?: about ", said
    )


def test_missing_weights_are_an_error_before_any_photo_is_read(photos: Path, tmp_path: Path) -> None:
    options = {**SHORT, "weights": str(tmp_path / "none.safetensors")}
    broken = tmp_path / "photos"
    (broken / "a").mkdir(parents=True)
    (broken / "b").mkdir()
    for number in range(8):
        for label in "ab":
            (broken / label / f"{number}.jpg").write_bytes(b"no photo")
    with pytest.raises(ConfigError, match=r"none\.safetensors' does not exist"):
        mge.train(broken, out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def forecast_of() -> Forecast:
    records = tuple(Record(Path(f"{number}.jpg"), "a", "train") for number in range(1000))
    model, _, config = split_options(
        {name: value for name, value in TINY.items() if name != "preset"} | {"epochs": 10}, preset="scratch"
    )
    plans = {"plain network": (model, config), "mixture": (model, config)}
    return Forecast(one_device("cpu"), PhotoSet("photos", "folder", ("a",), records), "photos", plans)


def test_the_plan_of_all_networks_is_told_once_with_the_time_and_what_takes_minutes_instead() -> None:
    forecast = forecast_of()
    work = sum(forecast.workload(plan).total for plan in forecast.plans.values())
    line = forecast.tell(work / 3600)
    assert line.startswith("Plan: plain network of 2 experts (test_resnet, 64 px, 10 epochs), mixture of 2 experts")
    assert "1,000 training photos" in line
    assert line.endswith("about 60 min in all.")
    assert forecast.tell(1.0) == ""
    assert (
        forecast_of()
        .tell(work / 36_000)
        .endswith(f"about 10.0 h in all. That is long; minutes take: mge train photos {QUICK}")
    )


MEASURED = """
import sys
from pathlib import Path
import psutil, torch
torch.set_num_threads(1)
from mge.config import split_options
from mge.console.allocator import keep_freed_memory
from mge.inference.devices import one_device
from mge.models.mixture import MixtureOfExperts
from mge.training.batch_size import _peak_of, _Trial
from mge.training.memory import network_bytes
keep_freed_memory()
size, batch, preset = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
options = {"backbone": "test_resnet", "size": size, "batch_size": batch, "accelerator": "cpu", "pretrained": False}
model, _, config = split_options(options, preset=preset)
fabric = one_device("cpu")
real = MixtureOfExperts(model, num_classes=10, pretrained=False)
real.active_experts = 1 if config.schedule == "crops" else model.experts
trial = _Trial(fabric, real, config=config)
trial.run(1)  # loads the libraries
before = psutil.Process().memory_info().rss
print(network_bytes(fabric, model, num_classes=10, config=config), _peak_of(trial, batch) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("size", "batch", "preset"), [(96, 64, "default"), (64, 64, "scratch")])
def test_the_estimated_memory_is_within_30_percent_of_the_measured_peak(size: int, batch: int, preset: str) -> None:
    command = [sys.executable, "-c", MEASURED, str(size), str(batch), preset]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    estimated, measured = map(int, done.stdout.split())
    assert 0.7 * measured < estimated < 1.3 * measured, (estimated / 1e6, measured / 1e6)
