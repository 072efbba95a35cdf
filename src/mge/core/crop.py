"""Batched cropping and resizing of boxes."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Geometry = Literal["pixels", "authors"]
Sampling = Literal["grid", "matrices"]


def whole_boxes(images: Float[Tensor, "B D H W"]) -> Float[Tensor, "B 4"]:
    """Return one box per image that covers all of it."""
    height, width = images.shape[2:]
    return torch.tensor([[0.0, 0.0, width, height]], device=images.device).expand(images.shape[0], 4)


def compose_boxes(
    outer: Float[Tensor, "B 4"], inner: Float[Tensor, "B 4"], *, size: tuple[int, int]
) -> Float[Tensor, "B 4"]:
    """Convert boxes in a zoomed view to pixels of the image from which the view was cropped.

        x = outer_x1 + inner_x * (outer_x2 - outer_x1) / view_width, and y alike

    Args:
        outer: Boxes that the views show, in pixels of the image.
        inner: Boxes in pixels of the views.
        size: Height and width of the views in pixels.
    """
    height, width = size
    corner = torch.cat((outer[:, :2], outer[:, :2]), dim=1)
    extent = outer[:, 2:] - outer[:, :2]
    pixel = extent / torch.tensor([width, height], dtype=outer.dtype, device=outer.device)
    return corner + inner * torch.cat((pixel, pixel), dim=1)


def box_iou(boxes_xyxy: Float[Tensor, "N 4"], true_boxes_xyxy: Float[Tensor, "N 4"]) -> Float[Tensor, " N"]:
    """Compute the intersection over union of the boxes row by row; pixels are end-exclusive.

    IoU = |box & true| / |box | true|, and 0 where both are empty
    """
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
    """Crop the box of each image and resize it bilinearly to one size.

        view[v, u] = image[y1 + (v + 0.5) * (y2 - y1) / h, x1 + (u + 0.5) * (x2 - x1) / w]    (geometry `pixels`)

    Args:
        images: Images, all of one size.
        boxes_xyxy: One box per image, in its pixels, end-exclusive.
        size: Height h and width w of the result in pixels.
        geometry: `pixels`: a pixel is an area, so the box's edges become the view's edges. `authors`: the centres of
            the box's corner pixels become the centres of the view's corner pixels (`align_corners=True`).
        supersample: Points sampled along each axis per pixel of the result, and averaged. At least the largest factor
            by which a box is reduced, to avoid aliasing; 1 where boxes are only enlarged.
        sampling: `grid` samples each point with `grid_sample`; `matrices` gives the same up to rounding by one matrix
            product over rows and one over columns, which runtimes other than torch do several times faster.

    Returns:
        The views in float32 even under autocast: bfloat16 coordinates are not precise enough.

    Source: the paper's crop and enlarge, section 3.1.
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
    """Return `count` points per image between its box's edges; pixel i of the image has its centre at i + 0.5."""
    steps = torch.arange(count, dtype=start.dtype, device=start.device)
    if geometry == "authors":
        return start[:, None] + 0.5 + steps * ((end - 1 - start)[:, None] / max(count - 1, 1))
    return start[:, None] + (steps + 0.5) * ((end - start)[:, None] / count)


def _shares(positions: Float[Tensor, "B n"], *, length: int, supersample: int) -> Float[Tensor, "B m N"]:
    """Return the bilinear interpolation weights of `length` pixels for each point; they sum to 1.

        weight[n, i] = max(0, 1 - |position_n - 0.5 - i|)

    Each `supersample` consecutive points are averaged.
    """
    centers = (positions - 0.5).clamp(0, length - 1).unsqueeze(2)
    shares = (1 - (centers - torch.arange(length, dtype=centers.dtype, device=centers.device)).abs()).clamp_min(0)
    return shares if supersample == 1 else shares.unflatten(1, (-1, supersample)).mean(2)


def _area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp_min(0).prod(1)
