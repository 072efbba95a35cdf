"""Photos to the tensors that networks see."""

import random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import adjust_brightness, adjust_contrast, adjust_saturation

from mge.config import DataConfig
from mge.data.augmentation import erase, randaugment, resized_crop
from mge.data.preprocess import MAX_SCALED_ASPECT, CropGeometry, middle_view, resize, scaled_size


def resize_quickly(photo: Image.Image, *, side: int, config: DataConfig) -> Tensor:
    """What `resize` gives, in half the time, for training.

    A value in some hundreds is off by 1 out of 255, where torch rounds otherwise than Pillow. Evaluation and answers
    keep to Pillow, which computes the same on every machine.

    Returns:
        uint8 (3, height, width), with channels last in memory, as Pillow has them and as resizing is quickest.
    """
    width, height = scaled_size(photo.size, side=side, config=config)
    if max(width, height) > MAX_SCALED_ASPECT * min(width, height):
        photo = resize(photo, side=side, config=config)
        width, height = photo.size
    pixels = torch.from_numpy(np.array(photo, dtype=np.uint8)).permute(2, 0, 1)
    if (width, height) != photo.size:
        mode = "bicubic" if config.interpolation == "bicubic" else "bilinear"
        pixels = functional.interpolate(pixels[None], (height, width), mode=mode, antialias=True)[0]
    return pixels


def eval_view(photo: Image.Image, *, side: int, config: DataConfig) -> tuple[Tensor, CropGeometry]:
    """The picture that evaluation uses, as `middle_view` makes it, and how it lies in the photo."""
    pixels, geometry = middle_view(photo, side=side, config=config)
    return torch.from_numpy(pixels), geometry


def train_view(resized: Tensor, *, side: int, config: DataConfig, seed: int) -> Tensor:
    """A random crop, flip and whatever other changes the options ask for: a pure function of its arguments.

    Args:
        resized: uint8 (3, height, width), from `resize_quickly`.
        side: Side of the view in pixels.
        config: Which changes.
        seed: Decides them; the global random state is neither read nor changed.
    """
    rng = random.Random(seed)
    if config.resized_crop:
        view = resized_crop(resized, side=side, smallest=config.resized_crop, rng=rng)
    else:
        top, left = rng.randint(0, resized.shape[1] - side), rng.randint(0, resized.shape[2] - side)
        view = resized[:, top : top + side, left : left + side]
    view = view.contiguous()  # what follows is quickest with channels first
    if config.flip and rng.random() < 0.5:
        view = view.flip(2)
    if config.randaugment:
        view = randaugment(view, magnitude=config.randaugment, rng=rng)
    if config.jitter:
        for change in (adjust_brightness, adjust_contrast, adjust_saturation):
            view = change(view, rng.uniform(1 - config.jitter, 1 + config.jitter))
    if config.erasing and rng.random() < config.erasing:
        view = erase(view, rng=rng)
    return view
