"""Transforms of photos to input tensors of networks."""

import functools
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from mge.config import DataConfig
from mge.data.preprocess import MAX_SCALED_ASPECT, CropGeometry, middle_view, resize, scaled_size


def resize_quickly(photo: Image.Image, *, side: int, config: DataConfig) -> Tensor:
    """Resize for training, in half the time of `resize`.

    A value in some hundreds differs by 1 out of 255, where torch rounds differently from Pillow. Evaluation and
    inference use Pillow, which computes the same on every machine.

    Returns:
        uint8 (3, height, width), with channels last in memory, as Pillow has them and as resizing is fastest.
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
    """Return the view for evaluation, as `middle_view` makes it, with its geometry in the photo."""
    pixels, geometry = middle_view(photo, side=side, config=config)
    return torch.from_numpy(pixels), geometry


def train_view(resized: Tensor, *, side: int, config: DataConfig, seed: int) -> Tensor:
    """Apply a random crop, flip and the configured augmentations, as a pure function of the arguments.

    Args:
        resized: uint8 (3, height, width), from `resize_quickly`.
        side: Side of the view in pixels.
        config: Augmentation options.
        seed: Seed of the augmentations; the global random state is neither read nor changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' generators too
        crop, *changes = random_changes(config, side=side)
        view: Tensor = crop(resized).contiguous()  # what follows is quickest with channels first
        for change in changes:
            view = change(view)
    return view


@functools.cache
def random_changes(config: DataConfig, *, side: int) -> list[v2.Transform]:
    """Return torchvision's transforms for the options, the crop first; they draw from the global random state."""
    crop = v2.RandomResizedCrop(side, scale=(config.resized_crop, 1)) if config.resized_crop else v2.RandomCrop(side)
    changes = [crop]
    if config.flip:
        changes.append(v2.RandomHorizontalFlip())
    if config.randaugment:
        changes.append(v2.RandAugment(magnitude=config.randaugment, interpolation=v2.InterpolationMode.BILINEAR))
    if config.jitter:
        changes.append(v2.ColorJitter(config.jitter, config.jitter, config.jitter))
    if config.erasing:
        changes.append(RandomNoise(p=config.erasing))
    return changes


class RandomNoise(v2.RandomErasing):  # type: ignore[misc]  # torchvision has no types
    """Random erasing with uniform noise, as torchvision's normal noise is not made for uint8."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the rectangle and what fills it."""
        params: dict[str, Any] = super().make_params(flat_inputs)
        if params["v"] is not None:  # there is a rectangle that fits
            params["v"] = torch.randint(256, (3, params["h"], params["w"]), dtype=torch.uint8)
        return params
