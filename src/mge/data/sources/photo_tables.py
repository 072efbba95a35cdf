"""Tables with a photo a row, as Hugging Face's `datasets` holds them: mapped from a file, any row at any time.

The photos stay bytes in the table until they are asked for, and then `open_photo` decodes them as it does files. This
module needs the extra `tables`; `shards` and `hub` import it when they need it.
"""

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from datasets import ClassLabel, Dataset, Image
from pyarrow import compute

from mge.data.records import PhotoSet, Split
from mge.data.sources.columns import NAMES, AskedColumns, clean_column, find_columns
from mge.data.sources.rows import SPLIT_NAMES, RowReader, as_text
from mge.errors import DataError

Features = Mapping[str, Any]  # of `datasets`, which has no types of its own


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
class PhotoTable:
    """The rows of one split.

    Args:
        split: What the data call it.
        dataset: The rows.
        row_names: What people find each row by.
        folder: Where the paths start of photos that lie beside the table. None: none do.
    """

    split: str
    dataset: Dataset
    row_names: Iterable[str]
    folder: Path | None = None


def read_tables(tables: list[PhotoTable], *, name: str, source: str, asked: AskedColumns) -> PhotoSet:
    """Read the photos of the splits of a data set.

    Where `train` is the only split it is the whole, as is the custom among such data: photos for testing and validation
    are held out as from a folder without splits. A split that has no labels, or is none of ours, is left out with a
    note. A column `split` says more than the name of a file.

    Args:
        tables: The splits.
        name: What people call the data.
        source: Where they are from, in words.
        asked: The columns that a person named.

    Raises:
        ConfigError: there is no such column as was asked for.
        DataError: it is not clear which columns hold the photos and the classes, or a row has no photo or no class.
    """
    splits, notes = _choose_splits(list(dict.fromkeys(table.split for table in tables)), name=name)
    tables = [table for table in tables if table.split in splits and len(table.dataset)]
    tables.sort(key=lambda table: splits[table.split] == "train", reverse=True)  # their ClassLabel says the order
    columns = [_find_columns(table.dataset.features, asked=asked, name=name) for table in tables]
    values = [
        {ours: _read_names(table.dataset, column) for ours, column in names.items() if ours != "path"}
        for table, names in zip(tables, columns, strict=True)
    ]
    has_labels = {table.split for table, read in zip(tables, values, strict=True) if any(read["label"])}
    reader, declared = RowReader(name=name), dict[str, None]()
    for table, names, read in zip(tables, columns, values, strict=True):
        declared |= dict.fromkeys(getattr(table.dataset.features[names["label"]], "names", ()))
        if table.split in has_labels:
            _add_rows(reader, table, names["path"], read, split=splits[table.split])
    without = dict.fromkeys(table.split for table in tables if table.split not in has_labels)
    notes += [f"the split {split!r} of {name} is left out: it has no labels" for split in without]
    found = reader.photo_set(source, class_names=_order_classes(declared, {each.label for each in reader.records}))
    return dataclasses.replace(found, notes=(*notes, *found.notes))


def _choose_splits(names: list[str], *, name: str) -> tuple[dict[str, Split | None], list[str]]:
    """Return our name of each split that is used, and notes on the others."""
    ours: dict[str, Split | None] = {
        split: SPLIT_NAMES[split.lower()] for split in names if split.lower() in SPLIT_NAMES
    }
    if len(names) == 1 and set(ours.values()) <= {"train"}:
        return {names[0]: None}, []
    if not ours:
        raise DataError(f"{name} has the splits {', '.join(names)}; accepted: train, validation, test, or a single one")
    others = [split for split in names if split not in ours]
    return ours, [f"the split {split!r} of {name} is left out: it is not train, validation or test" for split in others]


def _find_columns(features: Features, *, asked: AskedColumns, name: str) -> dict[str, str]:
    """Return the table's name of each of our columns: by its type, and by its name where types leave a choice.

    Photos are of the type Image; where there is none, bytes; where there are none, text with the name of a column of
    paths. Classes are of the type ClassLabel, or text or numbers with the name of one.
    """
    plain = [column for column, feature in features.items() if _is_text_or_number(feature)]
    photos = (
        [column for column, feature in features.items() if isinstance(feature, Image)]
        or [column for column, feature in features.items() if _holds_bytes(feature)]
        or [column for column in plain if any(clean_column(column) in row for row in NAMES["path"])]
    )
    others = {clean_column(other) for ours in ("split", "group", "parent") for row in NAMES[ours] for other in row}
    labels = [
        column
        for column, feature in features.items()
        if (isinstance(feature, ClassLabel) and clean_column(column) not in others)
        or (column in plain and any(clean_column(column) in row for row in NAMES["label"]))
    ]
    typed = {column: f"{column} ({_describe(feature)})" for column, feature in features.items()}
    return find_columns(
        list(features), asked=asked, where=name, candidates={"path": photos, "label": labels}, shown=typed
    )


def _add_rows(
    reader: RowReader, table: PhotoTable, column: str, values: Mapping[str, Sequence[str]], *, split: Split | None
) -> None:
    """Take the rows of a table, each with the bytes of its photo or the path of its file."""
    photos = table.dataset.select_columns([column])
    if isinstance(photos.features[column], Image):
        photos = photos.cast_column(column, Image(decode=False))  # decoding is `open_photo`'s business
    files = _files_beside(photos, column)
    for row, (row_name, *cells) in enumerate(zip(table.row_names, *values.values(), strict=True)):
        said: dict[str, object] = dict(zip(values, cells, strict=True))
        if row in files:
            reader.add({**said, "path": files[row]}, folder=table.folder, where=row_name, split=split)
        else:
            photo = TableRow(photos, row)
            reader.add(said, folder=None, where=row_name, split=split, path=Path(row_name), read=photo)


def _files_beside(photos: Dataset, column: str) -> dict[int, str]:
    """Return the paths of photos whose bytes are not in the table, by row; empty where there is no path."""
    values, feature = photos.data.column(column), photos.features[column]
    if not isinstance(feature, Image) and not _holds_bytes(feature):
        return dict(enumerate(map(as_text, values.to_pylist())))
    if not pyarrow.types.is_struct(values.type):
        return dict.fromkeys(compute.indices_nonzero(values.is_null()).to_pylist(), "")
    rows = compute.indices_nonzero(compute.struct_field(values, "bytes").is_null())
    has_paths = "path" in [field.name for field in values.type]
    paths = compute.struct_field(values, "path").take(rows).to_pylist() if has_paths else [None] * len(rows)
    return {row: path or "" for row, path in zip(rows.to_pylist(), paths, strict=True)}


def _read_names(dataset: Dataset, column: str) -> list[str]:
    """Return what a column says in each row; empty where it says nothing."""
    values, feature = dataset[column][:], dataset.features[column]
    if isinstance(feature, ClassLabel):  # -1 is the custom where a label is kept secret
        values = [None if value is None or value < 0 else feature.names[value] for value in values]
    return [as_text(value) for value in values]


def _order_classes(declared: Iterable[str], occurring: Collection[str]) -> tuple[str, ...]:
    """Return the classes that have photos, in the order of the tables' ClassLabels; others by number or alphabet."""
    first = [name for name in dict.fromkeys(each.strip() for each in declared) if name in occurring]
    others = set(occurring) - set(first)
    return (*first, *sorted(others, key=lambda name: (not name.isdigit(), len(name) * name.isdigit(), name)))


def _holds_bytes(feature: Any) -> bool:  # noqa: ANN401  (a feature)
    if isinstance(feature, dict):
        return _holds_bytes(feature.get("bytes"))
    return getattr(feature, "dtype", "") in ("binary", "large_binary", "binary_view")


def _is_text_or_number(feature: Any) -> bool:  # noqa: ANN401  (a feature)
    dtype = str(getattr(feature, "dtype", ""))
    return dtype.removeprefix("large_") in ("string", "string_view", "bool") or dtype.lstrip("u")[:3] in ("int", "flo")


def _describe(feature: Any) -> str:  # noqa: ANN401  (a feature)
    if isinstance(feature, dict):
        return f"struct of {', '.join(feature)}"
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind
