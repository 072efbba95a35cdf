"""Pretrained networks: the default recipe beside the plain network, `python benchmarks/pretrained.py [SET ...]`.

Each set is trained with `tf_efficientnet_lite0` from ImageNet weights at views of 128 px: the mixture by the default
preset, and beside it timm's whole network with the same recipe, at the same view and at a view of equal computing for
as many epochs, which is three times the training. `--longer` trains the mixture for three times as many epochs, which
costs as much. Training with nothing but data, backbone and the size of a view is what a user does. Nothing is chosen
on test photos. What is trained already is only read, and what was stopped is resumed, so the hours may be spread over
days. Writes benchmarks/results/pretrained.json and the table in docs/results.md.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trainings import RESULTS, RUNS, spread, train_once, write_table

from mge.evaluation.significance import compare_hits
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
LONGER = 3  # times the epochs, for a mixture that costs as much to train as the plain network of equal compute
NETWORKS = ("plain network, same view", "plain network, equal compute", "first expert alone", "mixture")
ROWS = (*NETWORKS, "cascade", "cascade_experts", "mixture, longer", "cascade, longer", "cascade_experts, longer")
LABELS = {
    "mixture, longer": f"mixture, {LONGER} times the epochs",
    "cascade, longer": f"cascade, {LONGER} times the epochs",
    "cascade_experts": "experts that the cascade runs per photo",
    "cascade_experts, longer": f"experts that the cascade runs per photo, {LONGER} times the epochs",
}


def main() -> None:
    """Train what is missing, set by set and seed by seed, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=[], help=f"which sets: {', '.join(SETS)} (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--longer", action="store_true", help=f"the mixture alone, for {LONGER} times as many epochs")
    parser.add_argument("--only-read", action="store_true", help="train nothing, write the table of what there is")
    given = parser.parse_args()
    for seed in given.seeds:
        for name in given.sets or SETS:
            if not given.only_read:
                train(name, seed, longer=given.longer)
            write(given.seeds)


def train(name: str, seed: int, *, longer: bool) -> None:
    """Train one run, unless it is finished."""
    data, options = SETS[name]
    given = {**COMMON, **options, "seed": seed}
    if longer:
        given |= {"epochs": LONGER * options["epochs"], "baseline": "none"}
    train_once(run_name(name, seed, longer=longer), str(SHARED / data), given)


def run_name(name: str, seed: int, *, longer: bool = False) -> str:
    """Return the folder's name of one run."""
    return f"pretrained-{name}{'-longer' * longer}-seed{seed}"


def equal_compute_run(name: str, seed: int) -> Run:
    """Return the plain network of equal compute, which benchmarks/cost_curve.py may have trained."""
    folder = RUNS / run_name(name, seed) / "plain_equal_compute"
    return Run(folder if folder.exists() else RUNS / f"cost-{name}-plain-224-seed{seed}")


def write(seeds: list[int]) -> None:
    """Write the figures of all finished runs, and those that another machine measured, as JSON and as a table."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))["sets"] if FIGURES.exists() else {}
    for name in SETS:
        for seed in seeds:
            run = Run(RUNS / run_name(name, seed))
            if "verdict" in run.summary():
                figures.setdefault(name, {})[str(seed)] = measure(name, seed)
    head = {"command": "python benchmarks/pretrained.py", "common": {**COMMON, "weights": WEIGHTS.name}}
    FIGURES.write_text(json.dumps({**head, "sets": figures}, indent=1) + "\n", encoding="utf-8")
    write_table("pretrained", rows(figures))


def measure(name: str, seed: int) -> dict[str, Any]:
    """Return accuracies of one run in percent, with the paired test's verdict."""
    run, longer = Run(RUNS / run_name(name, seed)), Run(RUNS / run_name(name, seed, longer=True))
    summary, equal = run.summary(), equal_compute_run(name, seed)
    plain = {"plain network, same view": summary.get("plain_top1")}
    plain["plain network, equal compute"] = equal.summary().get("mixture_top1")
    figures = {
        **{network: top1 for network, top1 in plain.items() if top1 is not None},
        "first expert alone": summary["fusion"]["first_expert_top1"],
        **chosen(summary),
        **{f"{key}, longer": figure for key, figure in chosen(longer.summary()).items()},
        "experts": summary["experts_top1"],
        "oracle": summary["oracle_top1"],
        "interval": interval(torch.tensor(run.right()["model"])),
        "fusion": summary["fusion"],
        "verdict": summary["verdict"],
    }
    if equal.summary():
        against = {"mixture": run, **({"mixture, longer": longer} if longer.summary() else {})}
        figures["p against equal compute"] = {key: paired_test(each, equal) for key, each in against.items()}
    return figures


def chosen(summary: dict[str, Any]) -> dict[str, float]:
    """Return the accuracies of a mixture as validation photos chose it, and of its cascade."""
    cascade = summary.get("cascade", {})
    figures = {"mixture": summary["mixture_top1"]} if summary else {}
    return figures | ({"cascade": cascade["top1"], "cascade_experts": cascade["mean_experts"]} if cascade else {})


def paired_test(run: Run, other: Run) -> float:
    """Return the p-value of McNemar's test between two networks on the same photos."""
    return round(compare_hits(run.right()["model"], other.right()["model"]).p_value, 4)


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
    for network in ROWS:
        by_set = [[each[network] for each in figures[name].values() if network in each] for name in names]
        table.append([LABELS.get(network, network), *(spread(values) if values else "-" for values in by_set)])
    for opponent in NETWORKS[:2]:
        gains = [
            [each["mixture"] - each[opponent] for each in figures[name].values() if opponent in each] for name in names
        ]
        cells = (f"{statistics.mean(each):+.1f}" if each else "-" for each in gains)
        table.append([f"mixture minus {opponent}", *cells])
    return table


if __name__ == "__main__":
    main()
