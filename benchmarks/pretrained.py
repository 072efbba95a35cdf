"""Pretrained networks: the default recipe beside the plain network, `python benchmarks/pretrained.py [SET ...]`.

Each set is trained with `tf_efficientnet_lite0` from ImageNet weights at views of 128 px: the mixture by the default
preset, and beside it timm's whole network with the same recipe, at the same view and at a view of equal computing for
as many epochs, which is three times the training. Training with nothing but data, backbone and the size of a view is
what a user does. Nothing is chosen on test photos. What is trained already is only read, and what was stopped is
resumed, so the hours may be spread over days. Writes benchmarks/results/pretrained.json and the table in
docs/results.md.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trainings import RESULTS, RUNS, spread, train_once, write_table

from mge.storage.run_folder import Run

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
WEIGHTS = SHARED / "weights" / "tf_efficientnet_lite0.safetensors"
FIGURES = RESULTS / "pretrained.json"
COMMON = {"backbone": "tf_efficientnet_lite0", "weights": str(WEIGHTS), "size": 128, "baseline": "both"}
# Photos are kept about as large as they are; epochs are such that each set takes about as long.
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "logos": ("logos/manifest.csv", {"zoom_resolution": 2.7, "epochs": 20}),
    "grocery": ("grocery", {"zoom_resolution": 2.7, "epochs": 6}),
    "birds": ("birds/manifest.csv", {"zoom_resolution": 1.77, "crop_fraction": 1.0, "epochs": 6}),
}
NETWORKS = {
    "plain network, same view": "plain",
    "plain network, equal compute": "plain_equal_compute",
    "first expert alone": "",
    "mixture": "",
}


def main() -> None:
    """Train what is missing, set by set and seed by seed, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[], help=f"which sets: {', '.join(SETS)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only-read", action="store_true", help="train nothing, write the table of what there is")
    given = parser.parse_args()
    for seed in given.seeds:
        for name in given.sets or SETS:
            if not given.only_read:
                data, options = SETS[name]
                train_once(run_name(name, seed), str(SHARED / data), {**COMMON, **options, "seed": seed})
            write(given.seeds)


def run_name(name: str, seed: int) -> str:
    """Return the folder's name of one run."""
    return f"pretrained-{name}-seed{seed}"


def write(seeds: list[int]) -> None:
    """Write the figures of all finished runs, and those that another machine measured, as JSON and as a table."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))["sets"] if FIGURES.exists() else {}
    for name in SETS:
        for seed in seeds:
            run = Run(RUNS / run_name(name, seed))
            if "verdict" in run.summary():
                figures.setdefault(name, {})[str(seed)] = measure(run)
    head = {"command": "python benchmarks/pretrained.py", "common": {**COMMON, "weights": WEIGHTS.name}}
    FIGURES.write_text(json.dumps({**head, "sets": figures}, indent=1) + "\n", encoding="utf-8")
    write_table("pretrained", rows(figures))


def measure(run: Run) -> dict[str, Any]:
    """Return accuracies of one run in percent, with the paired test's verdict."""
    summary = run.summary()
    cascade = summary.get("cascade", {})
    plain = {network: summary.get(f"{key}_top1") for network, key in NETWORKS.items() if key}
    return {
        **{network: top1 for network, top1 in plain.items() if top1 is not None},
        "first expert alone": summary["fusion"]["first_expert_top1"],
        "mixture": summary["mixture_top1"],
        **({"cascade": cascade["top1"], "cascade_experts": cascade["mean_experts"]} if cascade else {}),
        "experts": summary["experts_top1"],
        "oracle": summary["oracle_top1"],
        "interval": interval(torch.tensor(run.right()["model"])),
        "fusion": summary["fusion"],
        "verdict": summary["verdict"],
    }


def interval(hits: Tensor, *, rounds: int = 2000) -> list[float]:
    """Return the bootstrap interval of an accuracy in percent."""
    drawn = torch.randint(len(hits), (rounds, len(hits)), generator=torch.Generator().manual_seed(0))
    ends = (100 * hits.float()[drawn].mean(1)).quantile(torch.tensor([0.025, 0.975]))
    return [round(end, 1) for end in ends.tolist()]


def rows(figures: dict[str, Any]) -> list[list[str]]:
    """Return the table: a row a network, a column a set."""
    names = [name for name in SETS if name in figures]
    head = ["test accuracy in %", *(f"{name} (seeds {', '.join(sorted(figures[name]))})" for name in names)]
    table = [head]
    for network in (*NETWORKS, "cascade", "cascade_experts"):
        by_set = [[each[network] for each in figures[name].values() if network in each] for name in names]
        label = "experts that the cascade runs per photo" if network == "cascade_experts" else network
        table.append([label, *(spread(values) if values else "-" for values in by_set)])
    for opponent in list(NETWORKS)[:2]:
        gains = [
            [each["mixture"] - each[opponent] for each in figures[name].values() if opponent in each] for name in names
        ]
        cells = (f"{statistics.mean(each):+.1f}" if each else "-" for each in gains)
        table.append([f"mixture minus {opponent}", *cells])
    return table


if __name__ == "__main__":
    main()
