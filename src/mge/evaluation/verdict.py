"""The verdict of a run in one line: the accuracy of the mixture compared with a plain network."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mge.console.tables import what_answers
from mge.evaluation.alarms import worse_alarm
from mge.evaluation.significance import compare_hits
from mge.storage.run_folder import Run

SIGNIFICANT = 0.05  # a p-value below it is
# Networks that may have been trained beside it, by their folder, the strongest last.
PLAIN = {"plain": "plain network", "plain_equal_compute": "plain network of equal compute"}


class AgainstStrongest(NamedTuple):
    """A run's model compared with the strongest network beside it."""

    opponent: str
    gain: float  # points
    p_value: float  # of McNemar's exact test


def describe_verdict(run: Run, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict and the alarm about it, if any, for summary.json; empty for a network without a baseline.

    Args:
        run: The run, whose photo-by-photo results are on disk.
        figures: Its accuracies in percent, and the alarms of its networks.
    """
    alarms = list(figures.get("alarms", []))
    compared = compare_with_strongest(run, figures)
    if compared is None:
        return {"alarms": alarms}
    parts = [f"{what_answers(figures)} {figures['mixture_top1']:.1f} %"]
    fusion = figures.get("fusion", {})
    if "first_expert_top1" in fusion:
        parts.append(f"first expert only {fusion['first_expert_top1']:.1f} %")
    parts += [f"{title} {figures[f'{name}_top1']:.1f} %" for name, title in PLAIN.items() if f"{name}_top1" in figures]
    opponent, gain, p_value = compared
    alarm = worse_alarm(
        gain=gain, is_significant=p_value < SIGNIFICANT, opponent=opponent, figures=figures, data=run.data()
    )
    advice = "" if alarm else _advise(fusion, gain=gain)
    verdict = f"{', '.join(parts)}: {describe_gain(gain, opponent)} (McNemar {describe_p(p_value)}){advice}"
    return {"verdict": verdict, "alarms": list(dict.fromkeys([*alarms, alarm])) if alarm else alarms}


def compare_with_strongest(run: Run, figures: Mapping[str, Any]) -> AgainstStrongest | None:
    """Compare a run's model with its strongest plain network, or else with its first expert; None without either."""
    right = run.right()
    if "model" not in right or "student_top1" in figures:
        return None
    opponents = {"the first expert": right.get("first")}
    for name, title in PLAIN.items():
        if f"{name}_top1" in figures:
            opponents = {f"the {title}": Run(run.folder / name).right().get("model"), **opponents}
    opponent, theirs = next(((name, hits) for name, hits in opponents.items() if hits is not None), ("", None))
    if theirs is None or len(theirs) != len(right["model"]):
        return None
    gain = 100 * (sum(right["model"]) - sum(theirs)) / len(theirs)
    return AgainstStrongest(opponent, gain, compare_hits(right["model"], theirs).p_value)


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
