"""Class folders: the last folder of a photo's path is its class."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.errors import DataError

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".ppm",
        ".pgm",
        ".jp2",
    }
)
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


def read_folder(folder: Path) -> PhotoSet:
    """Reads a folder of class folders, with or without folders for the splits above them.

    Raises:
        DataError: it holds no photos, photos without a class folder, or two folders that would be the same class.
    """
    splits = {entry.name: SPLIT_FOLDERS[entry.name.lower()] for entry in folder.iterdir() if _is_split(entry)}
    has_splits = "train" in splits.values()
    records, homes = [], defaultdict(set)
    for file in walk(folder):
        if file.suffix.lower() not in SUFFIXES:
            continue
        parts = file.relative_to(folder).parts
        split = splits.get(parts[0]) if has_splits else None
        if has_splits and split is None:
            continue
        inner = parts[1:] if split else parts
        if len(inner) < 2:
            raise DataError(f"{file} lies in no class folder; put the photos of each class into a folder of its own")
        records.append(Record(file, inner[-2], split))
        homes[inner[-2]].add("/".join(inner[:-1]))
    for label, places in homes.items():
        if len(places) > 1:
            first, second = sorted(places)[:2]
            raise DataError(
                f"two folders of {folder} would be the class {label!r}: {first} and {second}; rename one of them"
            )
    if not records:
        raise DataError(
            f"{str(folder)!r} holds no photos; expected one folder a class with photos in it, or a manifest"
        )
    names = tuple(sorted(homes))
    return PhotoSet(folder.resolve().name, "class folders", names, tuple(records))


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder in order, without what systems leave behind, and without walking in circles."""
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_junk(name))
        yield from (Path(root, name) for name in sorted(files) if not is_junk(name))


def is_junk(name: str) -> bool:
    """Whether a file or folder is none of a person's data: hidden, or left by a system."""
    return name.startswith(".") or name.lower() in JUNK


def _is_split(entry: Path) -> bool:
    return entry.is_dir() and entry.name.lower() in SPLIT_FOLDERS
