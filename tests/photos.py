"""Small photo folders that tests make for themselves."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLORS = {"apple": (200, 40, 40), "lime": (40, 180, 60), "plum": (90, 40, 160)}


def write_photo(file: Path, color: tuple[int, int, int], *, seed: int = 0, size: tuple[int, int] = (48, 40)) -> Path:
    """A photo of one colour with some noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8)).save(file)
    return file


def write_class_folders(folder: Path, *, per_class: int = 8, splits: tuple[str, ...] = (), seed: int = 0) -> Path:
    """Class folders with photos that even a tiny network tells apart, below split folders if there are any.

    With the same seed they are the same files; a seed from 20 to 80 gives photos that no run of the tests has seen.
    """
    for split in splits or ("",):
        for number, (label, color) in enumerate(COLORS.items()):
            for index in range(per_class):
                write_photo(
                    folder / split / label / f"{index}.png", color, seed=100 * number + index + len(split) + seed
                )
    return folder


def write_scene(file: Path, *, seed: int, size: tuple[int, int] = (160, 120), **options: Any) -> Path:  # noqa: ANN401
    """A photo of soft coloured patches, unlike that of any other seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).save(file, **options)
    return file


def truncate(file: Path, *, fraction: float = 0.5) -> Path:
    """Cuts a file off, as a download that stopped does."""
    content = file.read_bytes()
    file.write_bytes(content[: int(fraction * len(content))])
    return file
