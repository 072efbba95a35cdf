"""Comparing classifiers: hand-worked values, and what must hold for any photos."""

import math

import numpy as np
import pytest
import torch

from mge.evaluation.significance import bootstrap_means, mcnemar_exact, percentile_interval


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (0, 5, 2 / 32),  # five throws, all heads or all tails
        (1, 4, 2 * (1 + 5) / 32),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, expected: float) -> None:
    assert mcnemar_exact(only_first, only_second) == pytest.approx(expected)
    assert mcnemar_exact(only_second, only_first) == pytest.approx(expected)


@pytest.mark.parametrize(("only_first", "only_second"), [(3, 17), (246, 257), (88, 189), (600, 700)])
def test_mcnemar_counts_series_of_throws(only_first: int, only_second: int) -> None:
    total = only_first + only_second
    few = sum(math.comb(total, heads) for heads in range(min(only_first, only_second) + 1))
    assert mcnemar_exact(only_first, only_second) == pytest.approx(2 * few / 2**total, rel=1e-9)


def test_rows_are_drawn_together_so_that_a_difference_is_the_difference() -> None:
    first, second = (torch.rand(40) > 0.4).double(), (torch.rand(40) > 0.6).double()
    drawn = bootstrap_means(torch.stack([first, second, second - first]), num_resamples=600, seed=3)
    assert drawn.shape == (3, 600)
    torch.testing.assert_close(drawn[1] - drawn[0], drawn[2])


def test_means_are_those_of_the_photos_that_were_drawn_one_resample_after_the_other() -> None:
    hits = (torch.rand(5, 70) > 0.4).double()
    drawn = bootstrap_means(100 * hits, num_resamples=300, seed=7)
    generator = torch.Generator().manual_seed(7)
    expected = torch.stack([
        100 * hits[:, torch.randint(70, (70,), generator=generator)].mean(1) for _ in range(300)
    ], dim=1)  # fmt: skip
    torch.testing.assert_close(drawn, expected)


def test_means_of_resamples_spread_as_theory_says() -> None:
    hits = torch.cat((torch.ones(150), torch.zeros(50))).double()
    drawn = bootstrap_means(hits.unsqueeze(0), num_resamples=4000, seed=0)[0]
    assert float(drawn.mean()) == pytest.approx(0.75, abs=0.003)
    assert float(drawn.std()) == pytest.approx(math.sqrt(0.75 * 0.25 / 200), rel=0.05)


def test_what_does_not_vary_has_an_interval_without_width_and_the_seed_decides_the_rest() -> None:
    values = torch.stack([torch.full((30,), 2.5), torch.rand(30)]).double()
    drawn = bootstrap_means(values, num_resamples=300, seed=1)
    assert percentile_interval(drawn)[0].tolist() == [2.5, 2.5]
    assert torch.equal(drawn, bootstrap_means(values, num_resamples=300, seed=1))
    assert not torch.equal(drawn, bootstrap_means(values, num_resamples=300, seed=2))


def test_an_interval_is_numpys_percentiles() -> None:
    drawn = torch.rand(3, 500).double()
    expected = np.percentile(drawn.numpy(), [5, 95], axis=1).T
    np.testing.assert_allclose(percentile_interval(drawn, confidence=0.9), expected)
