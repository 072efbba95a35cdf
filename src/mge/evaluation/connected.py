"""Boxes around the connected components of score maps, at every threshold at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

THRESHOLDS = np.arange(100) / 100
IN_PLANE = np.zeros((3, 3, 3), bool)  # cells that touch, also at a corner, belong together; thresholds do not
IN_PLANE[1] = True


class ThresholdIous(NamedTuple):
    """IoU of the boxes of one map with the true box, for each threshold; 0 where nothing lies above it."""

    largest: NDArray[np.float64]  # (T,) of the connected part with most pixels
    best: NDArray[np.float64]  # (T,) of the part that fits best


def threshold_ious(
    score_map: NDArray[np.float32], true_box_xyxy: NDArray[np.float64], thresholds: NDArray[np.float64] = THRESHOLDS
) -> ThresholdIous:
    """Compute the intersection over union of a map's boxes with the true one.

    Args:
        score_map: (h, w) in [0, 1].
        true_box_xyxy: The true box in pixels of the map; it may reach beyond it.
        thresholds: (T,) lowest value of a pixel inside a component.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020: MaxBoxAcc takes
    the largest connected component, MaxBoxAccV2 (arXiv 2007.04178) the one that fits best.
    """
    parts, count = ndimage.label(score_map >= thresholds[:, None, None], structure=IN_PLANE)
    result = ThresholdIous(np.zeros(len(thresholds)), np.zeros(len(thresholds)))
    if not count:
        return result
    slices = ndimage.find_objects(parts)
    planes = np.array([plane.start for plane, _, _ in slices])
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for _, y, x in slices], dtype=float)
    ious, areas = _box_ious(boxes, true_box_xyxy), np.bincount(parts.ravel())[1:]
    np.maximum.at(result.best, planes, ious)
    smallest_first = np.argsort(areas, kind="stable")
    result.largest[planes[smallest_first]] = ious[smallest_first]  # the last one written to a threshold stays
    return result


def _box_ious(boxes_xyxy: NDArray[np.float64], true_box_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    sides = np.minimum(boxes_xyxy[:, 2:], true_box_xyxy[2:]) - np.maximum(boxes_xyxy[:, :2], true_box_xyxy[:2])
    overlap = sides.clip(0).prod(1)
    union = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1) + (true_box_xyxy[2:] - true_box_xyxy[:2]).prod() - overlap
    return np.asarray(overlap / union)
