"""Photos to classify in files that hold many: manifests, Parquet tables and tar archives. Labels are not asked for."""

import tarfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mge.data.photo import NamedPhoto
from mge.data.signatures import SUFFIXES
from mge.data.sources import find_photos, naming_what_is_unreadable
from mge.data.sources.manifest import MANIFEST_SUFFIXES, read_paths
from mge.data.sources.walking import is_junk
from mge.errors import DataError, MissingExtraError, first_line

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

PARQUET, TAR = ".parquet", ".tar"
IMAGE_COLUMNS = ("image", "img", "photo", "picture", "jpg", "png", "bytes")


@naming_what_is_unreadable()
def find_all_photos(wanted: str | Path | Sequence[str | Path]) -> list[str | NamedPhoto]:
    """The photos that names stand for, in order, each once.

    A name is a photo, a folder, a pattern, a manifest with a column `path`, a Parquet file with a column of photos, or
    a tar archive. A folder without photos stands for the Parquet files and archives in it.

    Raises:
        DataError: a name stands for nothing, or a file is damaged or cannot be read.
        MissingExtraError: a Parquet file is named, and what reads it is not installed.
    """
    found: dict[str, str | NamedPhoto] = {}
    for name in find_photos(wanted, shards=(PARQUET, TAR)):
        for photo in _photos_in(name):
            found.setdefault(photo.name if isinstance(photo, NamedPhoto) else photo, photo)
    return list(found.values())


def _photos_in(name: str) -> Sequence[str | NamedPhoto]:
    """The photos in a file, or the file itself, which then is one."""
    file = Path(name)
    suffix = file.suffix.lower() if file.is_file() else ""
    if suffix in MANIFEST_SUFFIXES:
        return [str(path) for path in read_paths(file)]
    if suffix == TAR:
        return _read_tar(file)
    return PhotoColumn(file).photos() if suffix == PARQUET else [name]


def _read_tar(file: Path) -> list[NamedPhoto]:
    """The photos of an archive, by their names; their content is read when it is asked for."""
    try:
        with tarfile.open(file, "r:") as archive:
            members = [member for member in archive if member.isfile()]
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{file} is no tar archive, a compressed one, or damaged: {error}; give a plain .tar"
        ) from error
    photos = [
        NamedPhoto(f"{file}#{member.name}", partial(_read_part, file, member.offset_data, member.size))
        for member in members
        if Path(member.name).suffix.lower() in SUFFIXES and not any(map(is_junk, Path(member.name).parts))
    ]
    if not photos:
        raise DataError(
            f"{file} has no photos in it, among {len(members)} files; accepted: {', '.join(sorted(SUFFIXES))}"
        )
    return photos


def _read_part(file: Path, start: int, num_bytes: int) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            return opened.read(num_bytes)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error


class PhotoColumn:
    """The column of a Parquet file that holds photos; one group of rows at a time is in memory.

    Args:
        file: The Parquet file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._parquet, self._column = _open_parquet(file)
        self._rows: list[bytes | None] = []
        self._group, self._lock = -1, threading.Lock()

    def photos(self) -> list[NamedPhoto]:
        """All its photos, which share this column."""
        read, metadata = self._read, self._parquet.metadata
        places = [(group, row) for group in range(metadata.num_row_groups)
                  for row in range(metadata.row_group(group).num_rows)]  # fmt: skip
        return [NamedPhoto(f"{self.file}#{number}", partial(read, *place)) for number, place in enumerate(places)]

    def _read(self, group: int, row: int) -> bytes:
        from pyarrow import ArrowException  # noqa: PLC0415  (an extra, heavy)

        with self._lock:
            if group != self._group:
                try:
                    column = self._parquet.read_row_group(group, columns=[self._column]).column(0)
                except (ArrowException, OSError) as error:
                    raise DataError(f"{self.file} is damaged: {first_line(error)}; write it again") from error
                values = column.to_pylist()
                self._rows = [value["bytes"] if isinstance(value, dict) else value for value in values]
                self._group = group
            content = self._rows[row]
        if content is None:
            raise DataError(f"{self.file} has no photo in row {row} of its group {group}")
        return content


def _open_parquet(file: Path) -> "tuple[ParquetFile, str]":
    """A Parquet file, and the name of its column with photos: bytes, or a struct with bytes in it."""
    try:
        from pyarrow import ArrowException, parquet, types  # noqa: PLC0415  (an extra, heavy)
    except ImportError as error:
        raise MissingExtraError(
            "Parquet is read by pyarrow, which is not installed; get it with: pip install 'mge[tables]'"
        ) from error
    try:
        opened = parquet.ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise DataError(f"{file} is no Parquet file, or damaged: {first_line(error)}; write it again") from error
    columns = []
    for field in opened.schema_arrow:
        kind = field.type
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            kind = kind.field("bytes").type
        if types.is_binary(kind) or types.is_large_binary(kind):
            columns.append(field.name)
    named = [name for accepted in IMAGE_COLUMNS for name in columns if name.lower() == accepted]
    if not named and len(columns) != 1:
        raise DataError(
            f"{file} has {len(columns) or 'no'} columns of bytes, among: {', '.join(opened.schema_arrow.names)}; call "
            f"that with the photos {IMAGE_COLUMNS[0]!r}"
        )
    return opened, (named or columns)[0]
