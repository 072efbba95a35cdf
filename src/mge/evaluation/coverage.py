"""Rejection ("I don't know"): accuracy against coverage, and a threshold that keeps the error within a target."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.stats import binom
from torch import Tensor
from torch.nn import functional

CONFIDENCE = 0.95  # that the true error of the accepted photos is within the target


class Coverage(NamedTuple):
    """Number of accepted and of wrong photos at each threshold that separates photos by their confidence."""

    thresholds: Tensor  # (M,) falling; a photo is accepted where its probability reaches it
    num_accepted: Tensor  # (M,)
    num_wrong: Tensor  # (M,) of the accepted ones


def trace_coverage(confidences: Float[Tensor, " N"], is_right: Bool[Tensor, " N"]) -> Coverage:
    """Trace the numbers of accepted and of wrong photos as the confidence threshold falls.

        num_accepted(t) = |{n : confidence_n >= t}|,    num_wrong(t) = |{n : confidence_n >= t and n is wrong}|

    Photos of equal confidence are accepted together. Thresholds lie halfway between neighbours, the last is 0, so that
    rounding does not decide.
    """
    order = confidences.argsort(descending=True)
    falling, wrong = confidences[order], (~is_right[order]).cumsum(0)
    below = functional.pad(falling[1:], (0, 1))
    is_cut = falling > below
    is_cut[-1:] = True
    middle = (falling + below) / 2
    middle[-1:] = 0
    places = is_cut.nonzero().squeeze(1)
    return Coverage(middle[places], places + 1, wrong[places])


def thin_out(coverage: Coverage, *, at_most: int) -> Coverage:
    """Keep at most so many thresholds, evenly spread over the photos, including the first and the last."""
    if len(coverage.thresholds) <= at_most:
        return coverage
    places = torch.linspace(0, len(coverage.thresholds) - 1, at_most).round().long()
    return Coverage(*(column[places] for column in coverage))


def choose_threshold(
    coverage: Coverage, *, target_error: float, confidence: float = CONFIDENCE
) -> tuple[float, int] | None:
    """Choose the threshold that accepts most photos while the error of the accepted ones is within a target.

        max_t num_accepted(t)    subject to P(X <= num_wrong(t)) <= 1 - confidence
        with X ~ Binomial(num_accepted(t), target_error)

    Counts on few photos are noisy: 0 wrong of 20 does not prove an error of 5 %. So a threshold is accepted only if its
    one-sided upper bound of Clopper and Pearson is within the target. For 5 % and a confidence of 95 % that needs 59
    photos without a mistake.

    Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 1934.

    Args:
        coverage: Coverage on validation photos.
        target_error: Highest error rate of the accepted photos, above 0 and below 1.
        confidence: Confidence of the bound.

    Returns:
        The threshold, and its index in `coverage`; None if no threshold meets the target.
    """
    chances = np.asarray(binom.cdf(coverage.num_wrong.numpy(), coverage.num_accepted.numpy(), target_error))
    places = np.flatnonzero(chances <= 1 - confidence)
    if not len(places):
        return None
    return float(coverage.thresholds[int(places[-1])]), int(places[-1])


def lowest_target(coverage: Coverage, *, confidence: float = CONFIDENCE) -> float:
    """Return the lowest target error that some threshold meets, to one in a thousand."""
    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        is_kept = choose_threshold(coverage, target_error=middle / 1000, confidence=confidence) is not None
        low, high = (low, middle) if is_kept else (middle, high)
    return high / 1000
