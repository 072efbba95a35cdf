"""Accuracy over the cost of a prediction: `python benchmarks/cost_curve.py [SET ...] [--seeds 0]`.

The plain network at six views, and the mixture and its cascade at three, each trained at its view. The cost is
counted in passes of the plain network at 128 px. Runs of benchmarks/pretrained.py are read, not trained again. What
was stopped is resumed. Writes benchmarks/results/cost_curve.json, a table in docs/results.md and
docs/pictures/cost-curve.png.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from pretrained import COMMON, SETS, SHARED, WEIGHTS, equal_compute_run, run_name
from trainings import RESULTS, RUNS, draw_panels, spread, train_once, write_table

from mge.storage.run_folder import Run

PLAIN_SIZES, SIZES, STANDARD, EQUAL_COMPUTE = (96, 128, 160, 192, 224, 256), (96, 128, 160), 128, 224
FIGURES = RESULTS / "cost_curve.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "cost-curve.png"
PLAIN: dict[str, Any] = {"experts": 1, "part_filters": 0, "share_experts": False, "schedule": "joint"}
SERIES = ("plain network", "mixture", "cascade")

Points = dict[str, dict[str, dict[str, Any]]]  # set, "series at size", {"costs": [...], "top1": [...]} a seed each


def main() -> None:
    """Train what is missing, and write table and picture after each training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[], help=f"which sets: {', '.join(SETS)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only-read", action="store_true", help="train nothing")
    given = parser.parse_args()
    for seed in given.seeds:
        for name in given.sets or SETS:
            for size in () if given.only_read else PLAIN_SIZES:
                train(name, size=size, seed=seed, is_plain=True)
                write(given.seeds)
            for size in () if given.only_read else SIZES:
                train(name, size=size, seed=seed, is_plain=False)
                write(given.seeds)
    write(given.seeds)


def find_run(name: str, *, size: int, seed: int, is_plain: bool) -> Run:
    """Return the run of a network, which benchmarks/pretrained.py may have trained."""
    known = RUNS / run_name(name, seed)
    if size == STANDARD and (known / "summary.json").exists():
        return Run(known / "plain" if is_plain else known)
    if size == EQUAL_COMPUTE and is_plain:
        return equal_compute_run(name, seed)
    return Run(RUNS / f"cost-{name}-{'plain' if is_plain else 'mixture'}-{size}-seed{seed}")


def train(name: str, *, size: int, seed: int, is_plain: bool) -> None:
    """Train one network at its view, out of photos that are kept as large for all of them."""
    folder = find_run(name, size=size, seed=seed, is_plain=is_plain).folder
    if run_name(name, seed) in folder.parts:
        return
    data, options = SETS[name]
    detail = max(1.0, COMMON["size"] * options["zoom_resolution"] / size)
    changed = {"size": size, "zoom_resolution": detail, "baseline": "none", "seed": seed}
    train_once(folder.name, str(SHARED / data), {**COMMON, **options, **changed, **(PLAIN if is_plain else {})})


def measure(name: str, seeds: list[int]) -> dict[str, dict[str, Any]]:
    """Return cost and accuracy of every finished network of a set."""
    points: dict[str, dict[str, Any]] = {}
    for series, sizes in zip(SERIES, (PLAIN_SIZES, SIZES, SIZES), strict=True):
        for size in sizes:
            for seed in seeds:
                run = find_run(name, size=size, seed=seed, is_plain=series == "plain network")
                summary = run.summary()
                passes, top1 = 1.0, summary.get("mixture_top1")
                if series == "mixture":
                    passes = summary.get("fusion", {}).get("experts", 3)
                if series == "cascade":
                    cascade = summary.get("cascade", {})
                    passes, top1 = cascade.get("mean_experts", 1.0), cascade.get("top1")
                if top1 is not None:
                    point = points.setdefault(f"{series} at {size} px", {"costs": [], "top1": []})
                    point["costs"].append(round(passes * (size / STANDARD) ** 2, 3))
                    point["top1"].append(top1)
    return points


def write(seeds: list[int]) -> None:
    """Write the figures as JSON, as a table and as a picture."""
    kept: Points = json.loads(FIGURES.read_text(encoding="utf-8"))["sets"] if FIGURES.exists() else {}
    points = {name: {**kept.get(name, {}), **measure(name, seeds)} for name in SETS}
    points = {name: found for name, found in points.items() if found}
    head = {"command": "python benchmarks/cost_curve.py", "common": {**COMMON, "weights": WEIGHTS.name}}
    FIGURES.write_text(json.dumps({**head, "sets": points}, indent=1) + "\n", encoding="utf-8")
    table = [["set", "network", "cost (passes at 128 px)", "test accuracy (%)"]]
    for name, found in points.items():
        table += [[name, label, f"{statistics.mean(p['costs']):.2f}", spread(p["top1"])] for label, p in found.items()]
    write_table("cost curve", table)
    draw_panels(
        PICTURE, points, lambda panel, name: draw(panel, points[name]), xlabel="cost of a prediction (passes at 128 px)"
    )


def draw(panel: Axes, found: dict[str, dict[str, Any]]) -> None:
    """Draw a set's accuracies, a line for each kind of network."""
    for series, marker in zip(SERIES, "so^", strict=True):
        points = [point for label, point in found.items() if label.startswith(series)]
        line = sorted((statistics.mean(point["costs"]), statistics.mean(point["top1"])) for point in points)
        if line:
            panel.plot(*zip(*line, strict=True), marker=marker, label=series)


if __name__ == "__main__":
    main()
