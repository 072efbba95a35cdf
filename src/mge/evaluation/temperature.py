"""The temperature of a trained mixture: out of its answers about validation photos, and what it mends."""

from collections.abc import Mapping
from typing import Any

from torch.nn import functional

from mge.evaluation.calibration import Reliability, calibration_error, fit_temperature, reliability
from mge.evaluation.run_model import EvalOutputs
from mge.inference.probabilities import calibrated


def choose_temperature(answers: EvalOutputs) -> dict[str, Any]:
    """Fits a temperature, as it is stored with the model.

    Args:
        answers: What the mixture said about validation photos.

    Returns:
        The temperature, and what it is worth on these photos, which have chosen it.
    """
    temperature = round(best_temperature(answers), 4)
    measured = {"num_photos": len(answers.labels), **measure_calibration(answers, temperature=temperature)}
    return {"temperature": temperature, "validation": measured}


def best_temperature(answers: EvalOutputs) -> float:
    """The temperature that fits these answers best.

    No number of photos proves certainty, so what is right or wrong is smoothed by 1 / (photos + 2), next to nothing
    where there are many: Platt's remedy ("Probabilistic Outputs for Support Vector Machines", 1999).
    """
    return fit_temperature(answers.logits, answers.labels, smoothing=1 / (len(answers.labels) + 2))


def measure_calibration(answers: EvalOutputs, *, temperature: float) -> dict[str, float]:
    """How far probabilities are from what they say (ECE, in percent) and the loss, before and after scaling."""
    figures = {}
    for name, divisor in (("before", 1.0), ("after", temperature)):
        figures[f"ece_{name}"] = round(100 * calibration_error(bins_of(answers, temperature=divisor)), 2)
        loss = functional.cross_entropy(answers.logits / divisor, answers.labels)
        figures[f"loss_{name}"] = round(loss.item(), 6)
    return figures


def describe_calibration(metadata: Mapping[str, Any], answers: EvalOutputs) -> dict[str, Any]:
    """What is stored with the model about its temperature, and what it is worth on some photos."""
    stored = metadata.get("calibration", {"temperature": 1.0})
    return {**stored, **measure_calibration(answers, temperature=stored["temperature"])}


def bins_of(answers: EvalOutputs, *, temperature: float) -> Reliability:
    """How often the mixture is right, by how sure it says that it is."""
    confidences, predicted = calibrated(answers.logits, temperature=temperature).max(1)
    return reliability(confidences, predicted == answers.labels)
