"""Mixup and cutmix: two photos in one image, overlaid or with a rectangle pasted, and both in its soft target."""

import math
import random

import torch
from torch import Tensor

from mge.config import DataConfig


def blend_batch(images: Tensor, targets: Tensor, *, config: DataConfig, seed: int) -> tuple[Tensor, Tensor]:
    """Blend the next photo of the batch into each image, as a pure function of the arguments.

        mixup: x = (1 - share) * x_a + share * x_b
        cutmix: x = x_a with a rectangle of the area share * H * W from x_b
        target: t = (1 - share) * t_a + share * t_b
        share = min(s, 1 - s) with s ~ Beta(strength, strength)

    The order in a batch is random already, so the next photo serves as a random partner. It gets at most half of the
    image, so that a photo's own class remains the main label. Nothing is lost by that: each pair would be equally
    probable with the roles exchanged.

    Args:
        images: uint8 (B, 3, H, W) photos from `load_batches`, on any device.
        targets: (B, C) their soft targets.
        config: Data options: kind and strength of the blend.
        seed: Seed of the rest; the global random state is neither read nor changed.

    Returns:
        New images and targets; those that were given if blending is off.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018; Yun et al., "CutMix", 2019.
    Differs: the share of the second photo is the smaller of the two that Beta(strength, strength) gives.
    """
    if not (config.mixup or config.cutmix):
        return images, targets
    rng = random.Random(seed)
    is_mixup = rng.random() < 0.5 if config.mixup and config.cutmix else config.mixup > 0
    strength = config.mixup if is_mixup else config.cutmix
    drawn = rng.betavariate(strength, strength)
    share = min(drawn, 1 - drawn)
    others = images.roll(1, 0)
    blended, share = _mixup(images, others, share) if is_mixup else _cutmix(images, others, share, rng)
    return blended, targets.lerp(targets.roll(1, 0), share)


def _mixup(images: Tensor, others: Tensor, share: float) -> tuple[Tensor, float]:
    return images.float().lerp(others.float(), share).round().to(torch.uint8), share


def _cutmix(images: Tensor, others: Tensor, share: float, rng: random.Random) -> tuple[Tensor, float]:
    """Paste a rectangle of the image's shape at a random centre; it is clipped to the image, and its share reduced."""
    height, width = images.shape[2:]
    side = math.sqrt(share)
    top, bottom = _stretch(rng.random() * height, side * height, height)
    left, right = _stretch(rng.random() * width, side * width, width)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return pasted, (bottom - top) * (right - left) / (height * width)


def _stretch(center: float, length: float, limit: int) -> tuple[int, int]:
    return max(0, round(center - length / 2)), min(limit, round(center + length / 2))
