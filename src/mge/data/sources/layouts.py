"""The supported layouts of data: the reader of each, and the criteria for choosing it."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from mge.data.records import PhotoSet
from mge.data.sources import data_sets
from mge.data.sources.beetles import is_beetles, read_beetles
from mge.data.sources.coco import is_coco, read_coco
from mge.data.sources.columns import BY_NAME, AskedColumns
from mge.data.sources.folder import has_class_folders, read_folder
from mge.data.sources.hub_datasets import is_hub, read_hub
from mge.data.sources.lists import has_lists, read_lists
from mge.data.sources.manifest import MANIFEST_SUFFIXES, is_manifest, read_manifest
from mge.data.sources.metadata import has_metadata, read_metadata
from mge.data.sources.shards import TABLE_SUFFIXES, is_shards, read_shards
from mge.data.sources.source import Source
from mge.errors import ConfigError, DataError, MgeError, first_line


def _find_data_sets() -> dict[str, Source]:
    """Return the data sets that the modules of `data_sets` read: each module names its own in `SOURCES`."""
    names = (module.name for module in pkgutil.iter_modules(data_sets.__path__, f"{data_sets.__name__}."))
    return {name: source for module in names for name, source in importlib.import_module(module).SOURCES.items()}


COCO = Source(is_coco, read_coco, "COCO-like JSON: train*.json and val*.json, or a single file")
# By name, in the order in which they are asked: the first that recognises the data reads it.
SOURCES: dict[str, Source] = {
    "beetles": Source(is_beetles, read_beetles, "the name beetles"),
    "hub": Source(is_hub, read_hub, "a name hf:owner/name", has_columns=True),
    "manifest": Source(is_manifest, read_manifest, f"a file {', '.join(MANIFEST_SUFFIXES)}", has_columns=True),
    **_find_data_sets(),
    "metadata": Source(
        has_metadata, read_metadata, has_columns=True,
        wants="metadata.csv, metadata.jsonl, _classes.csv or _annotations.coco.json beside photos",
    ),
    "coco": COCO,
    "inaturalist": COCO,
    "tables": Source(
        is_shards, read_shards, f"files {', '.join(TABLE_SUFFIXES)} and no class folders beside them", has_columns=True
    ),
    "lists": Source(has_lists, read_lists, "train.txt with one photo and its label per line"),
    "folder": Source(Path.is_dir, read_folder, "a folder"),
}  # fmt: skip
NOT_ON_DISK = ("beetles", "hub")  # what has a name in place of a path


def read_as(name: str, path: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Read data with the given reader.

    Raises:
        ConfigError: there is no such reader, or columns were named and its data have none.
        DataError: the data do not exist, or do not have the reader's layout.
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
            f"{option} is set, but {str(path)!r} is read as {name}, which has no columns; leave it out, or choose "
            f"another --format: {tables} have columns"
        )
    return source.read(path)


def read_recognized(path: Path, asked: AskedColumns = BY_NAME) -> tuple[PhotoSet, str]:
    """Read data with the first reader that recognises them.

    Valid class folders win over a stray file beside them that looks like a benchmark's: if the benchmark cannot be
    read, and they can, they are.

    Returns:
        The photos, and a note on a skipped layout; empty if there is none.

    Raises:
        ConfigError: columns were named and the data have none.
        DataError: no reader recognises the data, or they do not have the reader's layout.
    """
    name = recognize(path)
    try:
        return read_as(name, path, asked), ""
    except DataError as error:
        if not path.is_dir() or name in (*NOT_ON_DISK, "folder"):
            raise
        if not SOURCES[name].gives_way or not has_class_folders(path):
            hint = f"read as {name}; --format folder reads class folders instead; details: mge check DATA --why"
            raise DataError(f"{error} ({hint})") from error
        reason = first_line(error)
    note = f"{path} is read as class folders; it could not be read as {name}: {reason}"
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
    """Explain for each reader, in their order, why it declines data or what it would read."""
    is_taken = False
    for name, source in SOURCES.items():
        if not source.recognizes(path):
            yield f"{name}: no; requires {source.wants}"
            continue
        try:
            photos = read_as(name, path, asked)
            said = f"{len(photos.records):,} photos of {len(photos.class_names):,} classes"
        except MgeError as error:
            said = f"but fails: {first_line(error)}"
        yield f"{name}: {'also' if is_taken else 'yes'}; {said}"
        is_taken = True


def nothing_there(path: Path) -> DataError:
    """Return the error for a path that does not exist."""
    return DataError(
        f"data {str(path)!r} does not exist; give a folder of class folders, a manifest, hf:owner/name, or `beetles`"
    )
