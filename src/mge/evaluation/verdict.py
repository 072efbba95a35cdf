"""The verdict of a run in one line: the accuracy of the mixture compared with a plain network."""

from collections.abc import Mapping
from typing import Any

from mge.console.tables import what_answers
from mge.evaluation.significance import compare_hits
from mge.storage.run_folder import Run

# Networks that may have been trained beside it, by their folder, the strongest last.
PLAIN = {"plain": "plain network", "plain_equal_compute": "plain network of equal compute"}


def describe_verdict(run: Run, figures: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict for summary.json; empty for a single network without a baseline.

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
        parts.append(f"first expert only {fusion['first_expert_top1']:.1f} %")
    opponents = {"the first expert": right.get("first")}
    for name, title in PLAIN.items():
        if f"{name}_top1" in figures:
            parts.append(f"{title} {figures[f'{name}_top1']:.1f} %")
            opponents = {f"the {title}": Run(run.folder / name).right().get("model"), **opponents}
    opponent, theirs = next(((name, hits) for name, hits in opponents.items() if hits is not None), ("", None))
    if theirs is None or len(theirs) != len(right["model"]):
        return {}
    gain = 100 * (sum(right["model"]) - sum(theirs)) / len(theirs)
    p_value = describe_p(compare_hits(right["model"], theirs).p_value)
    test = f"{describe_gain(gain, opponent)} (McNemar {p_value})"
    return {"verdict": f"{', '.join(parts)}: {test}{_advise(fusion, gain=gain)}"}


def describe_gain(gain: float, opponent: str) -> str:
    """Describe a difference in accuracy: `5.6 points below the plain network`."""
    if abs(gain) < 0.05:
        return f"the same as {opponent}"
    return f"{abs(gain):.1f} points {'above' if gain > 0 else 'below'} {opponent}"


def describe_p(p: float) -> str:
    """Format a p-value for users."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _advise(fusion: Mapping[str, Any], *, gain: float) -> str:
    """Return advice for a mixture without benefit."""
    trained = fusion.get("trained_experts", 1)
    if fusion.get("experts", trained) == 1 and trained > 1:
        return (
            ". On the validation photos later experts bring no gain, so only the first one is used; more photos, or "
            "--zoom-resolution above 1 if photos are larger than the input, may change that"
        )
    if gain <= 0:
        return ". The mixture brings no gain here: use a plain network (--experts 1 --part-filters 0), or more photos"
    return ""
