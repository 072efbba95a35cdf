"""Random changes of single pictures beyond the paper's crop and flip; each draws from the dice that it is given.

The kernels are torchvision's. Its transforms are not used, because they draw from the global random state.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

import torch
import torchvision.transforms.v2.functional as kernels
from torch import Tensor

BILINEAR = kernels.InterpolationMode.BILINEAR
MAX_MAGNITUDE = 30
NUM_CHANGES = 2  # of each picture


class Rectangle(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def resized_crop(resized: Tensor, *, side: int, smallest: float, rng: random.Random) -> Tensor:
    """A random part of a picture, at least as large as the given fraction of its area, as `side` x `side` pixels.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2015, in torchvision's form.
    """
    height, width = resized.shape[1:]
    part = draw_rectangle(height, width, areas=(smallest, 1), ratios=(3 / 4, 4 / 3), rng=rng)
    if part is None:
        length = min(height, width)
        part = Rectangle((height - length) // 2, (width - length) // 2, length, length)
    cropped: Tensor = kernels.resized_crop(resized, *part, size=[side, side], antialias=True)
    return cropped


def randaugment(view: Tensor, *, magnitude: int, rng: random.Random) -> Tensor:
    """Two changes out of fourteen, each of the given magnitude and of a random direction where it has two.

    Source: Cubuk et al., "RandAugment", 2020, with torchvision's changes and ranges.
    Differs: shapes change with bilinear interpolation, torchvision's default takes the nearest pixel.
    """
    for name in rng.choices(list(CHANGES), k=NUM_CHANGES):
        view = CHANGES[name](view, rng.choice((-1, 1)) * magnitude / MAX_MAGNITUDE)
    return view


def erase(view: Tensor, *, rng: random.Random) -> Tensor:
    """A picture with noise in a rectangle of 2 to 33 % of its area.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2020.
    """
    height, width = view.shape[1:]
    part = draw_rectangle(height, width, areas=(0.02, 0.33), ratios=(0.3, 1 / 0.3), rng=rng)
    if part is None:
        return view
    noise = torch.frombuffer(bytearray(rng.randbytes(3 * part.height * part.width)), dtype=torch.uint8)
    erased = view.clone()
    window = erased[:, part.top : part.top + part.height, part.left : part.left + part.width]
    window.copy_(noise.view(3, part.height, part.width))
    return erased


def draw_rectangle(
    height: int, width: int, *, areas: tuple[float, float], ratios: tuple[float, float], rng: random.Random
) -> Rectangle | None:
    """A random rectangle inside a picture.

    Args:
        height: Of the picture.
        width: Of the picture.
        areas: Smallest and largest area, as fractions of the picture's.
        ratios: Smallest and largest ratio of width to height.
        rng: Decides.

    Returns:
        The first of ten draws that fits; None where none does.
    """
    for _ in range(10):
        area = rng.uniform(*areas) * height * width
        ratio = math.exp(rng.uniform(math.log(ratios[0]), math.log(ratios[1])))
        drawn_height, drawn_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < drawn_height <= height and 0 < drawn_width <= width:
            top, left = rng.randint(0, height - drawn_height), rng.randint(0, width - drawn_width)
            return Rectangle(top, left, drawn_height, drawn_width)
    return None


def _affine(view: Tensor, *, shift: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Tensor:
    """A picture moved by pixels and sheared by slopes around its upper left corner."""
    moved: Tensor = kernels.affine(
        view, angle=0.0, translate=[int(pixels) for pixels in shift], scale=1.0,
        shear=[math.degrees(math.atan(slope)) for slope in shear], center=[0, 0], interpolation=BILINEAR,
    )  # fmt: skip
    return moved


# The fourteen changes by their names, with the range of each: the strength is a fraction of the largest magnitude,
# below 0 where the change goes the other way.
CHANGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda view, _: view,
    "shear_x": lambda view, strength: _affine(view, shear=(0.3 * strength, 0)),
    "shear_y": lambda view, strength: _affine(view, shear=(0, 0.3 * strength)),
    "translate_x": lambda view, strength: _affine(view, shift=(150 / 331 * view.shape[2] * strength, 0)),
    "translate_y": lambda view, strength: _affine(view, shift=(0, 150 / 331 * view.shape[1] * strength)),
    "rotate": lambda view, strength: kernels.rotate(view, 30 * strength, interpolation=BILINEAR),
    "brightness": lambda view, strength: kernels.adjust_brightness(view, 1 + 0.9 * strength),
    "saturation": lambda view, strength: kernels.adjust_saturation(view, 1 + 0.9 * strength),
    "contrast": lambda view, strength: kernels.adjust_contrast(view, 1 + 0.9 * strength),
    "sharpness": lambda view, strength: kernels.adjust_sharpness(view, 1 + 0.9 * strength),
    "posterize": lambda view, strength: kernels.posterize(view, 8 - round(4 * abs(strength))),
    "solarize": lambda view, strength: kernels.solarize(view, 255 * (1 - abs(strength))),
    "autocontrast": lambda view, _: kernels.autocontrast(view),
    "equalize": lambda view, _: kernels.equalize(view),
}
