"""Early exit of a trained mixture: thresholds fitted on validation photos, and the savings."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mge.cascade.margin import exit_indices
from mge.cascade.thresholds import choose_thresholds, exit_risks, flip_risks
from mge.config import ModelConfig
from mge.errors import ConfigError
from mge.evaluation.run_model import EvalOutputs
from mge.evaluation.temperature import best_temperature
from mge.inference.probabilities import calibrated

MAX_ACCURACY_LOSS = 0.2  # points of accuracy that the cascade may lose, on average over photos like those of validation
CURVE = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)  # the same, for the points of the curve
NUM_PARTS = 5  # of the validation photos, each of which is once measured with thresholds that the others chose


def choose_cascade(
    answers: EvalOutputs, *, config: ModelConfig, max_accuracy_loss: float = MAX_ACCURACY_LOSS
) -> dict[str, Any]:
    """Choose early-exit thresholds, in the format stored with the model.

    Args:
        answers: Outputs of the mixture for validation photos.
        config: Its architecture.
        max_accuracy_loss: Points of accuracy that may be lost against the whole mixture, on average over such photos.
            Photos that only the cascade gets right do not compensate.

    Returns:
        The thresholds, the allowed loss, and the metrics on these photos; also cross-validated, on photos not used for
        fitting.

    Raises:
        ConfigError: the mixture has only one expert.
    """
    check_experts(config)
    thresholds = _choose(answers, _risks(answers), config=config, max_accuracy_loss=max_accuracy_loss)
    measured = {"num_photos": len(answers.labels), **measure_cascade(answers, thresholds, config=config)}
    chosen = {"leads": thresholds, "max_accuracy_loss": max_accuracy_loss, "validation": measured}
    if len(answers.labels) >= NUM_PARTS:
        chosen["cross_validated"] = _cross_validate(answers, config=config, max_accuracy_loss=max_accuracy_loss)
    return chosen


def measure_cascade(answers: EvalOutputs, thresholds: Sequence[float], *, config: ModelConfig) -> dict[str, Any]:
    """Measure the cascade on some photos, from the outputs of the whole mixture for them.

    Returns:
        Accuracy in percent, points lost against the whole mixture, the mean number of experts that run for a photo, and
        of networks that run for it (a gate's own backbone is one), the percentage of the later experts' work that is
        saved, and the percentage of photos that leave after each expert.
    """
    return _measure(answers, exit_indices(answers.prefix_margins[:, :-1], thresholds), config=config)


def trace_curve(val_answers: EvalOutputs, answers: EvalOutputs, *, config: ModelConfig) -> list[dict[str, Any]]:
    """Trace accuracy against the mean number of experts, with thresholds fitted on validation photos for rising losses.

    Args:
        val_answers: Outputs on which the thresholds are fitted.
        answers: Outputs on which they are measured.
        config: The mixture's architecture.
    """
    risks = _risks(val_answers)
    points = []
    for allowed in CURVE:
        thresholds = _choose(val_answers, risks, config=config, max_accuracy_loss=allowed)
        measured = measure_cascade(answers, thresholds, config=config)
        points.append({"max_accuracy_loss": allowed, "leads": thresholds, **measured})
    return points


def check_experts(config: ModelConfig) -> None:
    """Raise ConfigError if there is no expert to skip."""
    if config.experts < 2:
        raise ConfigError("the model has one expert, and early exit needs at least two; leave out --cascade")


def network_costs(config: ModelConfig) -> list[int]:
    """Return the number of networks run for a photo that leaves after each expert; a gate's own from the second on."""
    own_gate = int(config.gate == "own")
    return [1, *(number + own_gate for number in range(2, config.experts + 1))]


def _risks(answers: EvalOutputs) -> Tensor:
    """Return the risk of each photo at each exit, (B, E - 1), whatever total loss is allowed."""
    confidences = calibrated(answers.logits, temperature=best_temperature(answers)).amax(1)
    return exit_risks(answers.prefix_margins[:, :-1], flip_risks(answers.prefix_labels, confidences))


def _choose(answers: EvalOutputs, risks: Tensor, *, config: ModelConfig, max_accuracy_loss: float) -> list[float]:
    margins = answers.prefix_margins[:, :-1]
    max_lost = len(answers.labels) * max_accuracy_loss / 100
    return list(choose_thresholds(margins, risks, max_lost=max_lost, costs=network_costs(config)))


def _cross_validate(answers: EvalOutputs, *, config: ModelConfig, max_accuracy_loss: float) -> dict[str, Any]:
    """Measure the cascade on photos that were not used to choose the thresholds."""
    part_of = torch.arange(len(answers.labels)) % NUM_PARTS
    stops = torch.zeros_like(answers.labels)
    for number in range(NUM_PARTS):
        others = EvalOutputs(*(column[part_of != number] for column in answers))
        thresholds = _choose(others, _risks(others), config=config, max_accuracy_loss=max_accuracy_loss)
        here = part_of == number
        stops[here] = exit_indices(answers.prefix_margins[here, :-1], thresholds)
    return _measure(answers, stops, config=config)


def _measure(answers: EvalOutputs, stops: Tensor, *, config: ModelConfig) -> dict[str, Any]:
    """Measure the cascade when each photo leaves after the given expert."""
    num_experts = answers.prefix_labels.shape[1]
    is_right = answers.prefix_labels.gather(1, stops.unsqueeze(1)).squeeze(1) == answers.labels
    lost = (answers.prefix_labels[:, -1] == answers.labels).sum() - is_right.sum()
    mean_experts = (stops + 1).double().mean().item()
    leaving = torch.bincount(stops, minlength=num_experts).double() / len(stops)
    return {
        "top1": round(100 * is_right.double().mean().item(), 2),
        "lost_top1": round(100 * lost.item() / len(stops), 2),
        "mean_experts": round(mean_experts, 4),
        "mean_networks": round(torch.tensor(network_costs(config))[stops].double().mean().item(), 4),
        "saved_percent": round(100 * (num_experts - mean_experts) / (num_experts - 1), 2),
        "leaving_percent": [round(100 * share, 2) for share in leaving.tolist()],
    }
