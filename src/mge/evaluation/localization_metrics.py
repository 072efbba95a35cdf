"""Metrics of weakly supervised localization: IoU, MaxBoxAcc, the pointing game."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def max_box_accuracy(ious: Float[Tensor, "T N"], *, iou_threshold: float = 0.5) -> Float[Tensor, ""]:
    """Return the largest fraction of localized photos over the thresholds that turn maps into boxes.

        MaxBoxAcc = max_t 1/N * sum_n 1[IoU(t, n) >= iou_threshold]

    Args:
        ious: Intersection over union for each of T attention thresholds and N photos.
        iou_threshold: IoU from which a photo is localized.

    Source: MaxBoxAcc (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020), whose
        boxes are those around the largest connected component above the threshold.
    """
    return (ious >= iou_threshold).float().mean(1).amax()


def max_box_accuracy_v2(ious: Float[Tensor, "T N"]) -> Float[Tensor, ""]:
    """Return the mean of `max_box_accuracy` at the IoU thresholds 0.3, 0.5 and 0.7.

        MaxBoxAccV2 = 1/3 * sum_{d in {0.3, 0.5, 0.7}} MaxBoxAcc(d)

    Source: MaxBoxAccV2 (Choe et al., arXiv 2007.04178), whose boxes are the best of those around all connected
        components.
    """
    return torch.stack([max_box_accuracy(ious, iou_threshold=at) for at in (0.3, 0.5, 0.7)]).mean()


def map_peaks(
    maps: Float[Tensor, "N h w"], boxes_xyxy: Float[Tensor, "N 4"], *, offset: float = 0.0
) -> Float[Tensor, "N 2"]:
    """Return the position x, y of each map's maximum, as the centre of that cell in pixels of the image.

        (x, y) = box_start + ((column, row) + 0.5) * box_size / (w, h) + offset * box_size
        with (column, row) = argmax_ij M[i, j]

    An enlarged map has its maximum at the centre of a cell too. But beyond the outermost centres it is constant, so its
    first maximal pixel may lie at the border: hence the cells themselves are compared.

    Args:
        maps: Attention maps M of the image regions inside the boxes, one value per cell.
        boxes_xyxy: Region of the image that each map covers, in pixels.
        offset: Shift of the centre of a cell's receptive field to the right of and below the cell's place in the map,
            as a fraction of the map's side.
    """
    height, width = maps.shape[1:]
    peak = maps.flatten(1).argmax(1)
    cell = torch.stack((peak % width, peak // width), dim=1).to(maps.dtype) + 0.5
    size = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / torch.tensor([width, height], dtype=maps.dtype, device=maps.device)
    return boxes_xyxy[:, :2] + cell * size + offset * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])


def is_inside(
    points_xy: Float[Tensor, "N 2"], boxes_xyxy: Float[Tensor, "N 4"], *, margin: float = 0.0
) -> Bool[Tensor, " N"]:
    """Test if each point lies inside the box of its row or within a margin of it: a hit of the pointing game.

        hit = distance(point, box) <= margin

    Args:
        points_xy: The points.
        boxes_xyxy: The boxes, end-exclusive.
        margin: Tolerated distance in pixels from the box. The source tolerates 15.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.
    """
    before, behind = boxes_xyxy[:, :2] - points_xy, points_xy - boxes_xyxy[:, 2:]
    is_near = torch.maximum(before, behind).clamp_min(0).norm(dim=1) <= margin
    is_hit: Tensor = ((before <= 0) & (behind < 0)).all(1) | (is_near & (margin > 0))
    return is_hit
