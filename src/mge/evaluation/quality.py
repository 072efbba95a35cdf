"""The figures of an evaluation beyond the accuracy of each part."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mge.data.hierarchy import list_levels
from mge.evaluation.metrics import (
    balanced_interval,
    confusion_matrix,
    error_correlation,
    group_accuracy,
    pairwise_disagreement,
    wilson_interval,
)
from mge.evaluation.run_model import EvalOutputs


def measure_intervals(answers: EvalOutputs) -> dict[str, list[float]]:
    """Where the true accuracies lie with 95 % confidence, in percent."""
    predicted = answers.logits.argmax(1)
    confusion = confusion_matrix(answers.labels, predicted, num_classes=answers.logits.shape[1])
    return {
        "mixture_interval": _percents(wilson_interval(int((predicted == answers.labels).sum()), len(predicted))),
        "balanced_interval": _percents(balanced_interval(confusion)),
    }


def measure_experts(answers: EvalOutputs) -> dict[str, Any]:
    """How differently the experts answer and err, and how often the gate counts on each."""
    is_wrong = answers.joint_labels != answers.labels.unsqueeze(1)
    picked = torch.bincount(answers.gate_probs.argmax(1), minlength=answers.gate_probs.shape[1])
    return {
        "gate_picks_percent": [round(100 * count / len(is_wrong), 2) for count in picked.tolist()],
        "disagreement_percent": _matrix(100 * pairwise_disagreement(answers.joint_labels)),
        "error_correlation": _matrix(error_correlation(is_wrong)),
    }


def measure_hierarchy(
    answers: EvalOutputs, *, class_names: Sequence[str], parents: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Accuracy at each level of coarser classes, the coarsest first; empty where there are none.

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
    """A matrix for JSON, which knows no NaN."""
    return [[None if value != value else round(value, 4) for value in row] for row in values.tolist()]
