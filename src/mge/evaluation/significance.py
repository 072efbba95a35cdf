"""Paired comparison of two classifiers on the same photos: bootstrap intervals and McNemar's test."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

CHUNK = 250  # resamples at a time, to bound memory


class PairedTest(NamedTuple):
    """McNemar's exact test of two classifiers on the same photos."""

    num_only_first: int  # photos that only the first classifier gets right
    num_only_second: int
    p_value: float


def bootstrap_means(values: Float[Tensor, "K N"], *, num_resamples: int, seed: int) -> Float[Tensor, "K R"]:
    """Compute bootstrap means of each row over photos drawn with replacement, the same draws for all rows.

        mean[k, r] = 1/N * sum_n values[k, i_rn]    with i_rn uniform on 0 … N - 1

    The rows may be accuracies and differences of accuracies, whose intervals then belong together.

    Args:
        values: One row per metric, one column per photo.
        num_resamples: Number R of resamples, each of N photos.
        seed: Seed of the random generator.

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
    """Return the central percentile interval of each row.

    [quantile((1 - confidence) / 2), quantile((1 + confidence) / 2)]
    """
    outside = (1 - confidence) / 2
    ends = torch.tensor([outside, 1 - outside], dtype=resampled.dtype)
    return torch.quantile(resampled, ends, dim=1).T


def compare_hits(first: Sequence[bool], second: Sequence[bool]) -> PairedTest:
    """Test two classifiers by whether each of them is correct, photo by photo."""
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    return PairedTest(only_first, only_second, mcnemar_exact(only_first, only_second))


def mcnemar_exact(num_only_first: int, num_only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, for two classifiers on the same photos.

        p = min(1, 2 * sum_{i <= min(n_1, n_2)} binom(n_1 + n_2, i) / 2^(n_1 + n_2))

    Photos on which both are right or both are wrong carry no information. Under the null hypothesis each of the others
    is equally likely to favour either classifier.

    Args:
        num_only_first: Number n_1 of photos that only the first classifier gets right.
        num_only_second: Number n_2 of photos that only the second one gets right.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947.
    """
    total = num_only_first + num_only_second
    return float(binomtest(num_only_first, total).pvalue) if total else 1.0
