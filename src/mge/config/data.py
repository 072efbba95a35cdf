"""Options of the data."""

import dataclasses
from typing import Literal

from mge.config.checks import Options, check_range, check_ranges

Interpolation = Literal["auto", "bilinear", "bicubic"]
Resize = Literal["short", "squash"]


@dataclasses.dataclass(frozen=True)
class DataConfig(Options):
    """Data options.

    Args:
        val_fraction: Fraction of the training photos of each class held out for validation if the data has no
            validation split.
        test_fraction: Fraction of the photos of each class held out for testing if the data has no test split.
        image_column: Column of a manifest or table with the photos or their paths. Default: found by its name or type.
        label_column: Column of a manifest or table with the class labels. Default: found by its name or type.
        resize: `short` scales the shorter side and keeps the aspect ratio; `squash` resizes to a square.
        interpolation: Resize filter: `bilinear`, `bicubic`, or the one that the pretrained weights were trained with
            (`auto`).
        crop_fraction: Side of the center crop as a fraction of the resized photo. The paper crops 448 out of 512.
        flip: Random horizontal flips in training.
        jitter: Strength of color jitter (brightness, contrast, saturation) in training, from 0 (off) to 1.
        resized_crop: Minimum area of a random resized crop, as a fraction of the photo. 0 crops at a fixed scale, as in
            the paper.
        randaugment: Magnitude of RandAugment with two operations, up to 30. 0: off.
        erasing: Probability of random erasing.
        mixup: Mixup alpha, often 0.2. 0: off.
        cutmix: CutMix alpha, often 1. 0: off. With mixup too, each batch uses one of the two.
        workers: Number of data-loading processes. -1 chooses by the machine.
        cache: Keep resized photos in memory; `auto` does so if they easily fit.
        max_broken_fraction: Fraction of broken photos to tolerate; they are skipped. With more, training does not
            start.
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
