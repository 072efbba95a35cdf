"""When a trained mixture says "unknown": a threshold out of validation photos, and what it is worth."""

from typing import Any

from torch import Tensor

from mge.errors import ConfigError
from mge.evaluation.coverage import CONFIDENCE, Coverage, choose_threshold, lowest_target, thin_out, trace_coverage
from mge.evaluation.metrics import auroc, wilson_interval
from mge.evaluation.run_model import EvalOutputs
from mge.inference.probabilities import calibrated

TARGET_ERROR = 0.05  # share of the accepted photos that may be wrong
MOST_THRESHOLDS = 1000  # that are tried, evenly spread where there are more photos


def choose_rejection(answers: EvalOutputs, *, temperature: float, target_error: float = TARGET_ERROR) -> dict[str, Any]:
    """Chooses the probability below which a photo is called unknown, as it is stored with the model.

    Args:
        answers: What the mixture said about validation photos.
        temperature: Of the mixture.
        target_error: Share of the accepted photos that may be wrong.

    Returns:
        The threshold, what was asked for, and what it is worth on these photos.

    Raises:
        ConfigError: no threshold keeps the target, as far as so many photos can tell.
    """
    coverage = thin_out(trace_answers(answers, temperature=temperature), at_most=MOST_THRESHOLDS)
    found = choose_threshold(coverage, target_error=target_error)
    if found is None:
        lowest = lowest_target(coverage)
        raise ConfigError(
            f"target_error is {target_error:g}, and {len(answers.labels)} validation photos show no threshold that "
            f"keeps it with {100 * CONFIDENCE:.0f} % confidence; accepted for this model: {lowest:g} or more, or take "
            "more validation photos"
        )
    measured = measure_rejection(answers, threshold=found[0], temperature=temperature)
    return {
        "threshold": found[0], "target_error": target_error, "confidence": CONFIDENCE,
        "validation": {"num_photos": len(answers.labels), **measured},
    }  # fmt: skip


def measure_rejection(answers: EvalOutputs, *, threshold: float, temperature: float) -> dict[str, Any]:
    """How many photos are accepted, and how many of these are wrong, in percent with the interval of 95 %."""
    confidences, predicted = calibrated(answers.logits, temperature=temperature).max(1)
    is_accepted = confidences >= threshold
    accepted, wrong = int(is_accepted.sum()), int((is_accepted & (predicted != answers.labels)).sum())
    return {
        "num_accepted": accepted,
        "accepted_percent": round(100 * accepted / len(answers.labels), 2),
        "error_percent": round(100 * wrong / accepted, 2) if accepted else None,
        "error_interval": [round(100 * edge, 2) for edge in wilson_interval(wrong, accepted)],
    }


def measure_unknown(
    known_confidences: Tensor, unknown_confidences: Tensor, *, threshold: float | None
) -> dict[str, Any]:
    """How well probabilities part photos of the classes from photos of other things."""
    figures: dict[str, Any] = {
        "num_photos": len(unknown_confidences),
        "auroc": round(auroc(known_confidences, unknown_confidences), 4),
    }
    if threshold is not None:
        figures["rejected_percent"] = round(100 * float((unknown_confidences < threshold).double().mean()), 2)
    return figures


def trace_answers(answers: EvalOutputs, *, temperature: float) -> Coverage:
    """Accuracy against coverage of the mixture's answers."""
    confidences, predicted = calibrated(answers.logits, temperature=temperature).max(1)
    return trace_coverage(confidences, predicted == answers.labels)
