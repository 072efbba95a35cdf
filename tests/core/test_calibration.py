"""Reliability and temperature, against torchmetrics and scipy."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import multiclass_calibration_error

from mge.core.calibration import calibrated, calibration_error, class_weights, fit_temperature, reliability


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


@pytest.mark.parametrize(("is_weighted", "smoothing"), [(False, 0.0), (True, 0.0), (True, 0.1)])
def test_the_temperature_is_the_one_that_scipy_finds(is_weighted: bool, smoothing: float) -> None:
    logits, labels = made_up()
    weights = torch.rand(len(labels)) if is_weighted else torch.ones(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits.double() / np.exp(log_temperature)
        losses = functional.cross_entropy(scaled, labels, reduction="none", label_smoothing=smoothing)
        return float((weights * losses).sum())

    expected = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}).x)
    found = fit_temperature(logits, labels, weights=weights if is_weighted else None, smoothing=smoothing)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_temperature_mends_logits_that_are_too_large() -> None:
    logits, labels = made_up(4000, temperature=3.0)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(3, rel=0.08)
    assert error_of(logits, labels, temperature=found) < 0.03 < error_of(logits, labels, temperature=1)
    assert torch.equal(calibrated(logits, temperature=found).argmax(1), logits.argmax(1))


def test_probabilities_at_temperature_one_are_the_softmax() -> None:
    logits, _ = made_up(10)
    assert torch.equal(calibrated(logits, temperature=1), logits.softmax(1))


def test_where_all_is_right_the_temperature_goes_to_its_end_and_stays_finite() -> None:
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == pytest.approx(0.01)
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(100)
    # Smoothed by a half, each label is three quarters: log 3 apart, and not 5.
    smoothed = fit_temperature(logits, torch.tensor([0, 1]), smoothing=0.5)
    assert smoothed == pytest.approx(5 / np.log(3))


def test_weights_give_classes_the_share_that_they_have_elsewhere() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    weights = class_weights(labels, torch.tensor([10, 30, 7]))
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights[labels == 1].sum() / weights[labels == 0].sum()) == pytest.approx(3)
