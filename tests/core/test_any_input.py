"""Boxes, zooms, losses and mixtures: what must hold whatever the sizes and the numbers are."""

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from mge.core.attention import moment_boxes, threshold_boxes
from mge.core.crop import Geometry, Sampling, compose_boxes, whole_boxes, zoom
from mge.core.losses import diversity_authors, diversity_paper, mix_experts, temper_gate
from tests import reference
from tests.targets import one_hot

quick = settings(max_examples=100, deadline=None, database=None, derandomize=True)

# Sixteenths: sums and differences of them are exact in float32, so that equalities can be asked for.
sixteenths = st.integers(-2048, 2048).map(lambda number: number / 16)
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
small = st.tuples(st.integers(1, 9), st.integers(1, 9))  # for the loops
geometries: st.SearchStrategy[Geometry] = st.sampled_from(["pixels", "authors"])
samplings: st.SearchStrategy[Sampling] = st.sampled_from(["grid", "matrices"])
mixes: st.SearchStrategy[Literal["logits", "probs"]] = st.sampled_from(["logits", "probs"])
offsets = st.floats(-60, 60)


def numbers(*shape: int, low: float = -100.0, high: float = 100.0) -> st.SearchStrategy[Tensor]:
    """Tensors of any float32 numbers between two, often the same ones several times."""
    return arrays(np.float32, shape, elements=st.floats(low, high, width=32)).map(torch.from_numpy)


def exact(*shape: int) -> st.SearchStrategy[Tensor]:
    """Tensors of sixteenths."""
    return arrays(np.float32, shape, elements=sixteenths).map(torch.from_numpy)


@st.composite
def maps(draw: st.DrawFn) -> Tensor:
    """Maps of few cells, as an expert gives them: at least 0, and of any magnitude."""
    cells = draw(numbers(draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5)), low=0, high=1))
    return cells * draw(st.sampled_from([1e-20, 1e-3, 1.0, 1e4, 1e20]))


@st.composite
def boxes_in(draw: st.DrawFn, size: tuple[int, int], *, beyond: float = 0.0) -> Tensor:
    """A box with fractions of pixels in a picture, or reaching so far over its border; it may have no area."""
    height, width = size
    x1, x2 = sorted(draw(st.tuples(*[st.floats(-beyond, width + beyond, width=32)] * 2)))
    y1, y2 = sorted(draw(st.tuples(*[st.floats(-beyond, height + beyond, width=32)] * 2)))
    return torch.tensor([[x1, y1, x2, y2]])


def pictures(size: tuple[int, int]) -> Tensor:
    """A picture of noise, the same one for each size."""
    return torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))


def assert_inside(boxes: Tensor, size: tuple[int, int]) -> None:
    height, width = size
    for x1, y1, x2, y2 in boxes.tolist():
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height


def holds(outer: Sequence[float], inner: Sequence[float]) -> bool:
    """Whether a box lies in another."""
    return bool(np.less_equal(outer[:2], inner[:2]).all() and np.less_equal(inner[2:], outer[2:]).all())


# ---------------------------------------------------------------------------------------------------------------- boxes
@quick
@given(maps(), sizes, st.floats(0, 1), geometries, offsets)
def test_a_box_around_any_map_lies_in_the_view_and_is_not_empty(
    cells: Tensor, size: tuple[int, int], threshold: float, geometry: Geometry, offset: float
) -> None:
    boxes = threshold_boxes(cells, size=size, threshold=threshold, geometry=geometry, offset=offset)
    assert boxes.shape == (len(cells), 4)
    assert_inside(boxes, size)


@quick
@given(maps(), small, st.floats(0, 1), geometries)
def test_a_box_lies_between_those_that_a_loop_finds_a_hairs_breadth_below_and_above_its_threshold(
    cells: Tensor, size: tuple[int, int], threshold: float, geometry: Geometry
) -> None:
    # Where a pixel lies on the threshold itself, float32 and the loop's float64 may differ about it.
    whole = [0, 0, size[1], size[0]]
    boxes = threshold_boxes(cells, size=size, threshold=threshold, geometry=geometry)
    for photo, box in zip(cells.double().numpy(), boxes.tolist(), strict=True):
        scaled = reference.scale_to_unit(photo)  # without contrast it has none after the loop's rounding either
        outer, inner = (
            reference.attention_box(scaled, size=size, threshold=threshold + step, aligned=geometry == "authors")
            for step in (-1e-4, 1e-4)
        )
        if box == whole or outer == whole:  # nothing less holds more, and where nothing counts it stands for everything
            continue
        assert outer[0] <= box[0]
        assert outer[1] <= box[1]
        assert box[2] <= outer[2]
        assert box[3] <= outer[3]
        assert inner == whole or (
            box[0] <= inner[0] and box[1] <= inner[1] and inner[2] <= box[2] and inner[3] <= box[3]
        )


@quick
@given(maps(), sizes, st.floats(0, 0.99), offsets)
def test_a_spread_box_of_any_map_lies_in_the_view_and_is_a_pixel_wide_at_least(
    cells: Tensor, size: tuple[int, int], threshold: float, offset: float
) -> None:
    boxes = moment_boxes(cells, size=size, threshold=threshold, offset=offset)
    assert_inside(boxes, size)
    assert float((boxes[:, 2:] - boxes[:, :2]).min()) >= 1 - 1e-5


@quick
@given(maps(), small, st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_a_spread_box_is_that_of_the_loop(cells: Tensor, size: tuple[int, int], threshold: float) -> None:
    boxes = moment_boxes(cells, size=size, threshold=threshold)
    for photo, box in zip(cells.double().numpy(), boxes.tolist(), strict=True):
        expected = reference.spread_box(photo, size=size, threshold=threshold)
        for axis in (0, 1):
            if expected[axis + 2] - expected[axis] >= 1:  # a narrower one is widened, which the loop does not do
                np.testing.assert_allclose(box[axis::2], expected[axis::2], atol=2e-3)


@quick
@given(st.data(), sizes, sizes)
def test_a_box_in_a_view_lies_in_the_box_of_the_view_and_is_that_of_the_naive_formula(
    data: st.DataObject, picture: tuple[int, int], view: tuple[int, int]
) -> None:
    outer, inner = data.draw(boxes_in(picture)), data.draw(boxes_in(view))
    composed = compose_boxes(outer, inner, size=view)
    expected = reference.compose_box(outer[0].tolist(), inner[0].tolist(), size=view)
    np.testing.assert_allclose(composed[0].numpy(), expected, atol=1e-4)
    assert bool((composed[:, :2] >= outer[:, :2] - 1e-4).all())
    assert bool((composed[:, 2:] <= outer[:, 2:] + 1e-4).all())
    whole_view, whole_picture = whole_boxes(torch.zeros(1, 1, *view)), whole_boxes(torch.zeros(1, 1, *picture))
    torch.testing.assert_close(compose_boxes(outer, whole_view, size=view), outer, rtol=0, atol=1e-4)
    torch.testing.assert_close(compose_boxes(whole_picture, outer, size=picture), outer, rtol=0, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------- zooms
@quick
@given(st.data(), small, small, geometries, st.integers(1, 3), samplings)
def test_any_zoom_is_that_of_a_loop_over_pixels(
    data: st.DataObject, picture: tuple[int, int], view: tuple[int, int], geometry: Geometry, supersample: int,
    sampling: Sampling,
) -> None:  # fmt: skip
    image, box = pictures(picture), data.draw(boxes_in(picture, beyond=5))
    found = zoom(image, box, size=view, geometry=geometry, supersample=supersample, sampling=sampling)
    expected = reference.zoom(
        image[0].double().numpy(), box[0].tolist(), size=view, aligned=geometry == "authors", supersample=supersample
    )
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-4)
    # Each pixel is a mean of the picture's: no zoom is brighter or darker than what it shows.
    assert float(image.min()) - 1e-5 <= float(found.min())
    assert float(found.max()) <= float(image.max()) + 1e-5


@quick
@given(st.data(), sizes, sizes, geometries, st.integers(1, 3))
def test_both_ways_of_sampling_give_the_same(
    data: st.DataObject, picture: tuple[int, int], view: tuple[int, int], geometry: Geometry, supersample: int
) -> None:
    image, box = pictures(picture), data.draw(boxes_in(picture, beyond=50))
    by_grid = zoom(image, box, size=view, geometry=geometry, supersample=supersample)
    found = zoom(image, box, size=view, geometry=geometry, supersample=supersample, sampling="matrices")
    torch.testing.assert_close(found, by_grid, rtol=0, atol=2e-4)


@quick
@given(sizes, geometries, samplings)
def test_a_full_box_gives_a_picture_of_any_size_back(
    size: tuple[int, int], geometry: Geometry, sampling: Sampling
) -> None:
    image = pictures(size)
    views = zoom(image, whole_boxes(image), size=size, geometry=geometry, sampling=sampling)
    torch.testing.assert_close(views, image, rtol=0, atol=1e-4)


# --------------------------------------------------------------------------------------------------------------- losses
@st.composite
def answers(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """An expert's logits, its predecessor's, and true classes."""
    photos, classes = draw(st.integers(1, 4)), draw(st.integers(2, 7))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=photos, max_size=photos))
    return draw(exact(photos, classes)), draw(exact(photos, classes)), one_hot(labels, classes)


EvalOutputs = tuple[Tensor, Tensor, Tensor]


@quick
@given(st.data(), st.integers(1, 3), st.integers(2, 6))
def test_the_papers_term_lies_between_0_and_1_for_any_logits(data: st.DataObject, photos: int, classes: int) -> None:
    logits, previous = (data.draw(numbers(photos, classes, low=-(2.0**100), high=2.0**100)) for _ in range(2))
    assert 0 <= float(diversity_paper(logits, previous, one_hot([0] * photos, classes))) <= 1 + 1e-6


@quick
@given(answers())
def test_the_papers_term_is_the_naive_one_for_any_answers(given_answers: EvalOutputs) -> None:
    logits, previous, targets = given_answers
    shrunk = (logits / 8, previous / 8, targets)  # the loop's exponentials go no further
    labels = targets.argmax(1).tolist()
    expected = reference.diversity_paper(shrunk[0].double().numpy(), shrunk[1].double().numpy(), labels)
    np.testing.assert_allclose(float(diversity_paper(*shrunk)), expected, rtol=1e-4, atol=1e-7)


@quick
@given(answers(), st.data())
def test_constants_added_to_an_experts_logits_change_no_diversity_term(
    given_answers: EvalOutputs, data: st.DataObject
) -> None:
    logits, previous, targets = given_answers
    shifts = [data.draw(exact(len(targets), 1)) for _ in range(2)]
    for term in (diversity_paper, diversity_authors):
        shifted = term(logits + shifts[0], previous + shifts[1], targets)
        torch.testing.assert_close(shifted, term(logits, previous, targets), rtol=1e-5, atol=1e-7)


@quick
@given(answers(), sixteenths)
def test_the_papers_term_does_not_know_the_true_classs_logit_and_gives_it_no_gradient(
    given_answers: EvalOutputs, other: float
) -> None:
    logits, previous, targets = given_answers
    is_true = targets.bool()
    leaf, previous_leaf = logits.clone().requires_grad_(), previous.clone().requires_grad_()
    value = diversity_paper(leaf, previous_leaf, targets)
    value.backward()
    assert leaf.grad is not None
    assert previous_leaf.grad is None
    assert bool(leaf.grad.isfinite().all())
    assert leaf.grad[is_true].tolist() == [0.0] * len(targets)
    changed_logits, changed_previous = logits.clone(), previous.clone()
    changed_logits[is_true], changed_previous[is_true] = other, -other
    assert torch.equal(diversity_paper(changed_logits, changed_previous, targets), value.detach())


@quick
@given(answers(), st.randoms(use_true_random=False))
def test_renumbering_the_classes_changes_no_diversity_term(given_answers: EvalOutputs, rng: random.Random) -> None:
    logits, previous, targets = given_answers
    order = list(range(logits.shape[1]))
    rng.shuffle(order)
    for term in (diversity_paper, diversity_authors):
        value = term(logits[:, order], previous[:, order], targets[:, order])
        torch.testing.assert_close(value, term(logits, previous, targets), rtol=1e-5, atol=1e-7)


# -------------------------------------------------------------------------------------------------------------- mixture
@st.composite
def opinions(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """The experts' logits, and a gate that may leave some of them out."""
    photos, experts, classes = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(2, 6))
    counts = draw(numbers(photos, experts, low=0, high=1)) * draw(st.sampled_from([0.0, 1.0]))
    counts[:, draw(st.integers(0, experts - 1))] += 1
    return draw(exact(photos, experts, classes)), counts / counts.sum(1, keepdim=True)


@quick
@given(opinions(), mixes)
def test_a_mixture_lies_between_its_experts(
    given_opinions: tuple[Tensor, Tensor], mix: Literal["logits", "probs"]
) -> None:
    joint_logits, gate_probs = given_opinions
    mixed = mix_experts(joint_logits, gate_probs, mix=mix)
    said = joint_logits if mix == "logits" else joint_logits.softmax(2)
    found = mixed if mix == "logits" else mixed.exp()
    slack = 1e-4 if mix == "logits" else 1e-5
    assert bool((found >= said.amin(1) - slack).all())
    assert bool((found <= said.amax(1) + slack).all())
    if mix == "probs":
        torch.testing.assert_close(found.sum(1), torch.ones(len(found)))


@quick
@given(opinions(), st.randoms(use_true_random=False), mixes)
def test_neither_the_order_of_experts_nor_that_of_classes_changes_a_mixture(
    given_opinions: tuple[Tensor, Tensor], rng: random.Random, mix: Literal["logits", "probs"]
) -> None:
    joint_logits, gate_probs = given_opinions
    experts, classes = list(range(joint_logits.shape[1])), list(range(joint_logits.shape[2]))
    rng.shuffle(experts)
    rng.shuffle(classes)
    mixed = mix_experts(joint_logits[:, experts][:, :, classes], gate_probs[:, experts], mix=mix)
    torch.testing.assert_close(mixed, mix_experts(joint_logits, gate_probs, mix=mix)[:, classes], rtol=1e-5, atol=1e-4)


trusts = st.floats(0, 8)


@quick
@given(opinions(), trusts)
def test_a_tempered_gate_sums_to_1_and_keeps_the_order_of_its_experts(
    given_opinions: tuple[Tensor, Tensor], scale: float
) -> None:
    gate_probs = given_opinions[1]
    tempered = temper_gate(gate_probs, scale)
    torch.testing.assert_close(tempered.sum(1), torch.ones(len(tempered)))
    order = gate_probs.argsort(1)
    assert bool((tempered.gather(1, order).diff(dim=1) >= -1e-6).all())
    torch.testing.assert_close(temper_gate(gate_probs, 1.0), gate_probs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(temper_gate(gate_probs, 0.0), torch.full_like(gate_probs, 1 / gate_probs.shape[1]))


@quick
@given(opinions(), st.floats(0, 3), st.floats(0, 3))
def test_a_gate_that_is_tempered_twice_is_tempered_by_the_product(
    given_opinions: tuple[Tensor, Tensor], first: float, second: float
) -> None:
    gate_probs = given_opinions[1].clamp_min(1e-6)  # from 0, two steps would be cut off at different places
    twice = temper_gate(temper_gate(gate_probs, first), second)
    torch.testing.assert_close(twice, temper_gate(gate_probs, first * second), rtol=1e-3, atol=1e-5)
