"""Accuracy against coverage, and the threshold that keeps a target, against Clopper and Pearson and by loops."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from mge.evaluation.coverage import (
    Coverage,
    choose_threshold,
    lowest_target,
    thin_out,
    trace_coverage,
)


def made_up(num_photos: int = 300, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Answers that are right about as often as they say, in steps of a hundredth."""
    torch.manual_seed(seed)
    confidences = (torch.rand(num_photos) ** 0.3 * 100).round() / 100
    return confidences, torch.rand(num_photos) < confidences


def test_coverage_by_hand_takes_equal_probabilities_together() -> None:
    confidences = torch.tensor([0.5, 1.0, 0.75, 0.75])
    found = trace_coverage(confidences, torch.tensor([True, True, False, True]))
    assert found.num_accepted.tolist() == [1, 3, 4]
    assert found.num_wrong.tolist() == [0, 1, 1]
    assert found.thresholds.tolist() == [0.875, 0.625, 0]


def test_each_threshold_accepts_the_photos_that_are_counted() -> None:
    confidences, is_right = made_up()
    for threshold, accepted, wrong in zip(*(c.tolist() for c in trace_coverage(confidences, is_right)), strict=True):
        chosen = [index for index, value in enumerate(confidences.tolist()) if value >= threshold]
        assert len(chosen) == accepted
        assert sum(not is_right[index] for index in chosen) == wrong


def test_the_chosen_threshold_accepts_most_among_those_whose_upper_bound_keeps_the_target() -> None:
    coverage = trace_coverage(*made_up())
    for target in (0.05, 0.1, 0.2):
        kept = [
            place
            for place, (wrong, accepted) in enumerate(
                zip(coverage.num_wrong.tolist(), coverage.num_accepted.tolist(), strict=True)
            )
            if stats.beta.ppf(0.95, wrong + 1, accepted - wrong) <= target  # Clopper and Pearson's upper bound
        ]
        found = choose_threshold(coverage, target_error=target)
        assert (None if found is None else found[1]) == (max(kept) if kept else None)
        if found is not None:
            assert found[0] == float(coverage.thresholds[found[1]])


def test_five_percent_takes_fifty_nine_photos_without_a_mistake() -> None:
    for num_photos, is_enough in ((58, False), (59, True)):
        coverage = trace_coverage(torch.full((num_photos,), 0.9), torch.ones(num_photos).bool())
        assert (choose_threshold(coverage, target_error=0.05) is not None) is is_enough


def test_the_lowest_target_is_the_lowest_upper_bound() -> None:
    coverage = trace_coverage(*made_up(seed=1))
    bounds = [
        stats.beta.ppf(0.95, wrong + 1, accepted - wrong) if wrong < accepted else 1.0
        for wrong, accepted in zip(coverage.num_wrong.tolist(), coverage.num_accepted.tolist(), strict=True)
    ]
    assert lowest_target(coverage) == pytest.approx(min(bounds), abs=0.001)
    assert choose_threshold(coverage, target_error=lowest_target(coverage)) is not None


def test_on_new_photos_the_error_is_within_the_target_about_as_often_as_promised() -> None:
    """Threshold out of 300 photos, error on 20,000 others; the choice among many thresholds costs a little."""
    confidences, is_right = made_up(20_000, seed=99)
    kept = tried = 0
    for seed in range(40):
        found = choose_threshold(trace_coverage(*made_up(300, seed=seed)), target_error=0.1)
        if found is None:
            continue
        accepted = confidences >= found[0]
        tried += 1
        kept += float((~is_right[accepted]).double().mean()) <= 0.1
    assert tried >= 20
    assert kept / tried >= 0.85


def test_thinned_out_coverage_keeps_its_ends() -> None:
    coverage = trace_coverage(torch.arange(1, 501) / 500, torch.ones(500).bool())
    few = thin_out(coverage, at_most=20)
    assert len(few.thresholds) == 20
    assert [float(few.thresholds[0]), float(few.thresholds[-1])] == [float(coverage.thresholds[0]), 0]
    assert thin_out(few, at_most=20) is few
    assert isinstance(few, Coverage)
