"""Photos to square pictures of one size, and the way back."""

import random
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, adjust_saturation

from mge.config import DataConfig
from mge.data.augmentation import erase, randaugment, resized_crop

MAX_SCALED_ASPECT = 4  # what is longer is cut at both ends


class CropGeometry(NamedTuple):
    """How a crop lies in its photo: photo pixel = (crop pixel + offset) * scale."""

    scale_x: float
    scale_y: float
    left: int
    top: int

    def to_photo(self, boxes_xyxy: Tensor) -> Tensor:
        """Boxes (..., 4) in pixels of the crop, in pixels of the photo."""
        offset = torch.tensor([self.left, self.top, self.left, self.top], dtype=boxes_xyxy.dtype)
        scale = torch.tensor([self.scale_x, self.scale_y, self.scale_x, self.scale_y], dtype=boxes_xyxy.dtype)
        return (boxes_xyxy + offset) * scale

    def to_crop(self, boxes_xyxy: Tensor) -> Tensor:
        """Boxes (..., 4) in pixels of the photo, in pixels of the crop."""
        offset = torch.tensor([self.left, self.top, self.left, self.top], dtype=boxes_xyxy.dtype)
        scale = torch.tensor([self.scale_x, self.scale_y, self.scale_x, self.scale_y], dtype=boxes_xyxy.dtype)
        return boxes_xyxy / scale - offset


def scaled_size(size: tuple[int, int], *, side: int, config: DataConfig) -> tuple[int, int]:
    """Width and height of a whole photo, scaled so that a crop of `side` is the configured fraction of it.

    Source: section 4.1 of the paper: resized to 512, cropped to 448.
    """
    target = shorter_side(side, config=config)
    if config.resize == "squash":
        return target, target
    width, height = size
    factor = target / min(width, height)
    return max(target, round(width * factor)), max(target, round(height * factor))


def resize(photo: Image.Image, *, side: int, config: DataConfig) -> Image.Image:
    """A photo scaled as `scaled_size` says; of one that is very thin, the middle only.

    The middle is what evaluation looks at. Whole, a photo of 50 to 1 would take as much memory as 40 others.
    """
    whole = scaled_size(photo.size, side=side, config=config)
    longest = MAX_SCALED_ASPECT * min(whole)
    # As many pixels are left out on either side, so that the middle stays the middle.
    margins = [max(0, length - longest + 1) // 2 for length in whole]
    if not any(margins):
        return photo if whole == photo.size else photo.resize(whole, Image.Resampling.BILINEAR)
    x, y = (margin * length / scaled for margin, length, scaled in zip(margins, photo.size, whole, strict=True))
    kept = (whole[0] - 2 * margins[0], whole[1] - 2 * margins[1])
    return photo.resize(kept, Image.Resampling.BILINEAR, box=(x, y, photo.width - x, photo.height - y))


def crop_geometry(size: tuple[int, int], *, side: int, config: DataConfig) -> CropGeometry:
    """How the middle `side` x `side` pixels of a scaled photo lie in the photo.

    Args:
        size: Width and height of the photo.
        side: Side of the crop in pixels.
        config: How photos are scaled.
    """
    width, height = scaled_size(size, side=side, config=config)
    return CropGeometry(size[0] / width, size[1] / height, (width - side) // 2, (height - side) // 2)


def resize_quickly(photo: Image.Image, *, side: int, config: DataConfig) -> Tensor:
    """What `resize` and `to_tensor` give, in half the time, for training.

    A value in some hundreds is off by 1 out of 255, where torch rounds otherwise than Pillow. Evaluation and answers
    keep to Pillow, which computes the same on every machine.

    Returns:
        uint8 (3, height, width), with channels last in memory, as Pillow has them and as resizing is quickest.
    """
    width, height = scaled_size(photo.size, side=side, config=config)
    if max(width, height) > MAX_SCALED_ASPECT * min(width, height):
        return to_tensor(resize(photo, side=side, config=config))
    pixels = torch.from_numpy(np.array(photo, dtype=np.uint8)).permute(2, 0, 1)
    if (width, height) != photo.size:
        pixels = functional.interpolate(pixels[None], (height, width), mode="bilinear", antialias=True)[0]
    return pixels


def shorter_side(side: int, *, config: DataConfig) -> int:
    """The shorter side in pixels of a resized photo whose crop has `side`."""
    return max(side, round(side / config.crop_fraction))


def to_tensor(photo: Image.Image) -> Tensor:
    """An RGB picture as uint8 (3, height, width)."""
    return torch.from_numpy(np.array(photo, dtype=np.uint8)).permute(2, 0, 1).contiguous()


def centre_crop(resized: Tensor, *, side: int) -> tuple[Tensor, int, int]:
    """The middle `side` x `side` pixels, and the crop's left and top."""
    top, left = (resized.shape[1] - side) // 2, (resized.shape[2] - side) // 2
    return resized[:, top : top + side, left : left + side], left, top


def eval_view(photo: Image.Image, *, side: int, config: DataConfig) -> tuple[Tensor, CropGeometry]:
    """The picture that evaluation uses: resized, and its middle cropped.

    Returns:
        uint8 (3, side, side), and how it lies in the photo.
    """
    crop, _, _ = centre_crop(to_tensor(resize(photo, side=side, config=config)), side=side)
    return crop, crop_geometry(photo.size, side=side, config=config)


def train_view(resized: Tensor, *, side: int, config: DataConfig, seed: int) -> Tensor:
    """A random crop, flip and whatever other changes the options ask for: a pure function of its arguments.

    Args:
        resized: uint8 (3, height, width), from `resize_quickly`.
        side: Side of the view in pixels.
        config: Which changes.
        seed: Decides them; the global random state is neither read nor changed.
    """
    dice = random.Random(seed)
    if config.resized_crop:
        view = resized_crop(resized, side=side, smallest=config.resized_crop, dice=dice)
    else:
        top, left = dice.randint(0, resized.shape[1] - side), dice.randint(0, resized.shape[2] - side)
        view = resized[:, top : top + side, left : left + side]
    view = view.contiguous()  # what follows is quickest with channels first
    if config.flip and dice.random() < 0.5:
        view = view.flip(2)
    if config.randaugment:
        view = randaugment(view, magnitude=config.randaugment, dice=dice)
    if config.jitter:
        for change in (adjust_brightness, adjust_contrast, adjust_saturation):
            view = change(view, dice.uniform(1 - config.jitter, 1 + config.jitter))
    if config.erasing and dice.random() < config.erasing:
        view = erase(view, dice=dice)
    return view
