"""What the cascade saves: `python benchmarks/cascade.py [RUN ...]`, by default the demo's runs on all seeds.

Chooses thresholds on each run's validation photos, and measures on its test photos what they cost and save. Runs are
only read. Writes benchmarks/results/cascade.json and the table in docs/results.md.
"""

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from trainings import RESULTS, runs_given, write_table

from mge.cascade.runner import run_cascade
from mge.data.dataset import PhotoDataset
from mge.evaluation.evaluation import evaluate_model
from mge.evaluation.fit_parameters import FitOptions
from mge.models.mixture import MixtureOfExperts

ROUNDS = 6  # times that each side goes through the photos, after one round that does not count
BATCH_SIZE = 16
MAX_ACCURACY_LOSS = 0.2
HEAD = [
    "run", "mixture %", "cascade %", "experts a photo", "later experts' work saved %", "wall time / the mixture's"
]  # fmt: skip


def main() -> None:
    """Measures the given runs, one after the other."""
    runs = runs_given()
    figures: dict[str, Any] = {
        "command": " ".join(["python benchmarks/cascade.py", *sys.argv[1:]]),
        "max_accuracy_loss": MAX_ACCURACY_LOSS,
        "batch_size": BATCH_SIZE,
        "machine": {"architecture": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__},
        "runs": {run.name: measure(run) for run in runs},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cascade.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    write_table("cascade", [HEAD, *(row(name, found) for name, found in figures["runs"].items())])


def measure(run: Path) -> dict[str, Any]:
    """One run's figures, on its test photos; the thresholds are stored with a copy of the run."""
    with tempfile.TemporaryDirectory() as folder:
        unneeded = shutil.ignore_patterns("checkpoints", "plain*", "last")
        copy = Path(shutil.copytree(run, Path(folder) / run.name, ignore=unneeded))
        evaluation = evaluate_model(
            copy, data=None, split="test", source_format="auto", out=None, batch_size=BATCH_SIZE, accelerator="auto",
            choices=FitOptions(max_accuracy_loss=MAX_ACCURACY_LOSS),
        )  # fmt: skip
    kept = ("data", "split", "num_photos", "mixture_top1", "cascade", "cascade_curve")
    figures = {name: evaluation.figures[name] for name in kept}
    thresholds = figures["cascade"]["leads"]
    return figures | {"wall_time": compare(evaluation.classifier.model, evaluation.photos, thresholds=thresholds)}


@torch.inference_mode()
def compare(model: MixtureOfExperts, photos: PhotoDataset, *, thresholds: Sequence[float]) -> dict[str, float]:
    """Seconds of the networks alone, photos decoded already: both in turn, and which comes first in turn, too."""
    device = next(model.parameters()).device
    images = torch.stack([photos[0, number].image for number in range(len(photos))]).to(device)
    batches = images.split(BATCH_SIZE)
    sides: dict[str, Callable[[], object]] = {
        "cascade": lambda: [run_cascade(model, batch, thresholds=thresholds) for batch in batches],
        "mixture": lambda: [model(batch) for batch in batches],
    }
    orders = [sorted(sides, reverse=bool(turn % 2)) for turn in range(ROUNDS + 1)]
    pairs = [{name: seconds(sides[name]) for name in order} for order in orders]
    ratios = [pair["cascade"] / pair["mixture"] for pair in pairs[1:]]
    return {
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "cascade_seconds": statistics.median(pair["cascade"] for pair in pairs[1:]),
        "mixture_seconds": statistics.median(pair["mixture"] for pair in pairs[1:]),
        "load_average": os.getloadavg()[0],
    }


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes, until an accelerator is done with it, too."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def row(name: str, found: dict[str, Any]) -> list[str]:
    """One run as a row of the table."""
    cascade, times = found["cascade"], found["wall_time"]
    return [
        name,
        f"{found['mixture_top1']:.1f}",
        f"{cascade['top1']:.1f}",
        f"{cascade['mean_experts']:.2f}",
        f"{cascade['saved_percent']:.0f}",
        f"{times['ratio']:.2f} ({times['ratio_low']:.2f} to {times['ratio_high']:.2f})",
    ]


if __name__ == "__main__":
    main()
