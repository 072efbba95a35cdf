"""Photos to classify in files that hold many: manifests, Parquet tables and tar archives. Labels are not asked for."""

import dataclasses
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mge.data.photo import NamedPhoto
from mge.data.signatures import SUFFIXES
from mge.data.sources import find_photos
from mge.data.sources.manifest import MANIFEST_SUFFIXES, read_paths
from mge.data.sources.walking import is_junk, search
from mge.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

PARQUET, TAR = ".parquet", ".tar"
IMAGE_COLUMNS = ("image", "img", "photo", "picture", "jpg", "png", "bytes")


def find_all_photos(wanted: list[str]) -> list[str | NamedPhoto]:
    """The photos that names stand for, in order, each once.

    A name is a photo, a folder, a pattern, a manifest with a column `path`, a Parquet file with a column of photos, or
    a tar archive. A folder without photos stands for the Parquet files and archives in it.

    Raises:
        DataError: a name stands for nothing, or a file is damaged.
        MissingExtraError: a Parquet file is named, and what reads it is not installed.
    """
    found: dict[str, str | NamedPhoto] = {}
    for name in wanted:
        for photo in _photos_of(name):
            found.setdefault(photo.name if isinstance(photo, NamedPhoto) else photo, photo)
    return list(found.values())


def _photos_of(name: str) -> list[str | NamedPhoto]:
    path = Path(name)
    if path.is_dir():
        findings = search(path)
        shards = [file for file in findings.others if file.suffix.lower() in (PARQUET, TAR)]
        if shards and not findings.photos:
            return [photo for shard in shards for photo in _photos_in(shard)]
    files = find_photos([name])
    return [photo for file in files for photo in _photos_in(Path(file), name=file)]


def _photos_in(file: Path, *, name: str = "") -> list[str | NamedPhoto]:
    """The photos in a file, or the file itself, which then is one."""
    readers: dict[str, Callable[[Path], list[NamedPhoto]]] = {PARQUET: _read_parquet, TAR: _read_tar}
    suffix = file.suffix.lower()
    if suffix in MANIFEST_SUFFIXES and file.is_file():
        return [str(path) for path in read_paths(file)]
    return list(readers[suffix](file)) if suffix in readers and file.is_file() else [name]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """Gives the bytes of a photo in a tar archive.

    Args:
        archive: The archive, which is not compressed.
        start: Where the photo's bytes begin.
        num_bytes: How many there are.
    """

    archive: Path
    start: int
    num_bytes: int

    def __call__(self) -> bytes:
        """The content of the photo's file, not decoded."""
        try:
            with self.archive.open("rb") as file:
                file.seek(self.start)
                return file.read(self.num_bytes)
        except OSError as error:
            raise DataError(f"{self.archive} cannot be read: {error.strerror or error}") from error


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
        NamedPhoto(f"{file}#{member.name}", Member(file, member.offset_data, member.size))
        for member in members
        if Path(member.name).suffix.lower() in SUFFIXES and not any(map(is_junk, Path(member.name).parts))
    ]
    if not photos:
        raise DataError(
            f"{file} has no photos in it, among {len(members)} files; accepted: {', '.join(sorted(SUFFIXES))}"
        )
    return photos


class Table:
    """The column of a Parquet file that holds photos; one group of rows at a time is in memory.

    Args:
        file: The Parquet file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._parquet, self._column = _open_parquet(file)
        self._rows: list[bytes | None] = []
        self._group, self._lock = -1, threading.Lock()

    def names(self) -> list[NamedPhoto]:
        """All its photos, which share this table."""
        photos: list[NamedPhoto] = []
        for group in range(self._parquet.num_row_groups):
            for row in range(self._parquet.metadata.row_group(group).num_rows):
                photos.append(NamedPhoto(f"{self.file}#{len(photos)}", Row(self, group, row)))
        return photos

    def read(self, group: int, row: int) -> bytes:
        """The bytes of one photo.

        Raises:
            DataError: there are none, or the file is damaged.
        """
        from pyarrow import ArrowException  # noqa: PLC0415  (an extra, heavy)

        with self._lock:
            if group != self._group:
                try:
                    column = self._parquet.read_row_group(group, columns=[self._column]).column(0)
                except (ArrowException, OSError) as error:
                    raise DataError(f"{self.file} is damaged: {_first_line(error)}; write it again") from error
                values = column.to_pylist()
                self._rows = [value["bytes"] if isinstance(value, dict) else value for value in values]
                self._group = group
            content = self._rows[row]
        if content is None:
            raise DataError(f"{self.file} has no photo in row {row} of its group {group}")
        return content


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """Gives the bytes of a photo in a Parquet file.

    Args:
        table: The file.
        group: Number of the group of rows.
        row: Number of the row in it.
    """

    table: Table
    group: int
    row: int

    def __call__(self) -> bytes:
        """The content of the photo's file, not decoded."""
        return self.table.read(self.group, self.row)


def _read_parquet(file: Path) -> list[NamedPhoto]:
    return Table(file).names()


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
        raise DataError(f"{file} is no Parquet file, or damaged: {_first_line(error)}; write it again") from error

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


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
