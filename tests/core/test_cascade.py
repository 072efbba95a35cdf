"""When a photo may leave: the mixture so far, how sure it is, and the thresholds that are chosen for it."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mge.config import Mix
from mge.core.cascade import (
    MAX_SEARCHES,
    NEVER,
    chances_of_loss,
    choose_thresholds,
    confidence,
    gate_so_far,
    mix_so_far,
    risks_of_leaving,
    stopping_experts,
)
from mge.core.losses import mix_experts
from tests import reference

Problem = tuple[list[list[float]], list[list[float]], float, list[int]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A few photos, with confidences and risks that are exact in float32, as their sums are, and often equal."""
    num_stops, num_photos = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    sure = st.lists(st.integers(1, 32).map(lambda number: number / 32), min_size=num_stops, max_size=num_stops)
    risk = st.lists(st.integers(0, 8).map(lambda number: number / 8), min_size=num_stops, max_size=num_stops)
    confidences = draw(st.lists(sure, min_size=num_photos, max_size=num_photos))
    risks = draw(st.lists(risk, min_size=num_photos, max_size=num_photos))
    own_gate = draw(st.booleans())
    costs = [1, *(number + own_gate for number in range(2, num_stops + 2))]
    return confidences, risks, draw(st.integers(0, 8 * num_photos)) / 8, costs


def made_up(num_photos: int, num_stops: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Surer photos are lost less often; it is known which are, so that a risk is 0 or 1."""
    torch.manual_seed(seed)
    confidences = torch.rand(num_photos, num_stops)
    return confidences, (torch.rand(num_photos, num_stops) * 2 > confidences + 0.9).double()


def outcome(confidences: Tensor, risks: Tensor, thresholds: tuple[float, ...]) -> tuple[int, float]:
    """Experts that ran, and photos that were lost; by a loop."""
    ran, lost = 0, 0.0
    for row, its_risks in zip(confidences.tolist(), risks.tolist(), strict=True):
        number = reference.stopping_expert(row, thresholds)
        ran += number + 1
        lost += its_risks[number] if number < len(thresholds) else 0
    return ran, lost


# -------- the mixture so far
@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_the_mixture_so_far_is_the_mixture_of_the_first_experts(mix: Mix) -> None:
    joint, gate = torch.randn(4, 3, 5), torch.rand(4, 3).softmax(1)
    found = mix_so_far(joint, gate, mix=mix)
    for count in (1, 2, 3):
        weights = gate[:, :count].double() / gate[:, :count].double().sum(1, keepdim=True)
        expected = reference.mix_experts(joint[:, :count].double().numpy(), weights.numpy(), mix=mix)
        np.testing.assert_allclose(found[:, count - 1], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(found[:, -1], mix_experts(joint, gate, mix=mix))


def test_weights_so_far_by_hand() -> None:
    gate = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.25, 0.75], [0.0, 0.0, 1.0]])
    assert gate_so_far(gate, num_experts=1).tolist() == [[1.0], [1.0], [1.0]]
    torch.testing.assert_close(gate_so_far(gate, num_experts=2), torch.tensor([[2 / 3, 1 / 3], [0, 1], [0.5, 0.5]]))
    assert gate_so_far(gate, num_experts=3) is gate


def test_confidence_is_the_probability_of_the_likeliest_class() -> None:
    logits = torch.tensor([[[0.0, 0.0], [0.0, 1.0986123]]])
    torch.testing.assert_close(confidence(logits), torch.tensor([[0.5, 0.75]]))


# -------- leaving
def test_a_photo_leaves_after_the_first_expert_that_is_sure_enough() -> None:
    confidences = torch.tensor([[0.9, 0.1], [0.5, 0.9], [0.5, 0.5], [0.75, 0.9], [torch.nan, 0.9]])
    assert stopping_experts(confidences, [0.75, 0.875]).tolist() == [0, 1, 2, 0, 1]
    assert stopping_experts(confidences, [NEVER, NEVER]).tolist() == [2] * 5
    assert stopping_experts(confidences[:4], [0.0, 0.0]).tolist() == [0] * 4
    assert stopping_experts(torch.empty(3, 0), []).tolist() == [0] * 3


# -------- the choice
def test_chances_of_loss_by_hand() -> None:
    so_far = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1], [2, 0, 1], [2, 0, 1]])
    beliefs = torch.tensor([0.9, 0.5, 0.75, 0.25, torch.nan])
    assert chances_of_loss(so_far, beliefs).tolist() == [[0, 0], [0.5, 0], [0, 0.75], [0.25, 0.25], [0, 0]]


def test_risks_are_those_of_a_logistic_regression_on_chances() -> None:
    """Scikit-learn's, which knows hard labels only: each photo twice, lost and kept, with its chance for a weight."""
    torch.manual_seed(1)
    confidences, chances = torch.rand(80, 2), torch.rand(80, 2)
    found = risks_of_leaving(confidences, chances)
    for column in (0, 1):
        weights = (80 * chances[:, column].double().numpy() + 0.5) / 81
        score = confidences[:, column].double().logit().numpy()[:, None]
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        model.fit(np.vstack([score, score]), np.repeat([1, 0], 80), np.concatenate([weights, 1 - weights]))
        np.testing.assert_allclose(found[:, column], model.predict_proba(score)[:, 1], atol=1e-5)


@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_lost", [0, 1, 5])
def test_risks_are_between_0_and_1_where_all_photos_are_equally_sure(confidence: float, num_lost: int) -> None:
    chances = (torch.arange(5).unsqueeze(1) < num_lost).double()
    risks = risks_of_leaving(torch.full((5, 1), confidence), chances)
    np.testing.assert_allclose(risks, (num_lost + 0.5) / 6, rtol=1e-6)


@pytest.mark.parametrize("is_lost", ["the least sure", "the surest"])
def test_risks_are_found_where_confidence_tells_all(is_lost: str) -> None:
    confidences = torch.linspace(0.01, 0.999999, 100).unsqueeze(1)
    would_lose = confidences < 0.3 if is_lost == "the least sure" else confidences > 0.7
    risks = risks_of_leaving(confidences, would_lose.double())
    assert bool(((risks >= 0) & (risks <= 1)).all())
    assert risks[would_lose].mean() > 0.8
    assert risks[~would_lose].mean() < 0.1


def test_new_photos_are_lost_no_more_often_than_allowed() -> None:
    """A hundred photos chose; counting those that were lost among them would promise 1 % and lose more."""
    torch.manual_seed(0)
    lost = counted = 0.0
    for _ in range(60):
        confidences = torch.rand(5100, 1) ** 0.5
        differs = torch.rand(5100, 1) > 0.4 + 0.6 * confidences
        would_lose = differs & (torch.rand(5100, 1) > 0.5)
        risks = risks_of_leaving(confidences[:100], 0.5 * differs[:100])
        for kind, their_risks in (("curve", risks), ("count", would_lose[:100].double())):
            chosen = choose_thresholds(confidences[:100], their_risks, max_lost=1.0, costs=[1, 2])
            share = float((would_lose[100:] & (confidences[100:] >= chosen[0])).double().mean())
            lost += share / 60 if kind == "curve" else 0
            counted += share / 60 if kind == "count" else 0
    assert lost <= 0.01 < counted


def test_a_choice_by_hand() -> None:
    confidences = torch.tensor([[0.875, 0.875], [0.75, 0.75], [0.625, 1.0], [0.5, 0.25]])
    risks = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    # The second photo must not leave after expert 0, nor the last after expert 1.
    assert choose_thresholds(confidences, risks, max_lost=0, costs=[1, 2, 3]) == (0.8125, 0.5)
    # One of both may: all leave after expert 0.
    assert choose_thresholds(confidences, risks, max_lost=1, costs=[1, 2, 3]) == (0.25, NEVER)


def test_photos_about_which_no_confidence_is_a_number_never_leave() -> None:
    confidences = torch.tensor([[0.875, torch.nan], [0.75, 0.75], [torch.nan, 1.0], [torch.nan, torch.nan]])
    assert bool(risks_of_leaving(confidences, torch.zeros(4, 2)).isfinite().all())
    thresholds = choose_thresholds(confidences, torch.zeros(4, 2), max_lost=0, costs=[1, 2, 3])
    assert thresholds == (0.375, 0.875)
    assert stopping_experts(confidences, thresholds).tolist() == [0, 0, 1, 2]


def test_where_each_photo_would_be_lost_nobody_leaves() -> None:
    confidences, _ = made_up(20, 2)
    assert choose_thresholds(confidences, torch.ones(20, 2), max_lost=0, costs=[1, 2, 3]) == (NEVER, NEVER)


@settings(deadline=None, max_examples=150)
@given(problems())
def test_the_choice_is_that_of_the_exhaustive_search(problem: Problem) -> None:
    confidences, risks, max_lost, costs = problem
    found = choose_thresholds(torch.tensor(confidences), torch.tensor(risks), max_lost=max_lost, costs=costs)
    assert found == reference.choose_thresholds(confidences, risks, max_lost=max_lost, costs=costs)


@pytest.mark.parametrize(("num_photos", "num_stops"), [(400, 1), (300, 2), (1500, 2), (120, 3), (60, 5)])
def test_never_more_is_lost_than_allowed_and_never_more_computed_than_by_all(num_photos: int, num_stops: int) -> None:
    confidences, risks = made_up(num_photos, num_stops)
    former = None
    for max_lost in (0, 3, num_photos):
        costs = list(range(1, num_stops + 2))
        thresholds = choose_thresholds(confidences, risks, max_lost=max_lost, costs=costs)
        ran, lost = outcome(confidences, risks, thresholds)
        assert lost <= max_lost
        assert ran <= (former or num_photos * (num_stops + 1))
        former = ran
    assert former == num_photos


def test_thinned_out_thresholds_cost_little_more_than_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    confidences, risks = made_up(30, 3)
    assert MAX_SEARCHES > 31**2
    all_of_them = choose_thresholds(confidences, risks, max_lost=2, costs=[1, 2, 3, 4])
    monkeypatch.setattr("mge.core.cascade.MAX_SEARCHES", 200)
    few = choose_thresholds(confidences, risks, max_lost=2, costs=[1, 2, 3, 4])
    least, ran = (outcome(confidences, risks, thresholds)[0] for thresholds in (all_of_them, few))
    assert few != all_of_them
    assert least <= ran <= 1.05 * least


def test_the_choice_does_not_depend_on_the_order_of_the_photos() -> None:
    confidences, risks = made_up(50, 2)
    order = torch.tensor(random.Random(0).sample(range(50), 50))
    first, second = (
        choose_thresholds(confidences[rows], risks[rows], max_lost=1, costs=[1, 2, 3])
        for rows in (torch.arange(50), order)
    )
    assert first == second


def test_rounding_of_the_last_digits_moves_nobody() -> None:
    confidences, risks = made_up(200, 2)
    thresholds = choose_thresholds(confidences, risks, max_lost=2, costs=[1, 2, 3])
    for factor in (1 - 1e-6, 1 + 1e-6):
        assert torch.equal(
            stopping_experts(confidences * factor, thresholds), stopping_experts(confidences, thresholds)
        )
