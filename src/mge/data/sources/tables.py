"""Tables with a photo a row, as Hugging Face's `datasets` holds them: mapped from a file, any row at any time.

The photos stay bytes in the table until they are asked for, and then `open_photo` decodes them as it does files. This
module needs the extra `tables`; `shards` and `hub` import it when they need it.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow
from datasets import ClassLabel, Dataset, Image
from pyarrow import compute

from mge.data.hierarchy import collect_parents
from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.columns import GROUP_COLUMNS, PARENT_COLUMNS, image_column, label_column, optional_column
from mge.data.sources.folder import SPLIT_FOLDERS
from mge.errors import DataError


@dataclasses.dataclass(frozen=True, slots=True)
class TableRow:
    """Gives the bytes of a row's photo.

    All rows share one table, which is pickled as the name of the file that it is mapped from: workers get no copies.

    Args:
        photos: A table of one column.
        row: Number of the row.
    """

    photos: Dataset
    row: int

    def __call__(self) -> bytes:
        """The content of the photo's file, not decoded."""
        (value,) = self.photos[self.row].values()
        content: bytes = value["bytes"] if isinstance(value, dict) else value
        return content


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of one split.

    Args:
        split: What the data call it.
        dataset: The rows.
        row_names: What people find each row by.
    """

    split: str
    dataset: Dataset
    row_names: Iterable[str]


def read_tables(tables: list[Table], *, name: str, source: str, folder: Path | None) -> PhotoSet:
    """The photos of the splits of a data set.

    Where `train` is the only split it is the whole, as is the custom among such data: photos for testing and validation
    are held out as from a folder without splits. A split that has no labels, or is none of ours, is left out with a
    note.

    Args:
        tables: The splits.
        name: What people call the data.
        source: Where they are from, in words.
        folder: Where the paths start of photos that lie beside the table. None: none do.

    Raises:
        DataError: it is not clear which columns hold the photos and the classes, or a row has no photo or no class.
    """
    splits, notes = _choose_splits(list(dict.fromkeys(table.split for table in tables)), name=name)
    tables = [table for table in tables if table.split in splits and len(table.dataset)]
    tables.sort(key=lambda table: splits[table.split] == "train", reverse=True)  # their ClassLabel says the order
    labels = [_read_names(table.dataset, label_column(table.dataset.features, name=name)) for table in tables]
    has_labels = {table.split for table, column in zip(tables, labels, strict=True) if any(column)}
    records: list[Record] = []
    pairs: list[tuple[str, str]] = []
    for table, column in zip(tables, labels, strict=True):
        if table.split in has_labels:
            records += _read_records(table, column, split=splits[table.split], folder=folder, name=name)
            pairs += zip(column, _read_optional(table.dataset, PARENT_COLUMNS), strict=True)
    without = dict.fromkeys(table.split for table in tables if table.split not in has_labels)
    notes += [f"the split {split!r} of {name} is left out: it has no labels" for split in without]
    names, parents = _class_names(tables, records), collect_parents(pairs, name=name)
    return PhotoSet(name, source, names, tuple(records), parents, notes=tuple(notes))


def _choose_splits(names: list[str], *, name: str) -> tuple[dict[str, Split | None], list[str]]:
    """Our name of each split that is used, and notes on the others."""
    ours: dict[str, Split | None] = {
        split: SPLIT_FOLDERS[split.lower()] for split in names if split.lower() in SPLIT_FOLDERS
    }
    if len(names) == 1 and set(ours.values()) <= {"train"}:
        return {names[0]: None}, []
    if not ours:
        raise DataError(f"{name} has the splits {', '.join(names)}; accepted: train, validation, test, or a single one")
    others = [split for split in names if split not in ours]
    return ours, [f"the split {split!r} of {name} is left out: it is not train, validation or test" for split in others]


def _read_records(
    table: Table, labels: list[str], *, split: Split | None, folder: Path | None, name: str
) -> Iterator[Record]:
    column = image_column(table.dataset.features, name=name)
    photos = table.dataset.select_columns([column])
    if isinstance(photos.features[column], Image):
        photos = photos.cast_column(column, Image(decode=False))  # decoding is `open_photo`'s business
    files = _files_beside(photos, column)
    groups = _read_optional(table.dataset, GROUP_COLUMNS)
    for row, (row_name, label, group) in enumerate(zip(table.row_names, labels, groups, strict=True)):
        if not label:
            raise DataError(f"{row_name} has no label, and others of its split have; give it one, or take the row out")
        if row in files:
            file = _find_file(files[row], folder=folder, where=row_name)
            yield Record(file, label, split, group=group)
        else:
            yield Record(Path(row_name), label, split, group=group, read=TableRow(photos, row))


def _files_beside(photos: Dataset, column: str) -> dict[int, str]:
    """The paths of photos whose bytes are not in the table, by row; empty where there is no path. It reads no photo."""
    values = photos.data.column(column)
    if not pyarrow.types.is_struct(values.type):
        return dict.fromkeys(compute.indices_nonzero(values.is_null()).to_pylist(), "")
    rows = compute.indices_nonzero(compute.struct_field(values, "bytes").is_null())
    has_paths = "path" in [field.name for field in values.type]
    paths = compute.struct_field(values, "path").take(rows).to_pylist() if has_paths else [None] * len(rows)
    return {row: path or "" for row, path in zip(rows.to_pylist(), paths, strict=True)}


def _find_file(path: str, *, folder: Path | None, where: str) -> Path:
    """The file that a row names in place of a photo's bytes."""
    file = Path(path) if folder is None else folder / path
    if path and (folder or file.is_absolute()) and file.is_file():
        return file
    problem = f"has no bytes of its photo, and names the file {path!r}, which is not here" if path else "has no photo"
    raise DataError(f"{where} {problem}; write the table with its photos (`dataset.save_to_disk`), or take the row out")


def _read_names(dataset: Dataset, column: str) -> list[str]:
    """What a column names in each row; empty where it names nothing."""
    values, feature = dataset[column][:], dataset.features[column]
    if isinstance(feature, ClassLabel):  # -1 is the custom where a label is kept secret
        values = [None if value is None or value < 0 else feature.names[value] for value in values]
    return ["" if value is None else str(value).strip() for value in values]


def _read_optional(dataset: Dataset, accepted: tuple[str, ...]) -> list[str]:
    column = optional_column(dataset.features, accepted)
    return [""] * len(dataset) if column is None else _read_names(dataset, column)


def _class_names(tables: list[Table], records: list[Record]) -> tuple[str, ...]:
    """The classes that have photos, in the order of the tables' ClassLabels; others by number or alphabet."""
    occurring = {record.label for record in records}
    declared: dict[str, None] = {}
    for table in tables:
        feature = table.dataset.features[label_column(table.dataset.features, name=table.split)]
        declared |= dict.fromkeys(name.strip() for name in getattr(feature, "names", ()))
    others = sorted(occurring - set(declared), key=lambda name: (not name.isdigit(), len(name) * name.isdigit(), name))
    return (*(name for name in declared if name in occurring), *others)
