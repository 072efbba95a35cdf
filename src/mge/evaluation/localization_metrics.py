"""How well boxes and maps that were learned without boxes find the thing itself."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def max_box_accuracy(ious: Float[Tensor, "T N"], *, iou_threshold: float = 0.5) -> Float[Tensor, ""]:
    """The largest fraction of photos found, over the thresholds that cut the maps into boxes.

    Args:
        ious: Intersection over union for each of T attention thresholds and N photos.
        iou_threshold: From where on a box counts as found.

    Source: MaxBoxAcc (Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020), whose
    boxes are those around the largest connected part above the threshold.
    """
    return (ious >= iou_threshold).float().mean(1).amax()


def max_box_accuracy_v2(ious: Float[Tensor, "T N"]) -> Float[Tensor, ""]:
    """The mean of `max_box_accuracy` at 0.3, 0.5 and 0.7.

    Source: MaxBoxAccV2 (Choe et al., arXiv 2007.04178), whose boxes are the best of those around all connected parts.
    """
    return torch.stack([max_box_accuracy(ious, iou_threshold=at) for at in (0.3, 0.5, 0.7)]).mean()


def map_peaks(
    maps: Float[Tensor, "N h w"], boxes_xyxy: Float[Tensor, "N 4"], *, offset: float = 0.0
) -> Float[Tensor, "N 2"]:
    """Where each map is highest: the centre x, y of that cell in pixels of the picture.

    A map that is enlarged is highest at the centre of a cell too. But beyond the outermost centres it goes on as it is
    there, so that its first highest pixel may lie at the border: hence the cells themselves are asked.

    Args:
        maps: Attention maps over what the boxes show, one value a cell.
        boxes_xyxy: The part of the picture that each map lies over, in pixels.
        offset: How far right of and below its place in the map what a cell sees lies, as a fraction of the map's side.
    """
    height, width = maps.shape[1:]
    peak = maps.flatten(1).argmax(1)
    cell = torch.stack((peak % width, peak // width), dim=1).to(maps.dtype) + 0.5
    size = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / torch.tensor([width, height], dtype=maps.dtype, device=maps.device)
    return boxes_xyxy[:, :2] + cell * size + offset * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2])


def is_inside(
    points_xy: Float[Tensor, "N 2"], boxes_xyxy: Float[Tensor, "N 4"], *, margin: float = 0.0
) -> Bool[Tensor, " N"]:
    """Whether each point lies in the box of its row, or close to it: a hit of the pointing game.

    Args:
        points_xy: The points.
        boxes_xyxy: The boxes, end-exclusive.
        margin: Distance in pixels from the box that is forgiven. The source forgives 15.

    Source: Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.
    """
    before, behind = boxes_xyxy[:, :2] - points_xy, points_xy - boxes_xyxy[:, 2:]
    is_near = torch.maximum(before, behind).clamp_min(0).norm(dim=1) <= margin
    is_hit: Tensor = ((before <= 0) & (behind < 0)).all(1) | (is_near & (margin > 0))
    return is_hit
