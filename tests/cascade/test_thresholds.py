"""How sure is sure enough: the risk of leaving, and the thresholds that are chosen by it."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mge.cascade.margin import NO_EXIT, exit_indices
from mge.cascade.thresholds import MAX_SEARCHES, choose_thresholds, exit_risks, flip_risks
from tests import reference

Problem = tuple[list[list[float]], list[list[float]], float, list[int]]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """A few photos, with leads and risks that are exact in float32, as their sums are, and often equal."""
    num_stops, num_photos = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    sure = st.lists(st.integers(1, 32).map(lambda number: number / 32), min_size=num_stops, max_size=num_stops)
    risk = st.lists(st.integers(0, 8).map(lambda number: number / 8), min_size=num_stops, max_size=num_stops)
    margins = draw(st.lists(sure, min_size=num_photos, max_size=num_photos))
    risks = draw(st.lists(risk, min_size=num_photos, max_size=num_photos))
    own_gate = draw(st.booleans())
    costs = [1, *(number + own_gate for number in range(2, num_stops + 2))]
    return margins, risks, draw(st.integers(0, 8 * num_photos)) / 8, costs


def made_up(num_photos: int, num_stops: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Surer photos are lost less often; it is known which are, so that a risk is 0 or 1."""
    torch.manual_seed(seed)
    margins = torch.rand(num_photos, num_stops)
    return margins, (torch.rand(num_photos, num_stops) * 2 > margins + 0.9).double()


def outcome(margins: Tensor, risks: Tensor, thresholds: tuple[float, ...]) -> tuple[int, float]:
    """Experts that ran, and photos that were lost; by a loop."""
    ran, lost = 0, 0.0
    for row, its_risks in zip(margins.tolist(), risks.tolist(), strict=True):
        number = reference.stopping_expert(row, thresholds)
        ran += number + 1
        lost += its_risks[number] if number < len(thresholds) else 0
    return ran, lost


def test_chances_of_loss_by_hand() -> None:
    so_far = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1], [2, 0, 1], [2, 0, 1]])
    confidences = torch.tensor([0.9, 0.5, 0.75, 0.25, torch.nan])
    assert flip_risks(so_far, confidences).tolist() == [[0, 0], [0.5, 0], [0, 0.75], [0.25, 0.25], [0, 0]]


def test_risks_are_the_likeliest_of_their_kind() -> None:
    """By a loop over highest risks and spreads, the photo in the middle that is half lost among them."""
    torch.manual_seed(1)
    margins = 0.5 + torch.rand(8, 2) / 2
    chances = torch.rand(8, 2) * (margins < 0.8)
    found = exit_risks(margins, chances)
    for column in (0, 1):
        margin_logits = [math.log(top2_margin / (1 - top2_margin)) for top2_margin in margins[:, column].tolist()]
        photos = list(
            zip([*margin_logits, float(np.median(margin_logits))], [*chances[:, column].tolist(), 0.5], strict=True)
        )

        def unlikelihood(risks: list[float]) -> float:
            pairs = zip(risks, (chance for _, chance in photos), strict=True)  # noqa: B023
            return -math.fsum(chance * math.log(risk) + (1 - chance) * math.log(1 - risk) for risk, chance in pairs)

        best = min(
            (unlikelihood([max(highest / 50 * math.erfc(m / spread * 20), 1e-300) for m, _ in photos]), highest, spread)
            for highest, spread in itertools.product(range(1, 50), range(1, 80))
        )
        expected = [best[1] / 50 * math.erfc(m / best[2] * 20) for m in margin_logits]
        np.testing.assert_allclose(found[:, column], expected, atol=0.03)


@pytest.mark.parametrize("top2_margin", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("num_lost", [0, 1, 5])
def test_risks_are_their_mean_where_all_photos_are_equally_sure(top2_margin: float, num_lost: int) -> None:
    chances = (torch.arange(5).unsqueeze(1) < num_lost).double()
    risks = exit_risks(torch.full((5, 1), top2_margin), chances)
    np.testing.assert_allclose(risks, (num_lost + 0.5) / 6, atol=1e-3)


def test_risks_fall_with_the_lead_and_are_found_where_it_tells_all() -> None:
    margins = torch.linspace(0.5, 0.999999, 100).unsqueeze(1)
    risks = exit_risks(margins, (margins < 0.65).double())
    assert bool((risks.diff(dim=0) <= 0).all())
    assert risks[margins < 0.65].mean() > 0.6
    assert risks[margins > 0.75].mean() < 0.03


def test_risks_are_their_mean_where_the_surest_are_lost() -> None:
    margins = torch.linspace(0.5, 0.999999, 100).unsqueeze(1)
    risks = exit_risks(margins, (margins > 0.8).double())
    np.testing.assert_allclose(risks, 0.4, atol=0.05)


def test_risks_of_photos_that_are_never_lost_add_up_to_half_a_photo() -> None:
    risks = exit_risks(torch.linspace(0.5, 0.999, 300).unsqueeze(1), torch.zeros(300, 1))
    assert float(risks.sum()) == pytest.approx(0.5, abs=0.02)


def test_new_photos_are_lost_no_more_often_than_allowed() -> None:
    """A hundred photos chose; counting those that were lost among them would promise 1 % and lose more."""
    torch.manual_seed(0)
    lost = counted = 0.0
    for _ in range(60):
        margin_logits = torch.rand(5100, 1) * 4
        differs = torch.randn(5100, 1) > margin_logits
        would_lose = differs & (torch.rand(5100, 1) > 0.5)
        margins = margin_logits.sigmoid()
        risks = exit_risks(margins[:100], 0.5 * differs[:100])
        for kind, their_risks in (("curve", risks), ("count", would_lose[:100].double())):
            chosen = choose_thresholds(margins[:100], their_risks, max_lost=1.0, costs=[1, 2])
            share = float((would_lose[100:] & (margins[100:] >= chosen[0])).double().mean())
            lost += share / 60 if kind == "curve" else 0
            counted += share / 60 if kind == "count" else 0
    assert lost <= 0.01 < counted


def test_a_choice_by_hand() -> None:
    margins = torch.tensor([[0.875, 0.875], [0.75, 0.75], [0.625, 1.0], [0.5, 0.25]])
    risks = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    # The second photo must not leave after expert 0, nor the last after expert 1.
    assert choose_thresholds(margins, risks, max_lost=0, costs=[1, 2, 3]) == (0.8125, 0.5)
    # One of both may: all leave after expert 0.
    assert choose_thresholds(margins, risks, max_lost=1, costs=[1, 2, 3]) == (0.25, NO_EXIT)


def test_photos_about_which_no_lead_is_a_number_never_leave() -> None:
    margins = torch.tensor([[0.875, torch.nan], [0.75, 0.75], [torch.nan, 1.0], [torch.nan, torch.nan]])
    assert bool(exit_risks(margins, torch.zeros(4, 2)).isfinite().all())
    thresholds = choose_thresholds(margins, torch.zeros(4, 2), max_lost=0, costs=[1, 2, 3])
    assert thresholds == (0.375, 0.875)
    assert exit_indices(margins, thresholds).tolist() == [0, 0, 1, 2]


def test_where_each_photo_would_be_lost_nobody_leaves() -> None:
    margins, _ = made_up(20, 2)
    assert choose_thresholds(margins, torch.ones(20, 2), max_lost=0, costs=[1, 2, 3]) == (NO_EXIT, NO_EXIT)


@settings(deadline=None, max_examples=150)
@given(problems())
def test_the_choice_is_that_of_the_exhaustive_search(problem: Problem) -> None:
    margins, risks, max_lost, costs = problem
    found = choose_thresholds(torch.tensor(margins), torch.tensor(risks), max_lost=max_lost, costs=costs)
    assert found == reference.choose_thresholds(margins, risks, max_lost=max_lost, costs=costs)


@pytest.mark.parametrize(("num_photos", "num_stops"), [(400, 1), (300, 2), (1500, 2), (120, 3), (60, 5)])
def test_never_more_is_lost_than_allowed_and_never_more_computed_than_by_all(num_photos: int, num_stops: int) -> None:
    margins, risks = made_up(num_photos, num_stops)
    previous = None
    for max_lost in (0, 3, num_photos):
        costs = list(range(1, num_stops + 2))
        thresholds = choose_thresholds(margins, risks, max_lost=max_lost, costs=costs)
        ran, lost = outcome(margins, risks, thresholds)
        assert lost <= max_lost
        assert ran <= (previous or num_photos * (num_stops + 1))
        previous = ran
    assert previous == num_photos


def test_thinned_out_thresholds_cost_little_more_than_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    margins, risks = made_up(30, 3)
    assert MAX_SEARCHES > 31**2
    all_of_them = choose_thresholds(margins, risks, max_lost=2, costs=[1, 2, 3, 4])
    monkeypatch.setattr("mge.cascade.thresholds.MAX_SEARCHES", 200)
    few = choose_thresholds(margins, risks, max_lost=2, costs=[1, 2, 3, 4])
    least, ran = (outcome(margins, risks, thresholds)[0] for thresholds in (all_of_them, few))
    assert few != all_of_them
    assert least <= ran <= 1.05 * least


def test_the_choice_does_not_depend_on_the_order_of_the_photos() -> None:
    margins, risks = made_up(50, 2)
    order = torch.tensor(random.Random(0).sample(range(50), 50))
    first, second = (
        choose_thresholds(margins[rows], risks[rows], max_lost=1, costs=[1, 2, 3]) for rows in (torch.arange(50), order)
    )
    assert first == second


def test_rounding_of_the_last_digits_moves_nobody() -> None:
    margins, risks = made_up(200, 2)
    thresholds = choose_thresholds(margins, risks, max_lost=2, costs=[1, 2, 3])
    for factor in (1 - 1e-6, 1 + 1e-6):
        assert torch.equal(exit_indices(margins * factor, thresholds), exit_indices(margins, thresholds))
