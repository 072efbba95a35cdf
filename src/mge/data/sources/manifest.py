"""Manifests: one photo a row, `path,label[,split][,x1,y1,x2,y2][,group][,parent]`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mge.data.file_type import SUFFIXES
from mge.data.records import PhotoSet, Split
from mge.data.sources.coco import begins_as_coco
from mge.data.sources.columns import BY_NAME, COLUMNS, AskedColumns, clean_column, find_columns
from mge.data.sources.paths import ListedPhotos
from mge.data.sources.rows import RowReader, as_text
from mge.data.sources.text_lines import read_lines, read_values
from mge.errors import DataError

MANIFEST_SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".json")

Row = Mapping[str, Any]


def is_manifest(path: Path) -> bool:
    """Return whether this is a file with a manifest's suffix, and no COCO-like JSON."""
    return path.is_file() and path.suffix.lower() in MANIFEST_SUFFIXES and not begins_as_coco(path)


def read_manifest(file: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Read a manifest: CSV with any delimiter, or JSON.

    Its paths are relative to the folder it lies in. It is its owner's own file, so a path may also be absolute, or lead
    out of the folder with `..`.

    Raises:
        ConfigError: it does not have a column that was asked for.
        DataError: a column is missing, a value makes no sense, or a file does not exist.
    """
    reader = RowReader(name=str(file))
    add_rows(reader, file, asked=asked)
    return reader.photo_set(f"manifest {file.name}", name=file.resolve().parent.name)


def add_rows(reader: RowReader, file: Path, *, asked: AskedColumns, split: Split | None = None) -> None:
    """Take the rows of a manifest; those that say no split are of the given one.

    Raises:
        As `read_manifest` does.
    """
    rows = list(_read_rows(file))
    if not rows:
        raise DataError(f"{file} lists no photos; expected a header with path, label, and a row for each photo")
    columns = find_columns(_names(rows), asked=asked, where=str(file))
    for where, row in rows:
        ours = {column: row.get(name) for column, name in columns.items()}
        reader.add(ours, folder=file.parent, where=where, split=split)


def read_paths(file: Path) -> list[Path]:
    """Return the photos that a manifest lists, whatever else it says; one that is missing is a matter of opening it.

    Raises:
        DataError: there is no column with photos, or a row without one.
    """
    rows, photos, paths = list(_read_rows(file)), ListedPhotos(file.parent), []
    if not rows:
        raise DataError(f"{file} lists no photos; expected a header with path, and a row for each photo")
    column = find_columns(_names(rows), asked=BY_NAME, where=str(file), needed=["path"])["path"]
    for where, row in rows:
        text = as_text(row.get(column))
        if not text:
            raise DataError(f"{where} has no photo; give it one, or take the row out")
        paths.append(photos.look_up(text) or file.parent / text)
    return paths


def has_labels(file: Path) -> bool:
    """Return whether a file can be read as a manifest with a column of labels."""
    try:
        rows = list(_read_rows(file))
        find_columns(_names(rows), asked=BY_NAME, where=str(file))
    except DataError:
        return False
    return bool(rows)


def _names(rows: list[tuple[str, Row]]) -> list[str]:
    """Return the names of all columns that any row has, in order."""
    return list(dict.fromkeys(name for _, row in rows for name in row))


def _read_rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Read the rows of a manifest by the names of its columns, each after where it stands."""
    if file.suffix.lower() == ".jsonl":
        for number, line in enumerate(read_lines(file), start=1):
            if line.strip():
                where = f"{file}, line {number}"
                yield where, _json_row(_json(line, where=where), where=where)
        return
    if file.suffix.lower() == ".json":
        rows = _json("\n".join(read_lines(file)), where=str(file))
        if not isinstance(rows, list):
            raise DataError(
                f"{file} is {type(rows).__name__}; expected a list of rows with path and label, or COCO's JSON"
            )
        for number, row in enumerate(rows):
            yield f"{file}, row {number}", _json_row(row, where=f"{file}, row {number}")
        return
    values = read_values(file)
    header = [name.strip() for name in next(values, (1, []))[1]]
    names = [clean_column(name) for name in header]
    _check_header(header, names, file=file)
    for number, row in values:
        if [value.strip(" \ufeff") for value in row] != header:  # that of a second file, which was joined to this one
            yield f"{file}, line {number}", {name: value for name, value in zip(header, row, strict=False) if name}


def _check_header(header: list[str], names: list[str], *, file: Path) -> None:
    """Raise DataError where a column is there twice, or the first row is a photo's."""
    for column in COLUMNS:
        if names.count(column) > 1:
            raise DataError(f"{file} has two columns {column!r}, among: {', '.join(header)}; rename or remove one")
    photos = [name for name in header if Path(name).suffix.lower() in SUFFIXES]
    if photos:
        raise DataError(
            f"{file} begins with the row {','.join(header)}, which was taken for the header; put a line with the names "
            "of the columns before it: path,label"
        )


def _json(text: str, *, where: str) -> Any:  # noqa: ANN401  (whatever the text says)
    try:
        return json.loads(text, parse_constant=lambda _: None)  # NaN is how pandas writes that there is nothing
    except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, brackets without end
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise DataError(f"{where} is not JSON: {reason}") from error


def _json_row(row: object, *, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{where} is {type(row).__name__}; expected an object with path and label")
    return row
