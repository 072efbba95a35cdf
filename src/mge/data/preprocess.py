"""Preprocessing of photos to square images for evaluation and inference, and its inverse. Imports no torch."""

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from PIL import Image

from mge.config import DataConfig

if TYPE_CHECKING:
    from torch import Tensor

MAX_SCALED_ASPECT = 4  # longer photos are cut at both ends

Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Boxes = TypeVar("Boxes", "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", "Tensor")


class CropGeometry(NamedTuple):
    """Geometry of a crop in its photo: photo pixel = (crop pixel + offset) * scale."""

    scale_x: float
    scale_y: float
    left: int
    top: int

    def to_photo(self, boxes_xyxy: Boxes) -> Boxes:
        """Convert boxes (..., 4) from pixels of the crop to pixels of the photo."""
        boxes = boxes_xyxy * 1  # a copy, of NumPy's arrays and of torch's alike
        boxes[..., 0::2] = (boxes_xyxy[..., 0::2] + self.left) * self.scale_x
        boxes[..., 1::2] = (boxes_xyxy[..., 1::2] + self.top) * self.scale_y
        return boxes


def scaled_size(size: tuple[int, int], *, side: int, config: DataConfig) -> tuple[int, int]:
    """Return width and height of a whole photo, scaled so that a crop of `side` is the configured fraction of it.

    Source: section 4.1 of the paper: resized to 512, cropped to 448.
    """
    target = shorter_side(side, config=config)
    if config.resize == "squash":
        return target, target
    width, height = size
    factor = target / min(width, height)
    return max(target, round(width * factor)), max(target, round(height * factor))


def resize(photo: Image.Image, *, side: int, config: DataConfig) -> Image.Image:
    """Resize a photo as `scaled_size` specifies; of a very thin one, keep only the middle.

    The middle is the part that evaluation uses. Whole, a photo of 50 to 1 would take as much memory as 40 others.
    """
    whole = scaled_size(photo.size, side=side, config=config)
    longest = MAX_SCALED_ASPECT * min(whole)
    # The same number of pixels is cut on either side, so that the middle stays the middle.
    margins = [max(0, length - longest + 1) // 2 for length in whole]
    if not any(margins):
        return photo if whole == photo.size else photo.resize(whole, resampling(config))
    x, y = (margin * length / scaled for margin, length, scaled in zip(margins, photo.size, whole, strict=True))
    kept = (whole[0] - 2 * margins[0], whole[1] - 2 * margins[1])
    return photo.resize(kept, resampling(config), box=(x, y, photo.width - x, photo.height - y))


def resampling(config: DataConfig) -> Image.Resampling:
    """Return Pillow's filter for photos; models of older versions without this option use bilinear."""
    return Image.Resampling.BICUBIC if config.interpolation == "bicubic" else Image.Resampling.BILINEAR


def crop_geometry(size: tuple[int, int], *, side: int, config: DataConfig) -> CropGeometry:
    """Return the geometry of the center crop of `side` x `side` pixels of a scaled photo.

    Args:
        size: Width and height of the photo.
        side: Side of the crop in pixels.
        config: Resizing options.
    """
    width, height = scaled_size(size, side=side, config=config)
    return CropGeometry(size[0] / width, size[1] / height, (width - side) // 2, (height - side) // 2)


def shorter_side(side: int, *, config: DataConfig) -> int:
    """Return the shorter side in pixels of a resized photo whose crop has `side`."""
    return max(side, round(side / config.crop_fraction))


def middle_view(photo: Image.Image, *, side: int, config: DataConfig) -> tuple[Pixels, CropGeometry]:
    """Resize a photo and crop its center, for evaluation.

    Returns:
        uint8 (3, side, side), and its geometry in the photo.
    """
    resized = resize(photo, side=side, config=config)
    left, top = (resized.width - side) // 2, (resized.height - side) // 2
    crop = resized.crop((left, top, left + side, top + side))
    return np.array(crop, dtype=np.uint8).transpose(2, 0, 1).copy(), crop_geometry(photo.size, side=side, config=config)
