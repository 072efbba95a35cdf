"""Parquet and Arrow files, and the folders that `datasets` saves."""

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mge.data.records import PhotoSet
from mge.data.sources.columns import BY_NAME, AskedColumns
from mge.data.sources.extras import need_datasets
from mge.data.sources.folder import has_class_folders
from mge.data.sources.parquet import check_bounds
from mge.data.sources.rows import SPLIT_NAMES
from mge.data.sources.walking import is_junk
from mge.errors import DataError

if TYPE_CHECKING:
    from mge.data.sources.photo_tables import PhotoTable

TABLE_SUFFIXES = (".parquet", ".arrow")
SAVED = (("state.json", "dataset_info.json"), ("dataset_dict.json",))  # what `save_to_disk` leaves in a folder

METADATA = "metadata"  # a file of this name has the labels of the photos beside it


def is_shards(data: Path) -> bool:
    """Return whether this is a Parquet or Arrow file, or a folder of them that has no class folders."""
    if data.is_dir():
        files = _find_shards(data)
        return (
            is_saved(data)
            or any(file.stem == METADATA for file in files)
            or bool(files and not has_class_folders(data))
        )
    return data.is_file() and data.suffix.lower() in TABLE_SUFFIXES


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` of `datasets` wrote this folder."""
    return any(all((folder / name).is_file() for name in names) for names in SAVED)


def read_shards(data: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Reads a Parquet or Arrow file, a folder of them, or a folder that `save_to_disk` wrote.

    `datasets` keeps a copy of Parquet as Arrow in its cache, which gives any row at any time; Arrow is read where it
    lies. Nothing is asked of the network.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: the files are damaged, some say which split they are and others do not, or a column is missing.
    """
    need_datasets()
    from datasets.exceptions import DatasetsError  # noqa: PLC0415  (an optional extra, heavy)

    from mge.data.sources.photo_tables import read_tables  # noqa: PLC0415  (needs the extra)

    try:
        tables = _load_saved(data) if is_saved(data) else _load_shards(data)
    except (DatasetsError, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"{data} cannot be read: {reason}; write it again, or take the damaged file out") from error
    name = data.resolve().name if data.is_dir() else data.stem
    return read_tables(tables, name=name, source="Parquet or Arrow", asked=asked)


def _load_saved(folder: Path) -> "list[PhotoTable]":
    from datasets import DatasetDict, load_from_disk  # noqa: PLC0415  (an optional extra, heavy)

    from mge.data.sources.photo_tables import PhotoTable  # noqa: PLC0415  (needs the extra)

    loaded = load_from_disk(folder)
    splits = dict(loaded) if isinstance(loaded, DatasetDict) else {str(loaded.split or "train"): loaded}
    return [
        PhotoTable(split, dataset, [f"{folder / split}#{row}" for row in range(len(dataset))], folder)
        for split, dataset in splits.items()
    ]


def _load_shards(data: Path) -> "list[PhotoTable]":
    """A table a file: each file is read by its own list of class names, which need not be that of its neighbours."""
    from datasets import Dataset  # noqa: PLC0415  (an optional extra, heavy)
    from pyarrow.parquet import read_metadata  # noqa: PLC0415

    from mge.data.sources.photo_tables import PhotoTable  # noqa: PLC0415  (needs the extra)

    tables, home = [], data if data.is_dir() else data.parent
    for file, split in _split_of_each(_find_shards(data) if data.is_dir() else [data], data=data).items():
        if file.suffix.lower() == ".arrow":
            dataset = Dataset.from_file(str(file))
        else:  # not load_dataset("parquet"), which tells the network that it was called
            check_bounds(read_metadata(file), file)
            dataset = Dataset.from_parquet(glob.escape(str(file)))
        names = [f"{file}#{row}" for row in range(len(dataset))]
        tables.append(PhotoTable(split, dataset, names, file.parent if file.stem == METADATA else home))
    return tables


def _find_shards(folder: Path) -> list[Path]:
    """The shards in a folder, and in its folders `data`, `train`, `test` and so on; no photo has to be looked at."""
    inner = [entry for entry in folder.iterdir() if entry.is_dir() and entry.name.lower() in ("data", *SPLIT_NAMES)]
    files = [file for home in (folder, *inner) for file in home.iterdir() if file.suffix.lower() in TABLE_SUFFIXES]
    return sorted(file for file in files if file.is_file() and not is_junk(file.name))


def _split_of_each(files: list[Path], *, data: Path) -> dict[Path, str]:
    """The split that each file's name or folder begins with: `train-00000-of-00002.parquet`, `test/0.parquet`."""
    splits: dict[Path, str] = {}
    for file in files:
        names = file.relative_to(data).parts[::-1] if file != data else (file.name,)
        words = [re.split("[^a-z]", name.lower())[0] for name in names]
        splits[file] = next((word for word in words if word in SPLIT_NAMES), "")
    without = [file for file, split in splits.items() if not split]
    if without and len(without) < len(files):
        raise DataError(
            f"{data} has files that say which split they are, and others that do not, as {without[0].name}; begin each "
            "name with train, validation or test, or none"
        )
    return {file: split or "train" for file, split in splits.items()}
