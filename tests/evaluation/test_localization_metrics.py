"""Localisation measures: hand-worked values, the naive loops, and what must hold for any boxes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mge.core.crop import box_iou
from mge.evaluation.localization_metrics import is_inside, map_peaks, max_box_accuracy, max_box_accuracy_v2
from tests import reference


def random_boxes(count: int) -> Tensor:
    """Boxes with whole numbers inside 20 x 20 pixels, some of them empty."""
    corners = torch.randint(21, (count, 2, 2)).sort(1).values
    return corners.flatten(1).float()


#  IoU
@pytest.mark.parametrize(
    ("box", "true_box", "expected"),
    [
        ([0, 0, 4, 4], [0, 0, 4, 4], 1.0),
        ([0, 0, 4, 4], [2, 0, 6, 4], 1 / 3),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4),
        ([0, 0, 4, 4], [4, 0, 8, 4], 0.0),  # end-exclusive: they touch and share no pixel
        ([0, 0, 4, 4], [6, 6, 8, 8], 0.0),
        ([3, 3, 3, 3], [3, 3, 3, 3], 0.0),
        ([5, 5, 3, 3], [0, 0, 4, 4], 0.0),
    ],
)
def test_iou_by_hand(box: list[float], true_box: list[float], expected: float) -> None:
    iou = box_iou(torch.tensor([box], dtype=torch.float32), torch.tensor([true_box], dtype=torch.float32))
    assert iou.tolist() == pytest.approx([expected])


def test_iou_equals_counting_pixels() -> None:
    boxes, true_boxes = random_boxes(60), random_boxes(60)
    expected = [
        reference.box_iou([int(v) for v in a], [int(v) for v in b])
        for a, b in zip(boxes.tolist(), true_boxes.tolist(), strict=True)
    ]
    assert sum(iou > 0 for iou in expected) > 10
    np.testing.assert_allclose(box_iou(boxes, true_boxes), expected, rtol=1e-6)


def test_iou_is_symmetric_and_does_not_depend_on_place_or_scale() -> None:
    boxes, true_boxes = random_boxes(40), random_boxes(40)
    ious = box_iou(boxes, true_boxes)
    assert bool(((ious >= 0) & (ious <= 1)).all())
    torch.testing.assert_close(box_iou(true_boxes, boxes), ious)
    torch.testing.assert_close(box_iou(3 * boxes + 7, 3 * true_boxes + 7), ious)


# ------------------------------------------------------------------------------------------------------------ MaxBoxAcc
def test_max_box_accuracy_is_that_of_the_best_threshold_for_all_photos() -> None:
    ious = torch.tensor([[0.5, 0.2, 0.9, 0.1], [0.9, 0.1, 0.1, 0.1]])
    assert float(max_box_accuracy(ious)) == 0.5
    assert float(max_box_accuracy(ious, iou_threshold=0.6)) == 0.25
    assert float(max_box_accuracy(ious, iou_threshold=0.95)) == 0.0


def test_max_box_accuracy_equals_the_naive_one() -> None:
    ious = torch.rand(7, 11)
    for threshold in (0.1, 0.5, 0.8):
        expected = reference.max_box_accuracy(ious.double().numpy(), iou_threshold=threshold)
        assert float(max_box_accuracy(ious, iou_threshold=threshold)) == pytest.approx(expected)


def test_max_box_accuracy_v2_is_the_mean_over_three_iou_thresholds() -> None:
    # At 0.3 all four photos are found, at 0.5 three, at 0.7 one, each with its own best threshold of the maps.
    ious = torch.tensor([[0.3, 0.4, 0.45, 0.35], [0.6, 0.6, 0.6, 0.1], [0.1, 0.1, 0.1, 0.8]])
    assert float(max_box_accuracy_v2(ious)) == pytest.approx((1.0 + 0.75 + 0.25) / 3)


# -------------------------------------------------------------------------------------------------------- pointing game
def test_a_peak_is_the_center_of_the_highest_cell() -> None:
    maps = torch.tensor([[[0.0, 0.2], [0.9, 0.1]]])
    assert map_peaks(maps, torch.tensor([[10.0, 20.0, 30.0, 60.0]])).tolist() == [[15.0, 50.0]]


def test_a_peak_lies_where_its_cell_looks() -> None:
    maps = torch.tensor([[[0.0, 0.2], [0.9, 0.1]]])
    box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])
    assert map_peaks(maps, box, offset=0.125).tolist() == [[17.5, 55.0]]  # an eighth of 20 and of 40 further


def test_peaks_equal_the_naive_ones() -> None:
    maps = torch.rand(8, 3, 5)
    boxes = torch.cat((torch.rand(8, 2) * 50, 60 + torch.rand(8, 2) * 50), dim=1)
    expected = [
        reference.map_peak(cells, box) for cells, box in zip(maps.double().numpy(), boxes.tolist(), strict=True)
    ]
    np.testing.assert_allclose(map_peaks(maps, boxes), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((2.0, 3.0), True),  # its first pixel's corner
        ((5.9, 6.9), True),
        ((6.0, 5.0), False),  # end-exclusive
        ((5.0, 7.0), False),
        ((1.9, 5.0), False),
        ((5.0, 2.9), False),
    ],
)
def test_a_point_is_inside_a_box_whose_end_does_not_belong_to_it(point: tuple[float, float], expected: bool) -> None:
    assert is_inside(torch.tensor([point]), torch.tensor([[2.0, 3.0, 6.0, 7.0]])).tolist() == [expected]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((4.0, 5.0), True),  # inside
        ((-3.0, 5.0), True),  # 5 left of it
        ((-3.1, 5.0), False),
        ((4.0, 12.0), True),  # 5 below it
        ((9.0, 11.0), True),  # 3 right of its corner and 4 below
        ((9.5, 11.0), False),
    ],
)
def test_a_margin_forgives_points_that_are_no_farther_off(point: tuple[float, float], expected: bool) -> None:
    assert is_inside(torch.tensor([point]), torch.tensor([[2.0, 3.0, 6.0, 7.0]]), margin=5).tolist() == [expected]


def test_each_point_is_asked_about_the_box_of_its_row() -> None:
    points, boxes = torch.tensor([[1.0, 1.0], [9.0, 9.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0], [8.0, 8.0, 10.0, 10.0]])
    assert is_inside(points, boxes).tolist() == [True, True]
    assert is_inside(points, boxes.flip(0)).tolist() == [False, False]
