"""The verdict of a run in one line: whether the mixture is better than a plain network, and by how much."""

from collections.abc import Mapping, Sequence
from typing import Any

from mge.core.comparison import mcnemar_exact
from mge.report.tables import what_answers
from mge.storage.run_folder import Run

PLAIN = ("plain", "plain_equal_compute")  # networks that may have been trained beside it, the strongest last


def describe_verdict(run: Run, figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict as summary.json holds it; empty for a single network without a network beside it.

    Args:
        run: The run, whose photo-by-photo results are on disk.
        figures: Its accuracies in percent.
    """
    right = run.right()
    fusion = figures.get("fusion", {})
    if "model" not in right or "student_top1" in figures:
        return {}
    parts = [f"{what_answers(figures)} {figures['mixture_top1']:.1f} %"]
    if "first_expert_top1" in fusion:
        parts.append(f"first expert alone {fusion['first_expert_top1']:.1f}")
    opponents = {"the first expert alone": right.get("first")}
    for name in PLAIN:
        if f"{name}_top1" in figures:
            title = "plain network" if name == "plain" else "plain network of equal compute"
            parts.append(f"{title} {figures[f'{name}_top1']:.1f}")
            opponents = {f"the {title}": Run(run.folder / name).right().get("model"), **opponents}
    opponent, theirs = next(((name, hits) for name, hits in opponents.items() if hits is not None), ("", None))
    if theirs is None or len(theirs) != len(right["model"]):
        return {}
    gain = 100 * (sum(right["model"]) - sum(theirs)) / len(theirs)
    test = f"{gain:+.1f} over {opponent} ({_describe_p(right['model'], theirs)})"
    return {"verdict": f"{', '.join(parts)}: {test}{_advise(fusion, gain=gain)}"}


def _describe_p(ours: Sequence[bool], theirs: Sequence[bool]) -> str:
    only_ours = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    only_theirs = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    p = mcnemar_exact(only_ours, only_theirs)
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _advise(fusion: Mapping[str, Any], *, gain: float) -> str:
    """What to do where the mixture does not pay."""
    trained = fusion.get("trained_experts", 1)
    if fusion.get("experts", trained) == 1 and trained > 1:
        return (
            ". Validation photos see no use in later experts, so the first one answers alone; more photos, or --detail "
            "above 1 where photos are larger than a view, may change that"
        )
    if gain <= 0:
        return ". The mixture does not pay here: use the plain network (--experts 1 --part-filters 0), or more photos"
    return ""
