"""From a box to a zoomed picture, for the whole batch at once."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Geometry = Literal["pixels", "authors"]
Sampling = Literal["grid", "matrices"]


def whole_boxes(images: Float[Tensor, "B D H W"]) -> Float[Tensor, "B 4"]:
    """One box a picture that holds all of it."""
    height, width = images.shape[2:]
    return torch.tensor([[0.0, 0.0, width, height]], device=images.device).expand(images.shape[0], 4)


def compose_boxes(
    outer: Float[Tensor, "B 4"], inner: Float[Tensor, "B 4"], *, size: tuple[int, int]
) -> Float[Tensor, "B 4"]:
    """A box inside a zoomed view, in pixels of the picture that the view was cut out of.

    Args:
        outer: The boxes that the views show, in pixels of the picture.
        inner: Boxes in pixels of the views.
        size: Height and width of the views in pixels.
    """
    height, width = size
    corner = torch.cat((outer[:, :2], outer[:, :2]), dim=1)
    extent = outer[:, 2:] - outer[:, :2]
    pixel = extent / torch.tensor([width, height], dtype=outer.dtype, device=outer.device)
    return corner + inner * torch.cat((pixel, pixel), dim=1)


def box_iou(boxes_xyxy: Float[Tensor, "N 4"], true_boxes_xyxy: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Intersection over union of each box with the true box of the same row; end-exclusive pixels."""
    top_left = torch.maximum(boxes_xyxy[:, :2], true_boxes_xyxy[:, :2])
    bottom_right = torch.minimum(boxes_xyxy[:, 2:], true_boxes_xyxy[:, 2:])
    overlap = (bottom_right - top_left).clamp_min(0).prod(1)
    union = _area(boxes_xyxy) + _area(true_boxes_xyxy) - overlap
    return torch.where(union > 0, overlap / union.clamp_min(torch.finfo(union.dtype).tiny), torch.zeros_like(union))


def zoom(
    images: Float[Tensor, "B D H W"],
    boxes_xyxy: Float[Tensor, "B 4"],
    *,
    size: tuple[int, int],
    geometry: Geometry = "pixels",
    supersample: int = 1,
    sampling: Sampling = "grid",
) -> Float[Tensor, "B D h w"]:
    """The part of each picture inside its box, resized to one size.

    Args:
        images: Pictures, all of one size.
        boxes_xyxy: One box a picture, in its pixels, end-exclusive.
        size: Height and width of the result in pixels.
        geometry: `pixels`: a pixel is an area, so the box's edges become the view's edges. `authors`: the centres of
            the box's corner pixels become the centres of the view's corner pixels (`align_corners=True`).
        supersample: Points taken along each axis for a pixel of the result, and averaged. At least the largest factor
            by which a box is reduced, so that nothing between the points is lost; 1 where boxes are only enlarged.
        sampling: `grid` looks each point up; `matrices` gives the same but for rounding by one product over rows and
            one over columns, which runtimes other than torch do several times faster.

    Returns:
        The views in float32, whatever autocast says: bfloat16 coordinates are not fine enough.

    Source: section 3.1 of the paper.
    """
    height, width = size[0] * supersample, size[1] * supersample
    boxes = boxes_xyxy.float()
    x = _positions(boxes[:, 0], boxes[:, 2], count=width, geometry=geometry)
    y = _positions(boxes[:, 1], boxes[:, 3], count=height, geometry=geometry)
    with torch.autocast(images.device.type, enabled=False):
        if sampling == "matrices":
            rows = _shares(y, length=images.shape[2], supersample=supersample)
            columns = _shares(x, length=images.shape[3], supersample=supersample)
            return rows.unsqueeze(1) @ images.float() @ columns.unsqueeze(1).mT
        x, y = x * (2 / images.shape[3]) - 1, y * (2 / images.shape[2]) - 1
        grid = torch.stack((x.unsqueeze(1).expand(-1, height, -1), y.unsqueeze(2).expand(-1, -1, width)), dim=3)
        views = functional.grid_sample(
            images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return functional.avg_pool2d(views, supersample) if supersample > 1 else views


def _positions(start: Tensor, end: Tensor, *, count: int, geometry: Geometry) -> Tensor:
    """`count` points a picture between its box's edges; pixel i of the picture has its centre at i + 0.5."""
    steps = torch.arange(count, dtype=start.dtype, device=start.device)
    if geometry == "authors":
        return start[:, None] + 0.5 + steps * ((end - 1 - start)[:, None] / max(count - 1, 1))
    return start[:, None] + (steps + 0.5) * ((end - start)[:, None] / count)


def _shares(positions: Float[Tensor, "B n"], *, length: int, supersample: int) -> Float[Tensor, "B m N"]:
    """How much each of `length` pixels in a line counts for each point: the nearer of two the more, together 1.

    Each `supersample` points that follow one another are averaged.
    """
    centers = (positions - 0.5).clamp(0, length - 1).unsqueeze(2)
    shares = (1 - (centers - torch.arange(length, dtype=centers.dtype, device=centers.device)).abs()).clamp_min(0)
    return shares if supersample == 1 else shares.unflatten(1, (-1, supersample)).mean(2)


def _area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp_min(0).prod(1)
