"""The temperature of a trained mixture: out of its answers about validation photos, and what it mends."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mge.core.calibration import Reliability, calibrated, calibration_error, class_weights, fit_temperature, reliability
from mge.training.measure import Answers


def choose_temperature(answers: Answers, *, train_counts: Tensor | None) -> dict[str, Any]:
    """Fits a temperature, as it is stored with the model.

    Validation photos that the data bring need not have training's mix of classes: grocery's have 59 of its 81 classes,
    all about equally often. So each photo counts as much as gives the classes the weight that they have in training.
    Where validation was held out of training the mix is the same, and each photo counts about alike.

    Args:
        answers: What the mixture said about validation photos.
        train_counts: Training photos of each class. None: nobody knows them, and each photo counts alike.

    Returns:
        The temperature, and what it is worth on these photos, which have chosen it.
    """
    weights = None
    if train_counts is not None and train_counts[answers.labels].any():
        weights = class_weights(answers.labels, train_counts)
    temperature = round(best_temperature(answers, weights=weights), 4)
    measured = {"num_photos": len(answers.labels), **measure_calibration(answers, temperature=temperature)}
    return {"temperature": temperature, "validation": measured}


def best_temperature(answers: Answers, *, weights: Tensor | None = None) -> float:
    """The temperature that fits these answers best, where each photo counts alike or as much as (N,) weights say.

    No number of photos proves certainty, so labels are smoothed by 1 / (photos + 2), next to nothing where there are
    many: Platt's remedy ("Probabilistic Outputs for Support Vector Machines", 1999).
    """
    smoothing = 1 / (len(answers.labels) + 2)
    return fit_temperature(answers.logits, answers.labels, weights=weights, smoothing=smoothing)


def measure_calibration(answers: Answers, *, temperature: float) -> dict[str, float]:
    """How far probabilities are from what they say (ECE, in percent) and the loss, before and after scaling."""
    figures = {}
    for name, divisor in (("before", 1.0), ("after", temperature)):
        figures[f"ece_{name}"] = round(100 * calibration_error(bins_of(answers, temperature=divisor)), 2)
        loss = functional.cross_entropy(answers.logits / divisor, answers.labels)
        figures[f"loss_{name}"] = round(loss.item(), 6)
    return figures


def describe_calibration(metadata: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """What is stored with the model about its temperature, and what it is worth on some photos."""
    stored = metadata.get("calibration", {"temperature": 1.0})
    return {**stored, **measure_calibration(answers, temperature=stored["temperature"])}


def bins_of(answers: Answers, *, temperature: float) -> Reliability:
    """How often the mixture is right, by how sure it says that it is."""
    confidences, predicted = calibrated(answers.logits, temperature=temperature).max(1)
    return reliability(confidences, predicted == answers.labels)


def count_classes(labels: list[str], class_names: tuple[str, ...]) -> Tensor:
    """How many photos each class has."""
    numbers = {name: number for number, name in enumerate(class_names)}
    return torch.bincount(torch.tensor([numbers[label] for label in labels]).long(), minlength=len(class_names))
