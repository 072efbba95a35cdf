"""Manifests: one photo a row, `path,label[,split][,x1,y1,x2,y2][,group][,parent]`."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mge.data.hierarchy import collect_parents
from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.folder import SPLIT_FOLDERS
from mge.data.sources.text import read_lines, read_values
from mge.errors import DataError

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl")
BOX = ("x1", "y1", "x2", "y2")
COLUMNS = ("path", "label", "split", *BOX, "group", "parent")


def is_manifest(path: Path) -> bool:
    """Whether this is a file with a manifest's suffix."""
    return path.is_file() and path.suffix.lower() in MANIFEST_SUFFIXES


def read_manifest(file: Path) -> PhotoSet:
    """Reads a CSV, TSV or JSONL manifest.

    Its paths are relative to the folder it lies in. It is its owner's own file, so a path may also be absolute, or lead
    out of the folder with `..`.

    Raises:
        DataError: a column is missing, a value makes no sense, or a file does not exist.
    """
    records, pairs = [], []
    for number, row in _rows(file):
        record = read_row(row, folder=file.parent, where=f"{file}, line {number}")
        records.append(record)
        pairs.append((record.label, _text(row, "parent")))
    if not records:
        raise DataError(f"{file} lists no photos; expected a header with path, label, and a row for each photo")
    names = tuple(sorted({record.label for record in records}))
    parents = collect_parents(pairs, name=str(file))
    return PhotoSet(file.resolve().parent.name, f"manifest {file.name}", names, tuple(records), parents)


def read_paths(file: Path) -> list[Path]:
    """The photos that a manifest lists, whatever else it says; a photo that is missing is a matter of opening it.

    Raises:
        DataError: there is no column `path`, or a row without one.
    """
    paths = []
    for number, row in _rows(file):
        if not _text(row, "path"):
            raise DataError(
                f"{file}, line {number} has no path; expected a column `path`, relative to the file's folder"
            )
        paths.append(file.parent / _text(row, "path"))
    if not paths:
        raise DataError(f"{file} lists no photos; expected a header with path, and a row for each photo")
    return paths


def read_row(row: Mapping[str, Any], *, folder: Path, where: str) -> Record:
    """The photo of a manifest's row.

    Args:
        row: Values by the names of the columns, in lower case.
        folder: Where relative paths start.
        where: What an error calls the row.

    Raises:
        DataError: a column is missing, a value makes no sense, or the file does not exist.
    """
    for column in COLUMNS:
        if isinstance(row.get(column), list | dict):
            raise DataError(f"{where} has a {type(row[column]).__name__} for {column}; expected text or a number")
    for column in ("path", "label"):
        if not _text(row, column):
            raise DataError(
                f"{where} has no {column}; expected the columns path, label, and if you like split, x1, y1, x2, y2, "
                "group, parent"
            )
    path = folder / _text(row, "path")
    if not _is_file(path):
        raise DataError(f"{where} names {str(row['path'])!r}, which does not exist; relative paths start at {folder}")
    split, box = _split(row, where=where), _box(row, where=where)
    return Record(path, _text(row, "label"), split, box, group=_text(row, "group"))


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a manifest by the names of its columns, each with its line."""
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(read_lines(file), start=1):
            if line.strip():
                yield number, _json_row(line, where=f"{file}, line {number}")
        return
    is_tsv = file.suffix.lower() == ".tsv"
    rows = read_values(file, delimiter="\t" if is_tsv else ",")
    names = [name.strip().lower() for name in next(rows, (1, []))[1]]
    for column in COLUMNS:
        if names.count(column) > 1:
            raise DataError(f"{file} has two columns {column!r}, among: {', '.join(names)}; rename or remove one")
    for number, values in rows:
        if any(value.strip() for value in values[len(names) :]):
            raise DataError(
                f"{file}, line {number} has {len(values)} values for {len(names)} columns; put a value with a "
                f"{'tab' if is_tsv else 'comma'} in it between quotes"
            )
        yield number, dict(zip(names, values, strict=False))


def _is_file(path: Path) -> bool:
    """Whether there is a file of this name; a name that no disk would take names none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _json_row(line: str, *, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, brackets without end
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise DataError(f"{where} is not JSON: {reason}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}; expected an object with path and label")
    return row


def _text(row: Mapping[str, Any], column: str) -> str:
    """A value as text, empty where there is none. A number is a value: a class may be called 0."""
    value = row.get(column)
    return "" if value is None else str(value).strip()


def _split(row: Mapping[str, Any], *, where: str) -> Split | None:
    value = _text(row, "split").lower()
    if not value:
        return None
    if value not in SPLIT_FOLDERS:
        raise DataError(f"{where} has the split {value!r}; accepted: train, val, test")
    return SPLIT_FOLDERS[value]


def _box(row: Mapping[str, Any], *, where: str) -> tuple[float, float, float, float] | None:
    values = [row.get(edge) for edge in BOX]
    if all(value in (None, "") for value in values):
        return None
    try:
        x1, y1, x2, y2 = (float(value) for value in values)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has the box {values}; expected four numbers x1, y1, x2, y2 in pixels") from error
    if not (0 <= x1 < x2 < math.inf and 0 <= y1 < y2 < math.inf):
        raise DataError(f"{where} has the box {values}; expected x1 < x2 and y1 < y2, both at least 0")
    return x1, y1, x2, y2
