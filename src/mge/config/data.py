"""The options of the photos."""

import dataclasses
from typing import Literal

from mge.config.checks import Options, check_range, check_ranges

Interpolation = Literal["auto", "bilinear", "bicubic"]
Resize = Literal["short", "squash"]


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """How photos become batches.

    Args:
        val_fraction: Fraction of the training photos of each class held out for validation where the data has no
            validation split.
        test_fraction: Fraction of all photos of each class held out for testing where the data has no test split.
        image_column: Column of a manifest or table with photos or their paths; by default found by its name or type.
        label_column: Column of a manifest or table with the classes; by default found by its name or type.
        resize: `short` scales the photo's shorter side and keeps its shape; `squash` scales both sides alike.
        interpolation: Filter that resizes photos: `bilinear`, `bicubic`, or what the backbone's pretrained weights were
            made with (`auto`).
        crop_fraction: Side of the square crop as a fraction of the resized photo. The paper crops 448 out of 512.
        flip: Whether training mirrors half of the photos.
        jitter: Strength of the random change of brightness, contrast and saturation in training, from 0 (none) to 1.
        resized_crop: Smallest fraction of the photo's area that training may crop and enlarge to a view: a random
            resized crop. 0 crops at one scale, as the paper does.
        randaugment: Magnitude, up to 30, of two random changes of colour or shape in training (RandAugment). 0: none.
        erasing: Probability that training overwrites a rectangle of a photo with noise.
        mixup: Strength, often 0.2, with which training lays another photo of the batch over each. 0: not at all.
        cutmix: Strength, often 1, with which training pastes a rectangle of another photo of the batch into each.
            0: not at all. Where mixup is set too, each batch has one of the two.
        workers: Number of processes that decode photos. -1 chooses by the machine.
        cache: Whether resized photos are kept in memory: `auto` does where they fit well.
        max_broken_fraction: Fraction of all photos that may be broken: they are skipped. More stop the run before it
            begins.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.2
    image_column: str | None = None
    label_column: str | None = None
    resize: Resize = "short"
    interpolation: Interpolation = "auto"
    crop_fraction: float = 0.875
    flip: bool = True
    jitter: float = 0.0
    resized_crop: float = 0.0
    randaugment: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    workers: int = -1
    cache: Literal["auto", "yes", "no"] = "auto"
    max_broken_fraction: float = 0.05

    def _check(self) -> None:
        check_ranges(self, "val_fraction", "test_fraction", at_least=0, at_most=0.9)
        check_range("crop_fraction", self.crop_fraction, at_least=0.1, at_most=1)
        check_ranges(self, "jitter", "resized_crop", at_least=0, at_most=1)
        check_range("randaugment", self.randaugment, at_least=0, at_most=30)
        check_range("erasing", self.erasing, at_least=0, at_most=1)
        check_ranges(self, "mixup", "cutmix", at_least=0, at_most=100)
        check_range("workers", self.workers, at_least=-1)
        check_range("max_broken_fraction", self.max_broken_fraction, at_least=0, at_most=1)
