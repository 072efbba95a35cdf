"""Calibration of a trained mixture: its temperature, fitted on validation photos, and the effect of it."""

from collections.abc import Mapping
from typing import Any

from torch.nn import functional

from mge.evaluation.calibration import Reliability, calibration_error, fit_temperature, reliability
from mge.evaluation.run_model import EvalOutputs
from mge.inference.probabilities import calibrated


def choose_temperature(answers: EvalOutputs) -> dict[str, Any]:
    """Fit a temperature, in the format stored with the model.

    Args:
        answers: Outputs of the mixture for validation photos.

    Returns:
        The temperature, and the calibration on these photos, to which it was fitted.
    """
    temperature = round(best_temperature(answers), 4)
    measured = {"num_photos": len(answers.labels), **measure_calibration(answers, temperature=temperature)}
    return {"temperature": temperature, "validation": measured}


def best_temperature(answers: EvalOutputs) -> float:
    """Return the temperature that fits these outputs best.

    No number of photos proves certainty, so the binary targets are smoothed by 1 / (photos + 2), negligible for many
    photos, as Platt proposes ("Probabilistic Outputs for Support Vector Machines", 1999).
    """
    return fit_temperature(answers.logits, answers.labels, smoothing=1 / (len(answers.labels) + 2))


def measure_calibration(answers: EvalOutputs, *, temperature: float) -> dict[str, float]:
    """Compute the expected calibration error (ECE, in percent) and the loss, before and after temperature scaling."""
    figures = {}
    for name, divisor in (("before", 1.0), ("after", temperature)):
        figures[f"ece_{name}"] = round(100 * calibration_error(bins_of(answers, temperature=divisor)), 2)
        loss = functional.cross_entropy(answers.logits / divisor, answers.labels)
        figures[f"loss_{name}"] = round(loss.item(), 6)
    return figures


def describe_calibration(metadata: Mapping[str, Any], answers: EvalOutputs) -> dict[str, Any]:
    """Return the temperature stored with the model, and the calibration on some photos."""
    stored = metadata.get("calibration", {"temperature": 1.0})
    return {**stored, **measure_calibration(answers, temperature=stored["temperature"])}


def bins_of(answers: EvalOutputs, *, temperature: float) -> Reliability:
    """Compute accuracy by bins of the mixture's confidence."""
    confidences, predicted = calibrated(answers.logits, temperature=temperature).max(1)
    return reliability(confidences, predicted == answers.labels)
