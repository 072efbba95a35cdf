"""Reliability and temperature, against torchmetrics and a grid."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

from mge.evaluation.calibration import calibration_error, fit_temperature, reliability
from mge.inference.probabilities import calibrated


def made_up(num_photos: int = 500, num_classes: int = 5, *, temperature: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits that are too large by a temperature, and labels that are drawn of the true probabilities."""
    torch.manual_seed(0)
    logits = torch.randn(num_photos, num_classes) * 2
    labels = torch.distributions.Categorical(logits=logits).sample()
    return logits * temperature, labels


def error_of(logits: Tensor, labels: Tensor, *, temperature: float, num_bins: int = 15) -> float:
    confidences, predicted = calibrated(logits, temperature=temperature).max(1)
    return calibration_error(reliability(confidences, predicted == labels, num_bins=num_bins))


@pytest.mark.parametrize("num_bins", [10, 15])
def test_the_calibration_error_is_torchmetrics(num_bins: int) -> None:
    logits, labels = made_up()
    expected = multiclass_calibration_error(logits.softmax(1), labels, num_classes=5, n_bins=num_bins, norm="l1")
    assert error_of(logits, labels, temperature=1, num_bins=num_bins) == pytest.approx(float(expected), abs=1e-6)


def test_bins_by_hand() -> None:
    confidences = torch.tensor([0.0, 0.2, 0.25, 0.7, 1.0])
    found = reliability(confidences, torch.tensor([False, True, False, True, True]), num_bins=4)
    assert found.counts.tolist() == [2, 1, 1, 1]
    np.testing.assert_allclose(found.accuracy, [0.5, 0, 1, 1])
    np.testing.assert_allclose(found.confidence, [0.1, 0.25, 0.7, 1], rtol=1e-6)
    assert calibration_error(found) == pytest.approx((2 * 0.4 + 0.25 + 0.3 + 0) / 5)
    empty = reliability(confidences[:1], torch.tensor([True]), num_bins=4)
    assert empty.accuracy.isnan().tolist() == [False, True, True, True]
    assert calibration_error(empty) == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_temperature_is_the_one_that_a_grid_finds(num_classes: int, smoothing: float) -> None:
    logits, labels = made_up(num_classes=num_classes)
    wanted = (logits.argmax(1) == labels).double().clamp(smoothing, 1 - smoothing)
    grid = torch.linspace(0.1, 10, 4951)
    losses = [
        float(functional.binary_cross_entropy((logits.double() / temperature).softmax(1).amax(1), wanted))
        for temperature in grid
    ]
    expected = float(grid[int(np.argmin(losses))])
    assert fit_temperature(logits, labels, smoothing=smoothing) == pytest.approx(expected, abs=0.002)


def test_photos_that_say_no_number_do_not_count() -> None:
    logits, labels = made_up()
    with_others = torch.cat([logits, torch.full((3, 5), torch.nan)]), torch.cat([labels, labels[:3]])
    assert fit_temperature(*with_others) == pytest.approx(fit_temperature(logits, labels), rel=1e-5)
    assert fit_temperature(torch.full((3, 5), torch.nan), labels[:3]) == 1


def test_how_the_rest_is_shared_out_does_not_matter() -> None:
    """Answers at 1/2 that are right half of the time need nothing, whichever of the others is the true class."""
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log().repeat(4, 1)
    for others in ([1, 1], [1, 2]):
        assert fit_temperature(logits, torch.tensor([0, 0, *others])) == pytest.approx(1, rel=1e-4)
    sharper = torch.tensor([[0.5, 0.49, 0.01]]).log().repeat(4, 1)
    assert fit_temperature(sharper, torch.tensor([0, 0, 2, 2])) == pytest.approx(1, rel=1e-4)


def test_the_temperature_mends_logits_that_are_too_large() -> None:
    logits, labels = made_up(4000, temperature=3.0)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(3, rel=0.08)
    assert error_of(logits, labels, temperature=found) < 0.03 < error_of(logits, labels, temperature=1)
    assert torch.equal(calibrated(logits, temperature=found).argmax(1), logits.argmax(1))


def test_probabilities_at_temperature_one_are_the_softmax() -> None:
    logits, _ = made_up(10)
    assert torch.equal(calibrated(logits, temperature=1), logits.softmax(1))


def test_where_all_is_right_the_temperature_is_low_and_stays_finite() -> None:
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    lowest = fit_temperature(logits, torch.tensor([0, 1]))
    assert float(calibrated(logits, temperature=lowest).amax(1).min()) > 0.9999
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(100, rel=1e-4)
    # Smoothed by a quarter, each answer is to be right in three of four cases: log 3 apart, and not 5.
    smoothed = fit_temperature(logits, torch.tensor([0, 1]), smoothing=0.25)
    assert smoothed == pytest.approx(5 / np.log(3), rel=1e-4)
