"""Calibration of probabilities: reliability bins, expected calibration error, temperature scaling."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUM_BINS = 15
LOWEST, HIGHEST = 0.01, 100.0  # temperatures that are tried
PRECISION = 1e-6  # to which it is found, relative


class Reliability(NamedTuple):
    """Photos binned by confidence; confidence and accuracy of an empty bin are NaN."""

    counts: Tensor  # (bins,) photos
    confidence: Tensor  # (bins,) mean predicted probability
    accuracy: Tensor  # (bins,) fraction of correct predictions


def reliability(
    confidences: Float[Tensor, " N"], is_right: Bool[Tensor, " N"], *, num_bins: int = NUM_BINS
) -> Reliability:
    """Compute mean confidence and accuracy in equal-width bins of confidence: [0, 1/15), [1/15, 2/15), … for 15 bins.

    confidence_b = 1/|b| * sum_{n in b} confidence_n,    accuracy_b = 1/|b| * sum_{n in b} 1[n is right]
    """
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
    """Compute the expected calibration error: the gap between confidence and accuracy, averaged over the photos.

        ECE = sum_b |b| / N * |accuracy_b - confidence_b|

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    gaps = (bins.accuracy - bins.confidence).abs().nan_to_num()
    return float((gaps * bins.counts).sum() / bins.counts.sum())


def fit_temperature(logits: Float[Tensor, "N C"], labels: Int[Tensor, " N"], *, smoothing: float = 0.0) -> float:
    """Fit the softmax temperature by maximum likelihood of whether the predicted class is right.

        T = argmin_T mean_n BCE(max_c softmax(logits_n / T)_c, 1[argmax_c logits_n = label_n])

    Users, rejection and the cascade's thresholds use the probability that the prediction is right (top-label
    calibration). The likelihood of the labels themselves also depends on the distribution over the other classes, and
    where one temperature cannot fit both, the confidence would be too high or too low. The predicted class does not
    change, so accuracy does not either.

    Args:
        logits: Logits of photos that were not trained on. Rows with NaN or infinity are ignored; without any other row
            the temperature is 1.
        labels: True classes of these photos.
        smoothing: Label smoothing of the binary target. Without it, photos that are all predicted correctly would drive
            the temperature towards 0.

    Source: temperature scaling of Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2,
        fitted to the top label as Gupta and Ramdas, "Top-label calibration and multiclass-to-binary reductions", ICLR
        2022, propose.
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
