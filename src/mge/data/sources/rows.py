"""Conversion of a table's row to a photo: manifests, data frames and tables of photos share the meaning of values."""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mge.data.hierarchy import collect_parents
from mge.data.labels import NOTHING
from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.columns import BOX, COLUMNS, OPTIONAL
from mge.data.sources.paths import ListedPhotos
from mge.errors import DataError

SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_FILLERS = frozenset({"set", "split", "data", "dataset", "images", "image", "imgs", "photos", "seg"})


def find_split(name: str) -> Split | None:
    """Return the split that a folder, a file or a value is named after: `Training Set`, `seg_test`; None for none."""
    words = [word for word in re.split(r"[\W_\d]+", name.lower()) if word not in ("", *_FILLERS)]
    return SPLIT_NAMES.get(words[0]) if len(words) == 1 else None


class RowReader:
    """Converter of rows to records.

    Args:
        name: Name of the table in errors.
    """

    def __init__(self, *, name: str) -> None:
        self.name = name
        self._photos: dict[Path | None, ListedPhotos] = {}
        self.records: list[Record] = []
        self._parents: dict[tuple[str, str], None] = {}
        self._nothings: Counter[tuple[str, str]] = Counter()

    def add(
        self, row: Mapping[str, Any], *, folder: Path | None, where: str, split: Split | None = None,
        path: Path | None = None, read: Callable[[], bytes] | None = None,
    ) -> None:  # fmt: skip
        """Add a row.

        Args:
            row: Values by our names of the columns.
            folder: Folder that relative paths start at; None: there is none.
            where: Name of the row in errors.
            split: Split of a row that has none.
            path: Name for users of a photo that is not a file of its own.
            read: Returns the bytes of such a photo.

        Raises:
            DataError: it has no photo or no label, or an invalid value.
        """
        for column in COLUMNS:
            if isinstance(row.get(column), list | dict | tuple):
                raise DataError(f"{where} has a {type(row[column]).__name__} for {column}; expected text or a number")
        for what, is_there in (("photo", path or as_text(row.get("path"))), ("label", as_text(row.get("label")))):
            if not is_there:
                raise DataError(f"{where} has no {what}; add one, or remove the row")
        photos = self._photos.get(folder) or self._photos.setdefault(folder, ListedPhotos(folder))
        path = path or photos.find(as_text(row["path"]), where=where)
        label, others = as_text(row["label"]), {column: self._optional(row, column) for column in OPTIONAL}
        box = _read_box([others[edge] for edge in BOX], where=where)
        split = _read_split(others["split"], where=where) or split
        self.records.append(Record(path, label, split, box, group=others["group"], read=read))
        self._parents[label, others["parent"]] = None

    def photo_set(self, source: str, *, name: str = "", class_names: tuple[str, ...] | None = None) -> PhotoSet:
        """Return the photos of all rows.

        Args:
            source: Description of their origin.
            name: Name of the data; by default as in errors.
            class_names: The classes in their order; None: sorted.

        Raises:
            DataError: the rows contradict each other about parent classes.
        """
        names = class_names or tuple(sorted({record.label for record in self.records}))
        parents = collect_parents(self._parents, name=self.name)
        notes = [note for photos in self._photos.values() for note in photos.notes()] + self._note_nothings()
        return PhotoSet(name or self.name, source, names, tuple(self.records), parents, notes=tuple(notes))

    def _optional(self, row: Mapping[str, Any], column: str) -> str:
        """Return an optional value; common spellings of a missing value are treated as absent."""
        text = as_text(row.get(column))
        if text not in NOTHING:
            return text
        self._nothings[column if column not in BOX else "x1 to y2", text] += 1
        return ""

    def _note_nothings(self) -> list[str]:
        said = ", ".join(f"{text!r} as {column} ({count:,} times)" for (column, text), count in self._nothings.items())
        return [f"{self.name} has {said}, which is read as empty"] if said else []


def as_text(value: object) -> str:
    """Return a value as text, empty if there is none. A number is a value: a class may be called 0."""
    return "" if value is None or value != value else str(value).strip()  # NaN is not equal to itself


def _read_split(value: str, *, where: str) -> Split | None:
    split = find_split(value)
    if value and split is None:
        raise DataError(f"{where} has the split {value!r}; accepted: train, val, test")
    return split


def _read_box(values: list[str], *, where: str) -> tuple[float, float, float, float] | None:
    if not any(values):
        return None
    try:
        x1, y1, x2, y2 = map(float, values)
    except ValueError as error:
        raise DataError(f"{where} has the box {values}; expected four numbers x1, y1, x2, y2 in pixels") from error
    if not (0 <= x1 < x2 < math.inf and 0 <= y1 < y2 < math.inf):
        raise DataError(f"{where} has the box {values}; expected x1 < x2 and y1 < y2, both at least 0")
    return x1, y1, x2, y2
