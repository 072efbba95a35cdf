"""Two photos in one picture: mixup lays one over the other, cutmix pastes a rectangle of it."""

import math
import random

import torch
from torch import Tensor

from mge.config import DataConfig
from mge.core.losses import Blend
from mge.data.loader import Batch


def blend_batch(batch: Batch, *, config: DataConfig, seed: int) -> tuple[Batch, Blend | None]:
    """Puts the next photo of the batch into each picture: a pure function of its arguments.

    The order in a batch is random already, so the next photo is as good as any. It gets at most half of the picture:
    a photo's own class stays the one that counts as true wherever there can only be one. Nothing is lost by that: each
    pair would be as likely with the roles changed.

    Args:
        batch: Photos as they come from `load_batches`, on any device.
        config: Which kind of blend, and how strong.
        seed: Decides the rest; the global random state is neither read nor changed.

    Returns:
        The batch with new images, and what was put into them; None where the options ask for nothing.

    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018; Yun et al., "CutMix", 2019.
    Differs: the share of the second photo is the smaller of the two that Beta(strength, strength) gives.
    """
    if not (config.mixup or config.cutmix):
        return batch, None
    rng = random.Random(seed)
    is_mixup = rng.random() < 0.5 if config.mixup and config.cutmix else config.mixup > 0
    strength = config.mixup if is_mixup else config.cutmix
    drawn = rng.betavariate(strength, strength)
    share = min(drawn, 1 - drawn)
    others = batch.images.roll(1, 0)
    images, share = _mixup(batch.images, others, share) if is_mixup else _cutmix(batch.images, others, share, rng)
    return batch._replace(images=images), Blend(batch.labels.roll(1, 0), share)


def _mixup(images: Tensor, others: Tensor, share: float) -> tuple[Tensor, float]:
    return images.float().lerp(others.float(), share).round().to(torch.uint8), share


def _cutmix(images: Tensor, others: Tensor, share: float, rng: random.Random) -> tuple[Tensor, float]:
    """The rectangle has the picture's shape and its centre anywhere; what sticks out is cut off, and the share less."""
    height, width = images.shape[2:]
    side = math.sqrt(share)
    top, bottom = _stretch(rng.random() * height, side * height, height)
    left, right = _stretch(rng.random() * width, side * width, width)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return pasted, (bottom - top) * (right - left) / (height * width)


def _stretch(center: float, length: float, limit: int) -> tuple[int, int]:
    return max(0, round(center - length / 2)), min(limit, round(center + length / 2))
