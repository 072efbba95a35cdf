"""Attention maps and boxes: hand-worked values, the naive loops, and what must hold for any map."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mge.core.attention import (
    attention_map,
    channel_weights,
    class_evidence,
    enlarge,
    expected_weights,
    moment_boxes,
    scale_to_unit,
    threshold_boxes,
    uniform_weights,
)
from mge.core.crop import Geometry
from tests import reference

GEOMETRIES: list[Geometry] = ["pixels", "authors"]
SIZE = (24, 32)
WHOLE = [0.0, 0.0, 32.0, 24.0]


def peak_at(row: int, column: int, *, height: int = 4, width: int = 4) -> Tensor:
    cells = torch.zeros(height, width)
    cells[row, column] = 1.0
    return cells


# -------------------------------------------------------------------------------------------------------------- weights
def test_channel_weights_are_the_row_of_the_class_divided_by_the_number_of_cells() -> None:
    classifier = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    weights = channel_weights(classifier, torch.tensor([1, 0]), num_cells=4)
    assert weights.tolist() == [[0.75, 1.0], [0.25, -0.5]]


def test_positive_channel_weights_leave_negative_ones_out() -> None:
    classifier = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    weights = channel_weights(classifier, torch.tensor([1, 0]), num_cells=4, positive=True)
    assert weights.tolist() == [[0.75, 1.0], [0.25, 0.0]]


@pytest.mark.parametrize("positive", [False, True])
def test_expected_weights_are_the_mean_of_all_classes_weights_by_belief(positive: bool) -> None:
    classifier, probs = torch.randn(5, 7), torch.randn(3, 5).softmax(1)
    weights = expected_weights(classifier, probs, num_cells=6, positive=positive)
    every_class = channel_weights(classifier, torch.arange(5), num_cells=6, positive=positive)
    expected = [sum(prob * row for prob, row in zip(photo, every_class, strict=True)) for photo in probs]
    torch.testing.assert_close(weights, torch.stack([torch.as_tensor(row) for row in expected]))


def test_expected_weights_of_a_sure_expert_are_those_of_its_class() -> None:
    classifier, probs = torch.randn(4, 7), torch.eye(4)[[2, 0]]
    weights = expected_weights(classifier, probs, num_cells=9)
    torch.testing.assert_close(weights, channel_weights(classifier, torch.tensor([2, 0]), num_cells=9))


# ----------------------------------------------------------------------------------------------------------------- maps
def test_an_attention_map_sums_the_channels_and_cuts_off_negative_evidence() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 1.0]]]])
    maps = attention_map(features, torch.tensor([[2.0, -1.0]]))
    assert maps.tolist() == [[[0.0, 3.0]]]


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (4, 5, 3, 3), (3, 8, 2, 5)])
def test_an_attention_map_equals_an_autograd_grad_cam(shape: tuple[int, int, int, int], positive: bool) -> None:
    head = nn.Linear(shape[1], 6)
    features = torch.randn(shape)
    labels = torch.randint(6, (shape[0],))
    weights = channel_weights(head.weight, labels, num_cells=shape[2] * shape[3], positive=positive)
    expected = reference.grad_cam(features, head, labels.tolist(), positive=positive)
    np.testing.assert_allclose(attention_map(features, weights).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_map_of_any_class_is_the_mean_of_the_maps_of_all() -> None:
    features, classifier = torch.rand(2, 6, 3, 4), torch.randn(5, 6)
    each = [
        attention_map(features, channel_weights(classifier, torch.full((2,), label), num_cells=12, positive=True))
        for label in range(5)
    ]
    weights = uniform_weights(classifier, batch_size=2, num_cells=12)
    torch.testing.assert_close(attention_map(features, weights), sum(each) / 5)


def test_the_evidence_of_all_cells_is_the_logit_less_its_bias() -> None:
    head, features = nn.Linear(6, 5), torch.randn(4, 6, 3, 2)
    labels = torch.tensor([0, 4, 2, 2])
    evidence = class_evidence(features, channel_weights(head.weight, labels, num_cells=6))
    logits = head(features.mean((2, 3))).gather(1, labels.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(evidence.sum((1, 2)), logits - head.bias[labels])


def test_evidence_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 1.0]]]])
    classifier = torch.tensor([[0.0, 0.0], [2.0, -1.0]])
    weights = channel_weights(classifier, torch.tensor([1]), num_cells=2)
    assert class_evidence(features, weights).tolist() == [[[-0.5, 1.5]]]


def test_an_enlarged_map_is_that_of_the_naive_loop() -> None:
    maps = torch.rand(2, 3, 3)
    for cells, large in zip(maps, enlarge(maps, side=12), strict=True):
        expected = reference.enlarge(cells.double().numpy(), size=(12, 12))
        np.testing.assert_allclose(large, expected, atol=1e-6)


def test_an_enlarged_map_lies_where_its_cells_looked() -> None:
    maps = torch.rand(2, 4, 4)
    plain, moved = enlarge(maps, side=32), enlarge(maps, side=32, offset=5.0)
    torch.testing.assert_close(moved[:, 5:, 5:], plain[:, :-5, :-5])
    torch.testing.assert_close(moved[:, :, :5], moved[:, :, :1].expand(-1, -1, 5))  # what lies beyond goes on


def test_an_attention_map_is_float32_and_the_same_under_autocast() -> None:
    features, weights = torch.randn(2, 16, 3, 3), torch.randn(2, 16)
    expected = attention_map(features, weights)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = attention_map(features, weights)
    assert maps.dtype == torch.float32
    assert torch.equal(maps, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_by_belief_are_float32_and_the_same_under_autocast(dtype: torch.dtype) -> None:
    classifier, probs = 1e-3 * torch.randn(5, 16), torch.randn(2, 5).softmax(1)
    expected = expected_weights(classifier, probs, num_cells=784)
    with torch.autocast("cpu", dtype=dtype):
        weights = expected_weights(classifier, probs, num_cells=784)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, expected)


def test_an_attention_map_of_bfloat16_features_is_summed_in_float32() -> None:
    features, weights = torch.randn(2, 256, 3, 3).bfloat16(), torch.randn(2, 256).bfloat16()
    maps = attention_map(features, weights)
    assert maps.dtype == torch.float32
    assert torch.equal(maps, attention_map(features.float(), weights.float()))


def test_the_memory_layout_of_features_does_not_matter() -> None:
    features, weights = torch.randn(2, 8, 3, 5), torch.randn(2, 8)
    turned = features.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(attention_map(turned, weights), attention_map(features, weights))


# -------------------------------------------------------------------------------------------------------------- scaling
def test_scaling_runs_from_0_to_1() -> None:
    assert scale_to_unit(torch.tensor([[[3.0, 5.0, 7.0]]])).tolist() == [[[0.0, 0.5, 1.0]]]


@pytest.mark.parametrize("magnitude", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_scaling_reaches_0_and_1_whatever_the_magnitude(magnitude: float) -> None:
    scaled = scale_to_unit(torch.rand(5, 4, 6) * magnitude)
    assert scaled.amin((1, 2)).tolist() == [0.0] * 5
    assert scaled.amax((1, 2)).tolist() == [1.0] * 5


@pytest.mark.parametrize("value", [0.0, -2.0, 1e-20, 3e8])
def test_scaling_makes_a_map_without_contrast_0(value: float) -> None:
    assert scale_to_unit(torch.full((2, 3, 3), value)).tolist() == torch.zeros(2, 3, 3).tolist()


def test_each_map_is_scaled_by_itself() -> None:
    maps = torch.stack([torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 100.0]]), torch.tensor([[7.0, 7.0]])])
    assert scale_to_unit(maps).tolist() == [[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, 0.0]]]


#  boxes
@pytest.mark.parametrize(
    ("threshold", "expected"),
    # One lit corner of 2 x 2 cells, enlarged to 4 x 4: 1, 0.75, 0.25, 0 along each axis, multiplied with each other.
    [(0.0, [0, 0, 4, 4]), (0.1, [0, 0, 3, 3]), (0.5, [0, 0, 2, 2]), (0.75, [0, 0, 2, 2]), (0.8, [0, 0, 1, 1])],
)
def test_a_box_holds_every_pixel_that_counts_and_ends_behind_the_last(threshold: float, expected: list[int]) -> None:
    boxes = threshold_boxes(peak_at(0, 0, height=2, width=2)[None], size=(4, 4), threshold=threshold)
    assert boxes.tolist() == [expected]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    # The same with aligned corners: 1, 2/3, 1/3, 0. The last row and column fall away, and what is empty is the whole.
    [(0.0, [0, 0, 3, 3]), (0.3, [0, 0, 2, 2]), (0.6, [0, 0, 1, 1]), (0.8, [0, 0, 4, 4])],
)
def test_the_authors_box_leaves_the_last_row_and_column_out(threshold: float, expected: list[int]) -> None:
    maps = peak_at(0, 0, height=2, width=2)[None]
    boxes = threshold_boxes(maps, size=(4, 4), threshold=threshold, geometry="authors")
    assert boxes.tolist() == [expected]


def test_the_authors_box_without_height_or_without_width_is_the_whole_view() -> None:
    row = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    maps = torch.stack((row, row.T, row + row.T))
    boxes = threshold_boxes(maps, size=(3, 3), threshold=0.4, geometry="authors")
    assert boxes.tolist() == [[0, 0, 3, 3], [0, 0, 3, 3], [0, 0, 2, 2]]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5, 0.9])
def test_boxes_equal_a_loop_over_pixels(threshold: float, geometry: Geometry) -> None:
    maps = torch.rand(6, 3, 5) ** 3
    boxes = threshold_boxes(maps, size=SIZE, threshold=threshold, geometry=geometry)
    expected = [
        reference.attention_box(cells, size=SIZE, threshold=threshold, aligned=geometry == "authors")
        for cells in maps.double().numpy()
    ]
    assert boxes.tolist() == expected
    assert boxes.dtype == torch.float32


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("row", [0, 1, 3])
@pytest.mark.parametrize("column", [0, 2, 3])
def test_a_single_peak_at_any_border_or_corner_is_boxed(row: int, column: int, geometry: Geometry) -> None:
    cells = peak_at(row, column)
    ((x1, y1, x2, y2),) = threshold_boxes(cells[None], size=SIZE, threshold=0.5, geometry=geometry).tolist()
    expected = reference.attention_box(cells.double().numpy(), size=SIZE, threshold=0.5, aligned=geometry == "authors")
    assert [x1, y1, x2, y2] == expected
    assert (x2 - x1, y2 - y1) != (32, 24)
    if geometry == "pixels":
        assert (x1 == 0) == (column == 0)
        assert (y1 == 0) == (row == 0)
        assert (x2 == 32) == (column == 3)
        assert (y2 == 24) == (row == 3)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0, 5e7, torch.inf, torch.nan])
def test_a_map_without_contrast_gives_the_whole_view(value: float, geometry: Geometry) -> None:
    maps = torch.stack([torch.full((4, 4), value), peak_at(1, 1)])
    blank, lit = threshold_boxes(maps, size=SIZE, threshold=0.3, geometry=geometry).tolist()
    assert blank == WHOLE
    assert lit != WHOLE


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_map_of_one_cell_gives_the_whole_view(geometry: Geometry) -> None:
    assert threshold_boxes(torch.ones(1, 1, 1), size=SIZE, threshold=0.3, geometry=geometry).tolist() == [WHOLE]


def test_threshold_1_leaves_the_highest_pixels_alone() -> None:
    cells = torch.tensor([[0.0, 1.0, 0.0]])
    assert threshold_boxes(cells[None], size=(1, 3), threshold=1.0).tolist() == [[1, 0, 2, 1]]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_boxes_lie_in_the_view_and_are_not_empty(geometry: Geometry) -> None:
    for power in (1, 4, 16):
        boxes = threshold_boxes(torch.rand(32, 4, 4) ** power, size=SIZE, threshold=0.4, geometry=geometry)
        assert bool((boxes[:, :2] >= 0).all())
        assert bool((boxes[:, 2:] <= torch.tensor([32, 24])).all())
        assert bool((boxes[:, 2:] > boxes[:, :2]).all())


def test_a_higher_threshold_gives_a_box_inside_that_of_a_lower_one() -> None:
    maps = torch.rand(16, 5, 5)
    previous = threshold_boxes(maps, size=SIZE, threshold=0.0)
    for threshold in (0.2, 0.4, 0.6, 0.8, 1.0):
        boxes = threshold_boxes(maps, size=SIZE, threshold=threshold)
        assert bool((boxes[:, :2] >= previous[:, :2]).all())
        assert bool((boxes[:, 2:] <= previous[:, 2:]).all())
        previous = boxes


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_neither_scale_nor_order_nor_neighbors_in_the_batch_change_a_box(geometry: Geometry) -> None:
    maps = torch.rand(6, 4, 4) ** 4
    boxes = threshold_boxes(maps, size=SIZE, threshold=0.5, geometry=geometry)
    order = torch.randperm(6)
    assert torch.equal(threshold_boxes(maps[order] * 128, size=SIZE, threshold=0.5, geometry=geometry), boxes[order])
    alone = [threshold_boxes(cells[None], size=SIZE, threshold=0.5, geometry=geometry) for cells in maps]
    assert torch.equal(torch.cat(alone), boxes)


def test_mirroring_a_map_mirrors_its_box() -> None:
    maps = torch.rand(8, 4, 4) ** 4
    boxes = threshold_boxes(maps, size=SIZE, threshold=0.5)
    mirrored = threshold_boxes(maps.flip(2), size=SIZE, threshold=0.5)
    assert torch.equal(mirrored, torch.stack((32 - boxes[:, 2], boxes[:, 1], 32 - boxes[:, 0], boxes[:, 3]), dim=1))


def test_autocast_does_not_change_boxes() -> None:
    maps = torch.rand(4, 5, 5)
    expected = threshold_boxes(maps, size=SIZE, threshold=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        boxes = threshold_boxes(maps, size=SIZE, threshold=0.5)
    assert boxes.dtype == torch.float32
    assert torch.equal(boxes, expected)


def test_an_offset_moves_the_edges_inside_the_view_and_leaves_those_on_its_border() -> None:
    maps = torch.zeros(3, 4, 4)
    maps[0, 1:3, 1:3] = 1  # in the middle
    maps[1, 0, 0] = 1  # in the corner
    maps[2, 3, 3] = 1  # in the other corner
    still = threshold_boxes(maps, size=(64, 64), threshold=0.99)
    moved = threshold_boxes(maps, size=(64, 64), threshold=0.99, offset=5.0)
    assert torch.equal(moved[0], still[0] + 5)
    assert moved[1].tolist() == [0, 0, *(still[1, 2:] + 5).tolist()]
    assert moved[2].tolist() == [*(still[2, :2] + 5).tolist(), 64, 64]
    for offset in (-100.0, 100.0):
        far = threshold_boxes(maps, size=(64, 64), threshold=0.99, offset=offset)
        assert ((far[:, 2:] - far[:, :2]) >= 1).all()
        assert ((far >= 0) & (far <= 64)).all()


# --------------------------------------------------------------------------------------------------------- spread boxes
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8])
def test_moment_boxes_equal_the_naive_loop(threshold: float) -> None:
    maps = torch.rand(6, 5, 7) ** 3
    boxes = moment_boxes(maps, size=SIZE, threshold=threshold)
    expected = [reference.spread_box(cells, size=SIZE, threshold=threshold) for cells in maps.double().numpy()]
    np.testing.assert_allclose(boxes.numpy(), expected, atol=1e-3)


def test_an_evenly_lit_rectangle_of_cells_is_its_own_spread_box() -> None:
    cells = torch.zeros(6, 8)
    cells[1:3, 2:7] = 5.0
    ((x1, y1, x2, y2),) = moment_boxes(cells[None], size=(24, 32), threshold=0.4).tolist()
    assert (x1, y1, x2, y2) == pytest.approx((8, 4, 28, 12), abs=1e-4)


def test_a_spread_box_stays_inside_the_view_and_moves_with_the_offset() -> None:
    corner, middle = peak_at(0, 0), peak_at(1, 2)
    boxes = moment_boxes(torch.stack((corner, middle)), size=(32, 32), threshold=0.2)
    torch.testing.assert_close(boxes, torch.tensor([[0.0, 0, 8, 8], [16, 8, 24, 16]]))
    moved = moment_boxes(torch.stack((corner, middle)), size=(32, 32), threshold=0.2, offset=3.0)
    torch.testing.assert_close(moved, torch.tensor([[3.0, 3, 11, 11], [19, 11, 27, 19]]))
    far = moment_boxes(torch.stack((corner, middle)), size=(32, 32), threshold=0.2, offset=100.0)
    assert far.tolist() == [[31, 31, 32, 32]] * 2


def test_a_map_without_contrast_gives_the_whole_view_as_spread_box() -> None:
    assert moment_boxes(torch.ones(1, 3, 3), size=SIZE, threshold=0.3, offset=5.0).tolist() == [WHOLE]
    assert moment_boxes(torch.rand(1, 3, 3), size=SIZE, threshold=1.0).tolist() == [WHOLE]


def test_a_small_change_of_the_map_moves_a_spread_box_little_and_an_extent_box_by_cells() -> None:
    cells = peak_at(1, 1)
    cells[3, 3] = 0.52  # enlarged to 32 pixels a cell in the middle keeps 0.88 of its height, one in the corner all
    changed = cells.clone()
    changed[3, 3] = 0.535
    both = torch.stack((cells, changed))
    spread = moment_boxes(both, size=(32, 32), threshold=0.5)
    extent = threshold_boxes(both, size=(32, 32), threshold=0.6)
    assert (spread[0] - spread[1]).abs().max() < 2
    assert (extent[0] - extent[1]).abs().max() > 4
