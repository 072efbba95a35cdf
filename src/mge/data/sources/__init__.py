"""Files on disk into records: one reader a layout."""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mge.config import DataConfig
from mge.data.records import PhotoSet, assign_splits, check_photos
from mge.data.sources.beetles import is_beetles, read_beetles
from mge.data.sources.folder import SUFFIXES, is_junk, read_folder, walk
from mge.data.sources.lists import has_lists, read_lists
from mge.data.sources.manifest import MANIFEST_SUFFIXES, is_manifest, read_manifest
from mge.errors import ConfigError, DataError


class Source(NamedTuple):
    """A layout that data come in."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path], PhotoSet]


# By name, in the order in which they are asked: the first that recognises the data reads it.
SOURCES: dict[str, Source] = {
    "beetles": Source(is_beetles, read_beetles),
    "manifest": Source(is_manifest, read_manifest),
    "lists": Source(has_lists, read_lists),
    "folder": Source(Path.is_dir, read_folder),
}


def read_photos(
    data: str | Path, *, config: DataConfig, seed: int = 0, format: str = "auto",  # noqa: A002
    is_for_training: bool = True,
) -> PhotoSet:  # fmt: skip
    """Reads what a person calls their data, and assigns the splits that it leaves open.

    Args:
        data: `beetles`, a folder, or a manifest file.
        config: Fractions to hold out.
        seed: Decides which photos are held out.
        format: `auto`, or the name of a source.
        is_for_training: Whether data that nothing can be learned from are refused.

    Raises:
        DataError: there is nothing there, or nothing that can be learned from.
        ConfigError: there is no such source.
    """
    path = Path(data)
    name = _recognise(path) if format == "auto" else format
    if name not in SOURCES:
        raise ConfigError(f"format is {format!r}; accepted: auto, {', '.join(SOURCES)}")
    if name != "beetles" and not path.exists():
        raise _nothing_there(path)
    photos = assign_splits(SOURCES[name].read(path), config=config, seed=seed)
    if is_for_training:
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
    for name, source in SOURCES.items():
        if source.recognises(path):
            return name
    if not path.exists():
        raise _nothing_there(path)
    raise DataError(f"data {str(path)!r} is a file; accepted: a folder, or a manifest ({', '.join(MANIFEST_SUFFIXES)})")


def _nothing_there(path: Path) -> DataError:
    return DataError(f"data {str(path)!r} does not exist; give a folder of class folders, a manifest, or `beetles`")
