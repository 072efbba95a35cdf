"""Metrics of an evaluation beyond the accuracy of each component."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mge.data.hierarchy import list_levels
from mge.evaluation.metrics import (
    balanced_interval,
    confusion_matrix,
    error_correlation,
    find_doubtful_labels,
    group_accuracy,
    macro_f1,
    pairwise_disagreement,
    top_k_accuracy,
    wilson_interval,
)
from mge.evaluation.run_model import EvalOutputs

TOP = 5  # classes of the top-5 accuracy, which is measured where there are more


def measure_intervals(answers: EvalOutputs) -> dict[str, list[float]]:
    """Compute the 95 % confidence intervals of the accuracies, in percent."""
    predicted = answers.logits.argmax(1)
    confusion = confusion_matrix(answers.labels, predicted, num_classes=answers.logits.shape[1])
    return {
        "mixture_interval": _percents(wilson_interval(int((predicted == answers.labels).sum()), len(predicted))),
        "balanced_interval": _percents(balanced_interval(confusion)),
    }


def measure_usual(answers: EvalOutputs) -> dict[str, float]:
    """Compute top-5 accuracy, macro-F1 and the accuracies of two classifiers that see no photo, in percent.

    `majority_top1` is that of always predicting the class with the most evaluated photos, `chance_top1` that of
    guessing among all classes of the model.
    """
    labels, num_classes = answers.labels, answers.logits.shape[1]
    confusion = confusion_matrix(labels, answers.logits.argmax(1), num_classes=num_classes)
    figures = {
        "macro_f1": macro_f1(confusion),
        "majority_top1": int(confusion.sum(1).max()) / len(labels),
        "chance_top1": 1 / num_classes,
    }
    if num_classes > TOP:
        figures = {"mixture_top5": top_k_accuracy(answers.logits, labels, k=TOP), **figures}
    return {name: round(100 * value, 2) for name, value in figures.items()}


def measure_experts(answers: EvalOutputs) -> dict[str, Any]:
    """Compute disagreement and error correlation of the experts, and how often the gate prefers each."""
    is_wrong = answers.joint_labels != answers.labels.unsqueeze(1)
    picked = torch.bincount(answers.gate_probs.argmax(1), minlength=answers.gate_probs.shape[1])
    return {
        "gate_picks_percent": [round(100 * count / len(is_wrong), 2) for count in picked.tolist()],
        "disagreement_percent": _matrix(100 * pairwise_disagreement(answers.joint_labels)),
        "error_correlation": _matrix(error_correlation(is_wrong)),
    }


def suspect_labels(answers: EvalOutputs, probs: Float[Tensor, "N C"]) -> Bool[Tensor, " N"]:
    """Find the photos whose label is probably wrong, and for which all experts predict the same other class.

    Args:
        answers: The model's outputs.
        probs: Its calibrated probabilities.
    """
    agree = (answers.joint_labels == answers.logits.argmax(1, keepdim=True)).all(1)
    return find_doubtful_labels(probs, answers.labels) & agree


def measure_hierarchy(
    answers: EvalOutputs, *, class_names: Sequence[str], parents: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Compute the accuracy at each level of the class hierarchy, the coarsest first; empty without a hierarchy.

    `right_above_percent` is the share of a level's mistakes that are right one level above: right family, wrong
    species.
    """
    levels = list_levels(class_names, parents)
    if len(levels) < 2:
        return []
    predicted = answers.logits.argmax(1)
    figures: list[dict[str, Any]] = []
    for level in levels:
        numbers = {name: number for number, name in enumerate(dict.fromkeys(level))}
        groups = torch.tensor([numbers[name] for name in level])
        accuracy = float(group_accuracy(answers.labels, predicted, groups))
        row: dict[str, Any] = {"num_classes": len(numbers), "top1": round(100 * accuracy, 2)}
        if figures:
            mistakes = 100 - row["top1"]
            right_above = figures[-1]["top1"] - row["top1"]
            row["right_above_percent"] = round(100 * right_above / mistakes, 1) if mistakes > 0 else None
        figures.append(row)
    return figures


def _percents(edges: Sequence[float]) -> list[float]:
    return [round(100 * edge, 2) for edge in edges]


def _matrix(values: Tensor) -> list[list[float | None]]:
    """Convert a matrix for JSON, which has no NaN."""
    return [[None if value != value else round(value, 4) for value in row] for row in values.tolist()]
