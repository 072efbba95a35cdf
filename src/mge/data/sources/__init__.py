"""Files on disk into records: one reader a layout."""

import dataclasses
import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mge.config import DataConfig
from mge.data.file_type import SUFFIXES
from mge.data.labels import clean_labels
from mge.data.photo import as_text
from mge.data.records import PhotoSet, Split, assign_splits, check_photos, cut_groups, what_is_unmeasured
from mge.data.repeats import settle_repeats
from mge.data.sources.columns import AskedColumns
from mge.data.sources.hub_datasets import PREFIX
from mge.data.sources.layouts import explain, read_as, read_recognized
from mge.data.sources.walking import is_junk, search
from mge.errors import ConfigError, DataError, StorageError


def is_name(data: str) -> bool:
    """Whether data are called by a name, which means the same wherever one is, and not by a path."""
    return data == "beetles" or data.startswith(PREFIX)


@contextmanager
def naming_what_is_unreadable() -> Iterator[None]:
    """Turns what the system says about a file or folder that it does not let read into a DataError."""
    try:
        yield
    except StorageError:  # an OSError as well, and said already
        raise
    except OSError as error:
        name, reason = error.filename or "a file of the data", error.strerror or error
        raise DataError(f"{name} cannot be read: {reason}; make it readable, or move it away") from error


def check_is_path(data: object) -> None:
    """Raise ConfigError where data are given as what is no path, such as a data frame or a list."""
    if not isinstance(data, str | os.PathLike):
        raise ConfigError(
            f"data is a {type(data).__name__}; accepted: a path, or hf:owner/name; only mge.train takes a data frame, "
            "for others write it to a file: frame.to_csv('photos.csv', index=False)"
        )


@naming_what_is_unreadable()
def read_photos(
    data: str | Path, *, config: DataConfig, seed: int = 0, format: str = "auto",  # noqa: A002
    is_for_training: bool = True,
) -> PhotoSet:  # fmt: skip
    """Reads what a person calls their data, and assigns the splits that it leaves open.

    Args:
        data: `beetles`, a folder, a manifest, Parquet or Arrow, or `hf:owner/name[:config][@revision]`.
        config: Fractions to hold out, and the columns of tables that a person named.
        seed: Decides which photos are held out.
        format: `auto`, or the name of a source.
        is_for_training: Whether data that nothing can be learned from are refused.

    Raises:
        DataError: there is nothing there, nothing that can be read, or nothing that can be learned from.
        ConfigError: there is no such source.
    """
    check_is_path(data)
    asked, note = AskedColumns(config.image_column, config.label_column), ""
    if format == "auto":
        photos, note = read_recognized(Path(data), asked)
    else:
        photos = read_as(format, Path(data), asked)
    photos = dataclasses.replace(photos, notes=(*photos.notes, *[note] * bool(note)))
    photos = assign_splits(settle_repeats(clean_labels(photos)), config=config, seed=seed)
    # They name files and folders, and stand in model.json, in reports and in terminals.
    photos = dataclasses.replace(
        photos, name=as_text(photos.name), source=as_text(photos.source), notes=tuple(map(as_text, photos.notes))
    )
    if is_for_training:
        check_photos(photos)
        photos = _note_what_is_unmeasured(photos, config=config)
    return _note_cut_groups(photos)


def _note_what_is_unmeasured(photos: PhotoSet, *, config: DataConfig) -> PhotoSet:
    """Says so where too few photos are there to hold out what was asked for."""
    asked: dict[Split, float] = {"val": config.val_fraction, "test": config.test_fraction}
    note = what_is_unmeasured([split for split, fraction in asked.items() if photos.split(split) or not fraction])
    return photos if note is None else dataclasses.replace(photos, notes=(*photos.notes, note))


def _note_cut_groups(photos: PhotoSet) -> PhotoSet:
    """Says where the data's own splits have photos of one group on both sides."""
    cut = cut_groups(photos)
    if not cut:
        return photos
    note = (
        f"{len(cut)} groups of {photos.name} have photos in more than one split, the first is {cut[0]!r}: figures on "
        "held-out photos will be better than they should be; leave the splits out, and groups are held out whole"
    )
    return dataclasses.replace(photos, notes=(*photos.notes, note))


@naming_what_is_unreadable()
def explain_reading(data: str | Path, *, config: DataConfig) -> list[str]:
    """Return a line for each reader: why it declines these data, or what it makes of them."""
    return [as_text(line) for line in explain(Path(data), AskedColumns(config.image_column, config.label_column))]


@naming_what_is_unreadable()
def find_photos(wanted: str | Path | Sequence[str | Path], *, shards: Collection[str] = ()) -> list[str]:
    """The photo files that files, folders and patterns stand for, each once, in order.

    Args:
        wanted: What a person names.
        shards: Suffixes of files with many photos in them, which a folder without photos stands for.

    Raises:
        DataError: a name stands for nothing, or a folder cannot be read.
        ConfigError: there is something else than names.
    """
    found: dict[str, None] = {}
    for name in _names(wanted):
        files = _files(name, shards=shards)
        if not files:
            raise DataError(
                f"{name!r} stands for no photo; give files, folders with photos, or patterns such as 'shelf/*.jpg'"
            )
        found |= dict.fromkeys(files)
    return list(found)


def _names(wanted: object) -> list[str]:
    """Return the names that a person gives: a path, or several."""
    if isinstance(wanted, str | os.PathLike):
        return [str(wanted)]
    is_one = hasattr(wanted, "columns") or isinstance(wanted, bytes | dict)  # a data frame's items are column names
    items: list[object] = list(wanted) if isinstance(wanted, Iterable) and not is_one else [wanted]
    other = next((item for item in items if not isinstance(item, str | os.PathLike)), None)
    if other is not None:
        raise ConfigError(
            f"photos are given as {type(other).__name__}; accepted: a path, or a list of paths, such as "
            "list(frame['path']); mge.load(RUN).predict also takes Pillow images and the bytes of files"
        )
    return [str(item) for item in items]


def _files(name: str, *, shards: Collection[str]) -> list[str]:
    """What a name stands for. Who names a file means it, whatever it is; a pattern and a folder leave out junk."""
    path = Path(name)
    if path.is_dir():
        findings = search(path)
        lost = [link for link in findings.broken_links if link.suffix.lower() in SUFFIXES]  # to be told of each
        inside = [] if findings.photos else [file for file in findings.others if file.suffix.lower() in shards]
        return [str(file) for file in findings.photos + (inside or lost)]
    if path.exists():
        return [name]
    matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207
    return [str(match) for match in matches if not is_junk(match.name) and not match.is_dir()]
