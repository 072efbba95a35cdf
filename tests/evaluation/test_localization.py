"""What was found against true boxes: hand-worked examples, and a naive flood fill."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mge.data.records import Record
from mge.evaluation.connected import threshold_ious
from mge.evaluation.localization import Known, LocatedPhoto, measure_localization
from tests import reference


# ------------------------------------------------------------------------------------------------------ connected parts
def test_the_largest_and_the_best_part_by_hand() -> None:
    # Above 0.5 a part of 2 x 2 pixels and one of 1 x 3; the thing is the second one. Above 0.8 only the second is left.
    score_map = np.zeros((4, 8), np.float32)
    score_map[0:2, 0:2] = 0.7
    score_map[1, 4:7] = 0.9
    ious = threshold_ious(score_map, np.array([4.0, 1.0, 7.0, 2.0]), np.array([0.5, 0.8, 0.95]))
    assert ious.largest.tolist() == [0.0, 1.0, 0.0]
    assert ious.best.tolist() == [1.0, 1.0, 0.0]


def test_parts_that_touch_at_a_corner_are_one() -> None:
    score_map = np.eye(4, dtype=np.float32)
    ious = threshold_ious(score_map, np.array([0.0, 0.0, 4.0, 4.0]), np.array([0.5]))
    assert ious.largest.tolist() == [1.0]


def test_a_true_box_may_reach_beyond_the_map() -> None:
    ious = threshold_ious(np.ones((2, 2), np.float32), np.array([-2.0, 0.0, 2.0, 2.0]), np.array([0.0]))
    assert ious.largest.tolist() == [0.5]


def test_every_threshold_equals_a_flood_fill() -> None:
    rng = np.random.default_rng(3)
    thresholds = np.array([0.0, 0.3, 0.5, 0.7, 0.9, 1.1])
    for _ in range(6):
        score_map, truth = rng.random((6, 9)).astype(np.float32), [2, 1, 7, 5]
        ious = threshold_ious(score_map, np.array(truth, float), thresholds)
        for number, threshold in enumerate(thresholds):
            parts = reference.connected_parts(score_map >= threshold)
            fits = [(len(part), reference.box_iou(reference.box_around(part), truth)) for part in parts]
            assert ious.best[number] == pytest.approx(max([fit for _, fit in fits], default=0.0))
            most = max([size for size, _ in fits], default=0)
            assert any(ious.largest[number] == pytest.approx(fit) for size, fit in fits or [(0, 0.0)] if size == most)


# -------------------------------------------------------------------------------------------------------------- figures
def located(
    *, is_right: bool, iou: float, class_iou: float, largest: list[float], is_hit: bool, is_near: bool = True
) -> LocatedPhoto:
    """A photo to which one expert looked; its map was cut at three thresholds."""
    ious = torch.tensor([largest], dtype=torch.float64)
    known = Known(
        torch.tensor([iou]),
        torch.tensor([class_iou]),
        ious,
        ious + 0.2,
        ious - 0.1,
        torch.tensor([is_hit]),
        torch.tensor([is_near]),
        0.6,
        is_hit,
        is_near,
    )
    box = torch.zeros(1, 4)
    label = "a" if is_right else "b"
    return LocatedPhoto(Record(Path("x"), "a", "test", (0, 0, 1, 1)), (9, 9), label, 0.5, box, box, known)


def test_the_figures_by_hand() -> None:
    photos = [
        located(is_right=True, iou=0.9, class_iou=0.9, largest=[0.2, 0.6, 0.1], is_hit=True),
        located(is_right=True, iou=0.4, class_iou=0.5, largest=[0.1, 0.5, 0.6], is_hit=True),
        located(is_right=False, iou=0.8, class_iou=0.3, largest=[0.0, 0.1, 0.4], is_hit=False),
        located(is_right=True, iou=0.5, class_iou=0.1, largest=[0.0, 0.0, 0.0], is_hit=True),
    ]
    figures = measure_localization(photos)
    assert figures["num_with_box"] == 4
    assert figures["whole"] == {"gt_known": 100.0, "pointing_game": 75.0, "pointing_game_15px": 100.0}
    (expert,) = figures["experts"]
    assert expert["top1_localisation"] == 50.0  # the first and the last: right, and found by itself
    assert expert["gt_known"] == 50.0  # the first two
    assert expert["mean_iou"] == pytest.approx(45.0)
    assert expert["max_box_acc"] == 50.0  # the second threshold finds two of four
    assert expert["best_threshold"] == 0.01  # thresholds are 0, 0.01, 0.02, …
    # V2's boxes fit 0.2 better: 0.4 0.8 0.3 | 0.3 0.7 0.8 | 0.2 0.3 0.6 | 0.2 0.2 0.2.
    # From 0.3 the second threshold and the third find three, from 0.5 the second and the third two, from 0.7 two.
    assert expert["max_box_acc_v2"] == pytest.approx((75.0 + 50.0 + 50.0) / 3, abs=0.01)
    assert expert["max_box_acc_of_any"] == 25.0  # with 0.1 less, the second and the third threshold find one each
    assert expert["pointing_game"] == 75.0
    assert expert["pointing_game_15px"] == 100.0


def test_nothing_is_measured_without_true_boxes() -> None:
    plain = located(is_right=True, iou=0.9, class_iou=0.9, largest=[0.2], is_hit=True)._replace(known=None)
    assert measure_localization([plain]) == {"num_with_box": 0}
