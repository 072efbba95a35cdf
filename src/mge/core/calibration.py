"""Whether probabilities mean what they say, and the one number that mends them."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

NUM_BINS = 15
LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are tried
NUM_HALVINGS = 32  # of the interval in which the temperature lies: to eight digits


class Reliability(NamedTuple):
    """Photos in bins of the probability that they were given; NaN means where a bin is empty."""

    counts: Tensor  # (bins,) photos
    confidence: Tensor  # (bins,) the mean probability that was said
    accuracy: Tensor  # (bins,) the share that was right


def reliability(
    confidences: Float[Tensor, " N"], is_right: Bool[Tensor, " N"], *, num_bins: int = NUM_BINS
) -> Reliability:
    """How often answers are right, in bins of how sure they were: [0, 1/15), [1/15, 2/15), … for 15 bins."""
    edges = torch.linspace(0, 1, num_bins + 1, dtype=confidences.dtype)
    bins = (torch.bucketize(confidences, edges, right=True) - 1).clamp(0, num_bins - 1)
    counts = torch.bincount(bins, minlength=num_bins)
    zeros = torch.zeros(num_bins, dtype=torch.double)
    return Reliability(
        counts,
        zeros.index_add(0, bins, confidences.double()) / counts,
        zeros.index_add(0, bins, is_right.double()) / counts,
    )


def calibration_error(bins: Reliability) -> float:
    """The expected calibration error: the mean gap between what was said and what was right, each photo alike.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    gaps = (bins.accuracy - bins.confidence).abs().nan_to_num()
    return float((gaps * bins.counts).sum() / bins.counts.sum())


def fit_temperature(
    logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"], *, weights: Float[Tensor, " N"] | None = None,
    smoothing: float = 0.0,
) -> float:  # fmt: skip
    """The number that logits are divided by to make the labels likeliest.

    In 1 / temperature the loss is convex, so its slope has one zero, which halving finds. The likeliest class stays the
    same, so accuracy does too.

    Args:
        logits: Of photos that were not trained on.
        labels: Their classes.
        weights: How much each photo counts. None: all alike.
        smoothing: How much of each label is shared out evenly among all classes. Without it, photos that are all right
            ask for the lowest temperature there is, and so for certainty.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    """
    logits = logits.double()
    weights = torch.ones(len(logits), dtype=torch.double) if weights is None else weights.double()
    true_logits = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    wanted = (1 - smoothing) * true_logits + smoothing * logits.mean(1)
    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(NUM_HALVINGS):
        middle = (low * high) ** 0.5
        expected = (functional.softmax(logits * middle, dim=1) * logits).sum(1)
        slope = float((weights * (expected - wanted)).sum())
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(1 / (low * high) ** 0.5)


def calibrated(logits: Float[Tensor, "*B C"], *, temperature: float) -> Float[Tensor, "*B C"]:
    """Probabilities out of logits, at a temperature."""
    return functional.softmax(logits.float() / temperature, dim=-1)


def class_weights(labels: Int[Tensor, " N"], wanted: Int[Tensor, " C"]) -> Float[Tensor, " N"]:
    """How much each photo has to count for the classes to weigh as `wanted` says, on average 1.

    Args:
        labels: The classes of the photos.
        wanted: Number of photos of each class where the mix of classes is as it should be.
    """
    counts = torch.bincount(labels, minlength=len(wanted))
    weights = (wanted.double() / counts.clamp_min(1))[labels]
    return weights / weights.mean()
