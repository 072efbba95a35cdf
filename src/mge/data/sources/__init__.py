"""Files on disk into records: one reader a layout."""

import glob
import os
from pathlib import Path

from mge.config import DataConfig
from mge.data.records import PhotoSet, assign_splits, check_photos
from mge.data.sources.beetles import read_beetles
from mge.data.sources.folder import SUFFIXES, is_junk, read_folder, walk
from mge.data.sources.lists import has_lists, read_lists
from mge.data.sources.manifest import MANIFEST_SUFFIXES, read_manifest
from mge.errors import ConfigError, DataError

READERS = ("folder", "manifest", "lists", "beetles")


def read_photos(data: str | Path, *, config: DataConfig, seed: int = 0, format: str = "auto") -> PhotoSet:  # noqa: A002
    """Reads what a person calls their data, and assigns the splits that it leaves open.

    Args:
        data: `beetles`, a folder, or a manifest file.
        config: Fractions to hold out.
        seed: Decides which photos are held out.
        format: `auto`, or the name of a reader.

    Raises:
        DataError: there is nothing there, or nothing that can be learned from.
        ConfigError: there is no such reader.
    """
    path = Path(data)
    chosen = _recognise(path) if format == "auto" else format
    if chosen == "beetles":
        photos = read_beetles()
    elif not path.exists():
        raise DataError(f"data {str(data)!r} does not exist; give a folder of class folders, a manifest, or `beetles`")
    elif chosen == "folder":
        photos = read_folder(path)
    elif chosen == "manifest":
        photos = read_manifest(path)
    elif chosen == "lists":
        photos = read_lists(path)
    else:
        raise ConfigError(f"format is {format!r}; accepted: auto, {', '.join(READERS)}")
    photos = assign_splits(photos, config=config, seed=seed)
    check_photos(photos)
    return photos


def find_photos(wanted: list[str]) -> list[str]:
    """The photo files that files, folders and patterns stand for, each once, in order.

    Raises:
        DataError: a name stands for nothing.
    """
    found: dict[str, None] = {}
    for name in wanted:
        path = Path(name)
        if path.is_dir():
            files = [str(file) for file in walk(path) if file.suffix.lower() in SUFFIXES]
        else:
            files = [name] if path.exists() else sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        files = [file for file in files if not is_junk(Path(file).name) and not os.path.isdir(file)]  # noqa: PTH112
        if not files:
            raise DataError(
                f"{name!r} stands for no photo; give files, folders with photos, or patterns such as 'shelf/*.jpg'"
            )
        found |= dict.fromkeys(files)
    return list(found)


def _recognise(path: Path) -> str:
    if str(path) == "beetles" and not path.exists():
        return "beetles"
    if path.is_file():
        if path.suffix.lower() not in MANIFEST_SUFFIXES:
            raise DataError(
                f"data {str(path)!r} is a file; accepted: a folder, or a manifest ({', '.join(MANIFEST_SUFFIXES)})"
            )
        return "manifest"
    return "lists" if has_lists(path) else "folder"
