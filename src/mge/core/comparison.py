"""Whether one classifier is better than another, on the same photos."""

import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

CHUNK = 250  # resamples at a time: how often each has each photo is in memory


def bootstrap_means(values: Float[Tensor, "K N"], *, num_resamples: int, seed: int) -> Float[Tensor, "K R"]:
    """The means of each row over photos drawn with replacement, the same photos for all rows.

    So the rows may be accuracies and differences of accuracies, and their intervals belong together.

    Args:
        values: One row a figure, one column a photo.
        num_resamples: How often photos are drawn, each time as many as there are.
        seed: Decides which.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.
    """
    generator = torch.Generator().manual_seed(seed)
    num_photos = values.shape[1]
    parts = []
    for start in range(0, num_resamples, CHUNK):
        size = (min(CHUNK, num_resamples - start), num_photos)
        drawn = torch.randint(num_photos, size, generator=generator)
        times = values.new_zeros(size).scatter_add_(1, drawn, values.new_ones(()).expand(size))
        parts.append(values @ times.T / num_photos)
    return torch.cat(parts, dim=1)


def percentile_interval(resampled: Float[Tensor, "K R"], *, confidence: float = 0.95) -> Float[Tensor, "K 2"]:
    """The interval that holds the middle share of each row: where the figure lies, as far as these photos tell."""
    outside = (1 - confidence) / 2
    ends = torch.tensor([outside, 1 - outside], dtype=resampled.dtype)
    return torch.quantile(resampled, ends, dim=1).T


def mcnemar_exact(num_only_first: int, num_only_second: int) -> float:
    """How likely two equally good classifiers differ at least that much: the exact two-sided test.

    Photos on which both are right or both are wrong say nothing. Of the others each is as likely to be the one's as the
    other's, so their number is that of heads in so many throws of a coin.

    Args:
        num_only_first: Photos that only the first classifier gets right.
        num_only_second: Photos that only the second one gets right.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947.
    """
    total = num_only_first + num_only_second
    return float(binomtest(num_only_first, total).pvalue) if total else 1.0
