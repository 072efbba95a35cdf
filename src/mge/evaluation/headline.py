"""The result of an evaluation in one sentence, and advice on what to do next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Int
from torch import Tensor

from mge.console.tables import is_mixture, what_answers
from mge.evaluation.metrics import confusion_matrix
from mge.evaluation.quality import suspect_labels
from mge.evaluation.recorded_photos import describe_photos
from mge.evaluation.run_model import EvalOutputs
from mge.evaluation.select import Selected
from mge.evaluation.significance import compare_hits
from mge.evaluation.verdict import PLAIN, SIGNIFICANT, describe_p
from mge.inference.probabilities import calibrated
from mge.storage.run_folder import Run, is_run

NUM_WEAKEST = 3  # classes with the lowest recall that are named


class Reference(NamedTuple):
    """A network that an evaluated model is compared with: for each of N photos, whether its prediction is correct."""

    name: str
    hits: list[bool]


def describe_result(
    answers: EvalOutputs, figures: Mapping[str, Any], *, class_names: Sequence[str], plain: Reference | None
) -> dict[str, Any]:
    """Return the sentence that sums up an evaluation, the advice, and the figures behind them.

    Args:
        answers: The model's outputs.
        figures: Its metrics in percent.
        class_names: The classes.
        plain: A plain network for the same photos; None: a mixture is compared with its first expert.
    """
    predicted = answers.logits.argmax(1)
    probs = calibrated(answers.logits, temperature=figures["calibration"]["temperature"])
    confusion = confusion_matrix(answers.labels, predicted, num_classes=len(class_names))
    reference = plain
    if reference is None and is_mixture(figures):
        first = answers.large_labels[:, 0] == answers.labels
        reference = Reference("the first expert alone", first.tolist())
    found: dict[str, Any] = {
        "lowest_recall": lowest_recall(confusion, class_names),
        "num_doubtful_labels": int(suspect_labels(answers, probs).sum()),
    }
    if reference is not None:
        found["reference"] = compare_with(reference, (predicted == answers.labels).tolist())
    everything = {**figures, **found}
    return {"headline": write_headline(everything), "advice": write_advice(everything), **found}


def find_plain(path: Path, selected: Selected) -> Reference | None:
    """Return the results of the strongest plain network of a run; None if it has none for exactly these photos."""
    if not (is_run(path) and selected.is_own):
        return None
    run = Run(path)
    known = (run.origin() or {}).get("sha256_of_names")
    if run.summary().get("split") != selected.split or known != describe_photos(selected.photos)["sha256_of_names"]:
        return None
    for folder, title in reversed(PLAIN.items()):
        hits = Run(run.folder / folder).right().get("model", [])
        if len(hits) == len(selected.readable):
            return Reference(f"the {title}", hits)
    return None


def compare_with(reference: Reference, hits: Sequence[bool]) -> dict[str, Any]:
    """Return accuracy of the reference, gain in points, and the p-value of McNemar's exact test."""
    test = compare_hits(hits, reference.hits)
    return {
        "name": reference.name,
        "top1": round(100 * sum(reference.hits) / len(hits), 2),
        "gain": round(100 * (test.num_only_first - test.num_only_second) / len(hits), 2),
        "p_value": float(f"{test.p_value:.3g}"),
    }


def lowest_recall(confusion: Int[Tensor, "C C"], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the classes with the lowest recall, the lowest first; none whose photos are all classified correctly."""
    counts = zip(class_names, confusion.diagonal().tolist(), confusion.sum(1).tolist(), strict=True)
    rows = [{"class": name, "num_correct": hits, "num_photos": total} for name, hits, total in counts if hits < total]
    # of classes with equal recall the one with the most photos is the most certain
    return sorted(rows, key=lambda row: (row["num_correct"] / row["num_photos"], -row["num_photos"]))[:NUM_WEAKEST]


def write_headline(figures: Mapping[str, Any]) -> str:
    """Write the accuracy with its interval, compared with a plain network, the first expert alone or chance."""
    low, high = figures["mixture_interval"]
    text = (
        f"The {what_answers(figures)} has a top-1 accuracy of {figures['mixture_top1']:.1f} % (95 % CI {low:.1f} to "
        f"{high:.1f} %) on {figures['measured']}"
    )
    reference = figures.get("reference")
    if reference is not None:
        gain, p = reference["gain"], reference["p_value"]
        amount = f"{abs(gain):.1f} points {'more' if gain > 0 else 'less'} than" if gain else "the same as"
        certainty = f"{'' if p < SIGNIFICANT else 'not '}significant, McNemar {describe_p(p)}"
        text += f", {amount} {reference['name']} ({reference['top1']:.1f} %; {certainty})"
    if reference is None or reference["name"].removeprefix("the ") not in PLAIN.values():
        majority, chance = figures["majority_top1"], figures["chance_top1"]
        text += f"; always predicting the most frequent class reaches {majority:.1f} %, guessing {chance:.1f} %"
    return f"{text}."


def write_advice(figures: Mapping[str, Any]) -> list[str]:
    """Write what to do next, one sentence each: about alarms, chance, the weakest classes and doubtful labels."""
    advice = [f"Alarm: {alarm}." for alarm in figures.get("alarms", [])]
    is_weak = figures["mixture_interval"][0] <= figures["majority_top1"]
    if is_weak and not advice:  # an alarm says it, with its cause
        advice.append(
            f"This is not clearly better than always predicting the most frequent class "
            f"({figures['majority_top1']:.1f} %): train longer, or check the labels with mge check."
        )
    if figures["lowest_recall"]:
        weakest = (f"{row['class']} ({row['num_correct']} of {row['num_photos']})" for row in figures["lowest_recall"])
        advice.append(f"Lowest recall: {', '.join(weakest)}. More training photos of these classes may help.")
    number = figures["num_doubtful_labels"]
    if number and not is_weak:  # of a weak model most are its own errors
        check = "looks doubtful: check it, it is" if number == 1 else "look doubtful: check them, they are"
        advice.append(f"{number} of {figures['num_photos']} labels {check} in the report.")
    return advice
