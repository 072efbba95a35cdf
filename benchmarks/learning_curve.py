"""Accuracy over the number of training photos: `python benchmarks/learning_curve.py [SET ...] [--seeds 0 1 2]`.

The default recipe beside timm's whole network at the same view, trained on 5, 10, 20 and all photos of each class and
tested on all test photos. Fewer photos are trained on for more epochs: a quarter of the photos for twice as many. What
is trained already is only read, and what was stopped is resumed. Writes benchmarks/results/learning_curve.json, a
table in docs/results.md and docs/pictures/learning-curve.png.
"""

import argparse
import csv
import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from pretrained import COMMON, SETS, SHARED, WEIGHTS, run_name
from trainings import RESULTS, RUNS, draw_panels, spread, train_once, write_table

from mge.storage.run_folder import Run

COUNTS = (5, 10, 20)  # photos of each class; beside them all that there are
CURVED = ("logos", "birds")
FIGURES = RESULTS / "learning_curve.json"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "learning-curve.png"
NETWORKS = {"plain network": "plain_top1", "mixture": "mixture_top1"}

Curves = dict[str, dict[str, dict[str, dict[str, float]]]]  # set, photos of each class, seed, network


def main() -> None:
    """Train what is missing, and write table and picture after each training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[], help=f"which sets: {', '.join(CURVED)} (default: both)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only-read", action="store_true", help="train nothing")
    given = parser.parse_args()
    curves: Curves = json.loads(FIGURES.read_text(encoding="utf-8"))["sets"] if FIGURES.exists() else {}
    for seed in given.seeds:
        for name in given.sets or CURVED:
            for count in COUNTS:
                if not given.only_read:
                    train(name, count=count, seed=seed)
                note(curves, name, photos=str(count), seed=seed, run=Run(RUNS / curve_name(name, count, seed)))
            note(curves, name, photos="all", seed=seed, run=Run(RUNS / run_name(name, seed)))
            write(curves)


def curve_name(name: str, count: int, seed: int) -> str:
    """Return the folder's name of one run."""
    return f"curve-{name}-{count}-seed{seed}"


def train(name: str, *, count: int, seed: int) -> None:
    """Train on `count` photos of each class."""
    data, options = SETS[name]
    manifest = SHARED / data
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    by_class: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        row["path"] = str(manifest.parent / row["path"])
        if row["split"] == "train":
            by_class.setdefault(row["label"], []).append(row)
    drawn = [row for photos in by_class.values() for row in random.Random(seed).sample(photos, min(count, len(photos)))]
    most = max(len(photos) for photos in by_class.values())
    epochs = round(options["epochs"] * math.sqrt(max(1.0, most / count)))
    kept = RUNS / f"{curve_name(name, count, seed)}.csv"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=["path", "label", "split"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*drawn, *(row for row in rows if row["split"] == "test")])
    settings = {**COMMON, **options, "baseline": "same_view", "epochs": epochs, "seed": seed}
    train_once(curve_name(name, count, seed), str(kept), settings)


def note(curves: Curves, name: str, *, photos: str, seed: int, run: Run) -> None:
    """Keep the accuracies of a finished run."""
    summary: dict[str, Any] = run.summary()
    if "verdict" in summary:
        found = {network: summary[key] for network, key in NETWORKS.items()}
        curves.setdefault(name, {}).setdefault(photos, {})[str(seed)] = found


def write(curves: Curves) -> None:
    """Write the figures as JSON, as a table and as a picture."""
    head = {"command": "python benchmarks/learning_curve.py", "common": {**COMMON, "weights": WEIGHTS.name}}
    FIGURES.write_text(json.dumps({**head, "sets": curves}, indent=1) + "\n", encoding="utf-8")
    table = [["photos of each class", *(f"{name}, {network}" for name in curves for network in NETWORKS)]]
    for photos in (*map(str, COUNTS), "all"):
        cells = [
            spread(each[network] for each in curves[name][photos].values()) if photos in curves[name] else "-"
            for name in curves
            for network in NETWORKS
        ]
        table.append([photos, *cells])
    write_table("learning curve", table)
    draw_panels(PICTURE, curves, lambda panel, name: draw(panel, curves[name]), xlabel="training photos of each class")


def draw(panel: Axes, points: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draw a set's curves: the mean over seeds, with bars from the lowest to the highest."""
    labels = [photos for photos in (*map(str, COUNTS), "all") if photos in points]
    for network, marker in zip(NETWORKS, "so", strict=True):
        values = [[each[network] for each in points[photos].values()] for photos in labels]
        means = [statistics.mean(each) for each in values]
        below = [mean - min(each) for mean, each in zip(means, values, strict=True)]
        above = [max(each) - mean for mean, each in zip(means, values, strict=True)]
        panel.errorbar(labels, means, yerr=[below, above], marker=marker, capsize=3, label=network)


if __name__ == "__main__":
    main()
