"""When to say "I don't know": accuracy against coverage, and a threshold that keeps the error within a target."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from scipy.stats import binom
from torch import Tensor
from torch.nn import functional

CONFIDENCE = 0.95  # that the true error of the accepted photos is within the target


class Coverage(NamedTuple):
    """What is right among the surest photos, for each number of them that a threshold can part from the rest."""

    thresholds: Tensor  # (M,) falling; a photo is accepted where its probability reaches it
    num_accepted: Tensor  # (M,)
    num_wrong: Tensor  # (M,) of the accepted ones


def trace_coverage(confidences: Float[Tensor, " N"], is_right: Bool[Tensor, " N"]) -> Coverage:
    """Accepts more and more photos, the surest first; photos that are equally sure come together.

    Thresholds lie halfway between neighbours, the last is 0, so that rounding does not decide.
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
    """Some of the thresholds, evenly spread over the photos, the first and the last among them."""
    if len(coverage.thresholds) <= at_most:
        return coverage
    places = torch.linspace(0, len(coverage.thresholds) - 1, at_most).round().long()
    return Coverage(*(column[places] for column in coverage))


def choose_threshold(
    coverage: Coverage, *, target_error: float, confidence: float = CONFIDENCE
) -> tuple[float, int] | None:
    """The threshold that accepts most photos while the accepted ones' true error is within a target.

    What was counted on a few photos may be luck: 0 wrong of 20 does not prove an error of 5 %. So a threshold is taken
    only where as few mistakes would be improbable if the true error were above the target: where the one-sided upper
    bound of Clopper and Pearson is within it. For 5 % and a confidence of 95 % that takes 59 photos without a mistake.

    Source: Clopper and Pearson, "The Use of Confidence or Fiducial Limits", Biometrika 1934.

    Args:
        coverage: Of validation photos.
        target_error: Share of the accepted photos that may be wrong, above 0 and below 1.
        confidence: That it is kept.

    Returns:
        The threshold, and its place in `coverage`; None where no threshold keeps the target.
    """
    chances = binom.cdf(coverage.num_wrong.numpy(), coverage.num_accepted.numpy(), target_error)
    places = (chances <= 1 - confidence).nonzero()[0]
    if not len(places):
        return None
    return float(coverage.thresholds[int(places[-1])]), int(places[-1])


def lowest_target(coverage: Coverage, *, confidence: float = CONFIDENCE) -> float:
    """The lowest target error that some threshold keeps, to one in a thousand."""
    low, high = 0, 1000
    while high - low > 1:
        middle = (low + high) // 2
        is_kept = choose_threshold(coverage, target_error=middle / 1000, confidence=confidence) is not None
        low, high = (low, middle) if is_kept else (middle, high)
    return high / 1000
