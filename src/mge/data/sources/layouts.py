"""The layouts that data come in: which reader takes which, and why the others decline."""

import difflib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mge.data.records import PhotoSet
from mge.data.sources.aircraft import AIRCRAFT, read_aircraft
from mge.data.sources.archive import Layout
from mge.data.sources.beetles import is_beetles, read_beetles
from mge.data.sources.birds import CUB, is_nabirds, read_cub, read_nabirds
from mge.data.sources.cars import CARS, read_cars
from mge.data.sources.coco import is_coco, read_coco
from mge.data.sources.columns import BY_NAME, AskedColumns
from mge.data.sources.dogs import DOGS, read_dogs
from mge.data.sources.flowers import FLOWERS, read_flowers
from mge.data.sources.folder import has_class_folders, read_folder
from mge.data.sources.food import FOOD, read_food
from mge.data.sources.hub_datasets import is_hub, read_hub
from mge.data.sources.lists import has_lists, read_lists
from mge.data.sources.manifest import MANIFEST_SUFFIXES, is_manifest, read_manifest
from mge.data.sources.metadata import has_metadata, read_metadata
from mge.data.sources.pets import PETS, read_pets
from mge.data.sources.shards import TABLE_SUFFIXES, is_shards, read_shards
from mge.errors import ConfigError, DataError, MgeError, first_line


class Source(NamedTuple):
    """A layout that data come in.

    Args:
        recognizes: Tells whether data are such.
        read: Reads them.
        wants: What gives such data away, in words.
        has_columns: Whether `read` also takes the names of columns.
        gives_way: Whether class folders are read in its place where it cannot read a folder: one stray file may give
            an archive away.
    """

    recognizes: Callable[[Path], bool]
    read: Callable[..., PhotoSet]
    wants: str
    has_columns: bool = False
    gives_way: bool = False


def _archive(layout: Layout, read: Callable[[Path], PhotoSet], *, wants: str = "") -> Source:
    return Source(layout.is_in, read, wants or " or ".join(layout.marks), gives_way=True)


COCO = Source(is_coco, read_coco, "COCO-like JSON: train*.json and val*.json, or a single file")
# By name, in the order in which they are asked: the first that recognises the data reads it.
SOURCES: dict[str, Source] = {
    "beetles": Source(is_beetles, read_beetles, "the name beetles"),
    "hub": Source(is_hub, read_hub, "a name hf:owner/name", has_columns=True),
    "manifest": Source(is_manifest, read_manifest, f"a file {', '.join(MANIFEST_SUFFIXES)}", has_columns=True),
    # Before cub, whose files it has and more.
    "nabirds": Source(is_nabirds, read_nabirds, "hierarchy.txt, sizes.txt or photographers.txt beside CUB's files"),
    "cub": _archive(CUB, read_cub),
    "cars": _archive(CARS, read_cars),
    "aircraft": _archive(AIRCRAFT, read_aircraft),
    # By their names only: aircraft comes first.
    "aircraft-family": _archive(AIRCRAFT, partial(read_aircraft, level="family"), wants="--format aircraft-family"),
    "aircraft-manufacturer": _archive(
        AIRCRAFT, partial(read_aircraft, level="manufacturer"), wants="--format aircraft-manufacturer"
    ),
    "dogs": _archive(DOGS, read_dogs),
    "flowers": _archive(FLOWERS, read_flowers),
    "pets": _archive(PETS, read_pets),
    "food": _archive(FOOD, read_food),
    "metadata": Source(
        has_metadata, read_metadata, has_columns=True,
        wants="metadata.csv, metadata.jsonl, _classes.csv or _annotations.coco.json beside photos",
    ),
    "coco": COCO,
    "inaturalist": COCO,
    "tables": Source(
        is_shards, read_shards, f"files {', '.join(TABLE_SUFFIXES)} and no class folders beside them", has_columns=True
    ),
    "lists": Source(has_lists, read_lists, "train.txt with a photo and its label a line"),
    "folder": Source(Path.is_dir, read_folder, "a folder"),
}  # fmt: skip
NOT_ON_DISK = ("beetles", "hub")  # what has a name in place of a path


def read_as(name: str, path: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Read data with a reader.

    Raises:
        ConfigError: there is no such reader, or columns were named and its data have none.
        DataError: the data are not there, or not what the reader wants.
    """
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"format is {name!r}{hint}; accepted: auto, {', '.join(SOURCES)}")
    if name not in NOT_ON_DISK and not path.exists():
        raise nothing_there(path)
    source = SOURCES[name]
    if source.has_columns:
        return source.read(path, asked)
    if asked != BY_NAME:
        option = "image_column" if asked.path is not None else "label_column"
        tables = ", ".join(other for other, each in SOURCES.items() if each.has_columns)
        raise ConfigError(
            f"{option} is set, and {str(path)!r} is read as {name}, which has no columns; leave it out, or give "
            f"--format: {tables} have some"
        )
    return source.read(path)


def read_recognized(path: Path, asked: AskedColumns = BY_NAME) -> tuple[PhotoSet, str]:
    """Read data with the first reader that recognises them.

    Good class folders win over a stray file beside them that looks like a benchmark's: where that cannot be read, and
    they can, they are.

    Returns:
        The photos, and a note on what was passed over; empty where nothing was.

    Raises:
        ConfigError: columns were named and the data have none.
        DataError: no reader recognises the data, or they are not what the reader wants.
    """
    name = recognize(path)
    try:
        return read_as(name, path, asked), ""
    except DataError as error:
        if not path.is_dir() or name in (*NOT_ON_DISK, "folder"):
            raise
        if not SOURCES[name].gives_way or not has_class_folders(path):
            hint = f"read as {name}; --format folder reads class folders, and mge check DATA --why says more"
            raise DataError(f"{error} ({hint})") from error
        reason = first_line(error)
    note = f"{path} has class folders, which are read; as {name} it cannot be: {reason}"
    return read_as("folder", path, asked), note


def recognize(path: Path) -> str:
    """Return the name of the first reader that recognises data.

    Raises:
        DataError: none does.
    """
    for name, source in SOURCES.items():
        if source.recognizes(path):
            return name
    if not path.exists():
        raise nothing_there(path)
    manifests, tables = ", ".join(MANIFEST_SUFFIXES), ", ".join(TABLE_SUFFIXES)
    raise DataError(
        f"data {str(path)!r} is a file; accepted: a folder, a manifest ({manifests}), or a table ({tables})"
    )


def explain(path: Path, asked: AskedColumns = BY_NAME) -> Iterator[str]:
    """Say of each reader, in the order in which they are asked, why it declines data or what it makes of them."""
    is_taken = False
    for name, source in SOURCES.items():
        if not source.recognizes(path):
            yield f"{name}: no; wants {source.wants}"
            continue
        try:
            photos = read_as(name, path, asked)
            said = f"{len(photos.records):,} photos of {len(photos.class_names):,} classes"
        except MgeError as error:
            said = f"would be refused: {first_line(error)}"
        yield f"{name}: {'also' if is_taken else 'yes'}; {said}"
        is_taken = True


def nothing_there(path: Path) -> DataError:
    """Return what is said of a path that leads nowhere."""
    return DataError(
        f"data {str(path)!r} does not exist; give a folder of class folders, a manifest, hf:owner/name, or `beetles`"
    )
