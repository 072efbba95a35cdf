"""Accuracy of each component of a model, for the report."""

from collections.abc import Mapping
from typing import Any

from mge.console.tables import is_mixture, what_answers
from mge.report.page import PartAccuracy


def list_parts(figures: Mapping[str, Any], summary: Mapping[str, Any]) -> list[PartAccuracy]:
    """Return one row per network. The plain networks were measured at the end of the run, on its test photos."""
    parts = []
    if summary.get("split") == figures["split"] and summary.get("num_photos") == figures["num_photos"]:
        plain = {
            "plain_top1": "plain network (same input)",
            "plain_equal_compute_top1": "plain network (equal compute)",
        }
        parts = [
            PartAccuracy(name, summary[key], "measured at the end of training")
            for key, name in plain.items()
            if key in summary
        ]
    for number, top1 in enumerate(figures["experts_top1"]):
        gate = f"mean gate weight {100 * figures['gate_mean'][number]:.0f} %, highest for "
        gate += f"{figures['gate_picks_percent'][number]:.0f} % of photos"
        parts.append(PartAccuracy(f"expert {number}", top1, gate if is_mixture(figures) else ""))
    low, high = figures["mixture_interval"]
    interval = f"95 % CI {low:.1f} to {high:.1f} %"
    parts.append(PartAccuracy(what_answers(figures), figures["mixture_top1"], interval, is_main=True))
    if is_mixture(figures):
        parts.append(PartAccuracy("uniform mean of the experts", figures["mean_top1"], "without the gate"))
        parts.append(PartAccuracy("oracle", figures["oracle_top1"], "best expert per photo"))
    return parts


def list_heads(figures: Mapping[str, Any]) -> list[PartAccuracy]:
    """Return one row per head of each expert."""
    heads = {"global head": figures["large_top1"], "part head": figures["part_top1"]}
    return [
        PartAccuracy(f"expert {number}, {name}", top1s[number])
        for number in range(len(figures["experts_top1"]))
        for name, top1s in heads.items()
    ]
