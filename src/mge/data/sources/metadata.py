"""Photos with a table beside them: Hugging Face's metadata.csv, Roboflow's _classes.csv and _annotations.coco.json.

What such a table says counts, and not how the folders are called that the photos lie in.
"""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from mge.data.records import PhotoSet, Split
from mge.data.sources.coco import read_files
from mge.data.sources.columns import BY_NAME, AskedColumns, find_columns
from mge.data.sources.folder import find_split_folders
from mge.data.sources.manifest import add_rows, has_labels
from mge.data.sources.rows import RowReader
from mge.data.sources.text_lines import read_values
from mge.data.sources.walking import count, search
from mge.errors import DataError

TABLES = ("metadata.csv", "metadata.jsonl")  # metadata.parquet is read as other Parquet is
ONE_HOT, COCO = "_classes.csv", "_annotations.coco.json"


def has_metadata(folder: Path) -> bool:
    """Return whether a folder, or one of its folders for splits, has such a table with labels in it."""
    files = _find_tables(folder) if folder.is_dir() else {}
    return any(file.name in (ONE_HOT, COCO) or has_labels(file) for file in files)


def read_metadata(folder: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Read the tables of a folder and of its folders for splits. Where `train` is the only split it is the whole.

    Raises:
        ConfigError: a table does not have a column that was asked for.
        DataError: there is none, they are of several kinds, or one cannot be read.
    """
    files = _find_tables(folder)
    names = sorted({file.name for file in files})
    if len(names) != 1:
        problem = f"has {', '.join(names)}; keep those of one name" if names else f"has no {', '.join(TABLES)}"
        raise DataError(f"{str(folder)!r} {problem}")
    if set(files.values()) == {"train"}:
        files = dict.fromkeys(files)
    name, source = folder.resolve().name, f"photos with {names[0]}"
    if names == [COCO]:
        if asked != BY_NAME:
            raise DataError(f"{names[0]} in {str(folder)!r} has no columns; leave out the names of columns")
        return _note_unlisted(read_files(files, name=name, source=source), files)
    reader = RowReader(name=name)
    for file, split in files.items():
        (_add_one_hot if names == [ONE_HOT] else add_rows)(reader, file, asked=asked, split=split)
    return _note_unlisted(reader.photo_set(source), files)


def _note_unlisted(photos: PhotoSet, files: Iterable[Path]) -> PhotoSet:
    """Return the photos with a note on those that lie beside the tables and are in none."""
    listed = {os.path.abspath(record.path) for record in photos.records}  # noqa: PTH100  (no disk is asked)
    found = search(*(file.parent for file in files)).photos
    others = [photo for photo in found if os.path.abspath(photo) not in listed]  # noqa: PTH100
    if not others:
        return photos
    return dataclasses.replace(photos, notes=(*photos.notes, count("photos without a label, not read", others)))


def _find_tables(folder: Path) -> dict[Path, Split | None]:
    """Return such tables, each with its split: those of the folder itself, or else of its folders for splits."""
    homes: dict[Path, Split | None] = {folder: None}
    for candidates in (homes, find_split_folders(folder)):
        files = {home / name: split for home, split in candidates.items() for name in (*TABLES, ONE_HOT, COCO)}
        found = {file: split for file, split in files.items() if file.is_file()}
        if found:
            return found
    return {}


def _add_one_hot(reader: RowReader, file: Path, *, asked: AskedColumns, split: Split | None) -> None:
    """Take the rows of a file with a column for each class, in which one says 1."""
    (_, header), *rows = list(read_values(file)) or [(1, [])]
    names = [name.strip() for name in header]
    column = find_columns(names, asked=asked, where=str(file), needed=["path"])["path"]
    for number, values in rows:
        row, where = dict(zip(names, values, strict=False)), f"{file}, line {number}"
        labels = [name for name, value in row.items() if name != column and value.strip() in ("1", "1.0")]
        if len(labels) != 1:
            said = " and ".join(labels) or "none"
            raise DataError(f"{where} gives its photo {len(labels)} classes, {said}; expected one")
        reader.add({"path": row[column], "label": labels[0]}, folder=file.parent, where=where, split=split)
