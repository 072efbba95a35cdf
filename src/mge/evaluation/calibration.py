"""Whether probabilities mean what they say, and the one number that mends them."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_BINS = 15
LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are tried
PRECISION = 1e-6  # to which it is found, relative


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


def fit_temperature(logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"], *, smoothing: float = 0.0) -> float:
    """The number that logits are divided by to make it likeliest which answers are right and which are wrong.

    What people see, what rejection goes by, and what the cascade's thresholds are chosen by, is how likely the answer
    is right. The likelihood of the labels themselves asks as well how the rest is shared out among the other classes,
    and where one number cannot mend both, answers say less or more than they are worth. The likeliest class stays the
    same, so accuracy does too.

    Args:
        logits: Of photos that were not trained on. Those that are no numbers do not count; where none is left, it is 1.
        labels: Their classes.
        smoothing: How much each answer counts as the contrary too. Without it, photos that are all right ask for a
            temperature so low that answers are certain.

    Source: the scaling of Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2, fitted to the
    answer as Gupta and Ramdas, "Top-label calibration and multiclass-to-binary reductions", ICLR 2022, argue for.
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  (half a second, which loading a model need not wait)

    usable = logits.isfinite().all(1)
    if not usable.any():
        return 1.0
    logits, labels = logits[usable].double(), labels[usable]
    best, answers = logits.max(1)
    others = logits.scatter(1, answers.unsqueeze(1), -math.inf)
    wanted = (answers == labels).double() * (1 - 2 * smoothing) + smoothing

    def loss(log_temperature: float) -> float:
        factor = math.exp(-log_temperature)
        likely, unlikely = best * factor, (others * factor).logsumexp(1)
        return float((torch.logaddexp(likely, unlikely) - wanted * likely - (1 - wanted) * unlikely).mean())

    # It need not be convex; among 600 random problems none had a second minimum.
    bounds = (math.log(LOWEST), math.log(HIGHEST))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": PRECISION}).x)
