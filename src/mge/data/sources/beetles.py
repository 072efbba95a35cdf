"""The built-in data set: beetles, drawn at the first use."""

import csv
import dataclasses
import json
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from mge.config.cache_folder import cache_folder
from mge.data.drawn_beetles import BEETLE_CLASSES, draw_beetle
from mge.data.records import PhotoSet
from mge.data.sources.manifest import read_manifest
from mge.errors import StorageError

VERSION = 3  # of the drawings

Job = tuple[str, int, int, int]  # of one beetle: its split, the number of its class, its seed, its side in pixels


def is_beetles(data: Path) -> bool:
    """Return whether this is the name of the built-in data set, and nothing on disk."""
    return str(data) == "beetles" and not data.exists()


def read_beetles(_: Path) -> PhotoSet:
    """Read the drawn beetles, from the cache folder (`$MGE_CACHE`, or `~/.cache/mge`).

    Raises:
        StorageError: they cannot be written there.
    """
    manifest = draw_beetles(cache_folder("beetles"))
    return dataclasses.replace(read_manifest(manifest), name="beetles", source="drawn beetles")


def draw_beetles(
    folder: Path, *, train: int = 1440, val: int = 240, test: int = 600, side: int = 256, seed: int = 0
) -> Path:
    """Draw the whole set into a folder, or find it there.

    Args:
        folder: Folder for the images and manifest.csv. It is created atomically.
        train: Number of training images, spread evenly over the classes.
        val: Number of validation images.
        test: Number of test images.
        side: Side of the square images in pixels.
        seed: Seed of all drawings.

    Returns:
        The manifest: path, label, split, the beetle's box, and the boxes of both antenna tips.

    Raises:
        StorageError: they cannot be written there.
    """
    manifest = folder / "manifest.csv"
    parameters = {"version": VERSION, "train": train, "val": val, "test": test, "side": side, "seed": seed}

    def is_there() -> bool:
        return manifest.exists() and _read_json(folder / "beetles.json") == parameters

    if is_there():
        return manifest
    jobs = [
        (split, number % len(BEETLE_CLASSES), seed * 1_000_000 + offset + number, side)
        for split, count, offset in (("train", train, 0), ("val", val, 400_000), ("test", test, 700_000))
        for number in range(count)
    ]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            drawn = Path(temporary, folder.name)
            _draw_set(drawn, jobs)
            (drawn / "beetles.json").write_text(json.dumps(parameters), encoding="utf-8")
            if not is_there():  # another process may have drawn the same meanwhile, and read it already
                shutil.rmtree(folder, ignore_errors=True)
                drawn.rename(folder)
    except OSError as error:
        raise StorageError(
            f"the beetles demo data could not be written to {folder}: {error.strerror or error}; set MGE_CACHE to a "
            "writable folder"
        ) from error
    return manifest


def _draw_set(folder: Path, jobs: Sequence[Job]) -> None:
    """Draw the beetles on all cores, and list them in manifest.csv."""
    folder.mkdir()
    with ProcessPoolExecutor() as pool:
        rows = list(pool.map(partial(_draw_to_file, folder), jobs, chunksize=32))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        tips = [f"tip{number}_{edge}" for number in (1, 2) for edge in ("x1", "y1", "x2", "y2")]
        writer.writerow(["path", "label", "split", "x1", "y1", "x2", "y2", *tips])
        writer.writerows(rows)


def _draw_to_file(folder: Path, job: Job) -> list[object]:
    split, label, seed, side = job
    beetle = draw_beetle(label, seed=seed, side=side)
    name = f"{split}/{BEETLE_CLASSES[label]}/{seed:07d}.jpg"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    beetle.image.save(folder / name, quality=92)
    boxes = [beetle.box_xyxy, *beetle.tip_boxes_xyxy]
    return [name, BEETLE_CLASSES[label], split, *(round(value, 1) for box in boxes for value in box)]


def _read_json(file: Path) -> object:
    """Read a JSON file; None if there is none, or a damaged one."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
