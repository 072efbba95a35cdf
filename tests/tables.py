"""Small tables of photos that tests make for themselves, without the code under test."""

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
from PIL import Image
from pyarrow import parquet

COLORS = {"apple": (200, 40, 40), "lime": (40, 180, 60), "plum": (90, 40, 160)}


def photo_bytes(label: str, *, seed: int = 0, size: tuple[int, int] = (48, 40)) -> bytes:
    """The content of a PNG file with a class's colour and some noise."""
    noise = np.random.default_rng(seed).integers(-20, 20, (size[1], size[0], 3))
    content = io.BytesIO()
    Image.fromarray((np.array(COLORS[label]) + noise).clip(0, 255).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


def rows(per_class: int, *, seed: int = 0) -> dict[str, list[Any]]:
    """Columns `image` and `label`, class by class in turn."""
    labels = list(COLORS) * per_class
    photos = [photo_bytes(label, seed=1000 * seed + number) for number, label in enumerate(labels)]
    return {"image": [{"bytes": photo, "path": None} for photo in photos], "label": labels}


def write_parquet(file: Path, columns: dict[str, list[Any]]) -> Path:
    """Columns as plain Parquet, as any program may write it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), file, row_group_size=5)
    return file


def as_dataset(columns: dict[str, list[Any]], *, names: list[str] | None = None) -> datasets.Dataset:
    """Columns as `datasets` declares them: Image, and ClassLabel with the given names."""
    label = datasets.Value("string") if names is None else datasets.ClassLabel(names=names)
    given = dict(columns)
    if names is not None:
        given["label"] = [names.index(value) if value is not None else -1 for value in columns["label"]]
    features = {name: datasets.Value("string") for name in columns} | {"image": datasets.Image(), "label": label}
    return datasets.Dataset.from_dict(given, features=datasets.Features(features))
