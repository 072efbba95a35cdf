"""Photos in the rows of a Parquet file, read one after the other to bound the memory."""

import threading
from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from mge.data.photo import NamedPhoto
from mge.errors import DataError, MissingExtraError, first_line

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData, ParquetFile

IMAGE_COLUMNS = ("image", "img", "photo", "picture", "jpg", "png", "bytes")
ROWS_OF_ANY_FILE = 100_000  # accepted in a file of any size; more need a file as large as photos make it
BYTES_A_ROW = 2  # nothing that names or contains a photo is smaller, even compressed
BYTES_OF_ANY_GROUP = 2**28  # decompressed size accepted for any row group; photos hardly compress beyond that
LARGEST_RATIO = 20  # of unpacked to packed bytes, above that


class PhotoColumn:
    """The photo column of a Parquet file; one row at a time is in memory, read sequentially.

    Args:
        file: The Parquet file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._parquet, self._column = _open_parquet(file)
        self._rows: Iterator[bytes | DataError] = iter(())
        self._group, self._next, self._lock = -1, 0, threading.Lock()
        self._content: bytes | DataError = b""  # of the row before the next one

    def photos(self) -> list[NamedPhoto]:
        """Return all its photos, which share this column."""
        read, metadata = self._read, self._parquet.metadata
        places = ((group, row) for group in range(metadata.num_row_groups)
                  for row in range(metadata.row_group(group).num_rows))  # fmt: skip
        file = str(self.file)
        return [NamedPhoto(f"{file}#{number}", partial(read, *place), file) for number, place in enumerate(places)]

    def _read(self, group: int, row: int) -> bytes:
        with self._lock:
            if group != self._group or row < self._next - 1:
                self._group, self._next, self._rows = group, 0, self._stream(group)
            while self._next <= row:
                self._content, self._next = next(self._rows), self._next + 1
            content = self._content
        if isinstance(content, DataError):
            raise DataError(str(content))
        return content

    def _stream(self, group: int) -> Iterator[bytes | DataError]:
        """Yield the photos of a row group, in order, or their errors; an error of the file is repeated forever."""
        from pyarrow import ArrowException  # noqa: PLC0415  (an extra, heavy)

        try:
            for batch in self._parquet.iter_batches(1, row_groups=[group], columns=[self._column]):
                for value in batch.column(0).to_pylist():
                    content = value["bytes"] if isinstance(value, dict) else value
                    where = f"row {self._next} of its group {group}"
                    yield DataError(f"{self.file} has no photo in {where}") if content is None else content
            reason = "it has fewer rows than its metadata states"
        except (ArrowException, OSError) as error:
            reason = first_line(error)
        yield from repeat(DataError(f"{self.file} is damaged: {reason}; re-create it"))


def check_bounds(metadata: "FileMetaData", file: Path) -> None:
    """Raise DataError for a decompression bomb: a few bytes that declare far more rows or bytes than photos have."""
    size = file.stat().st_size
    if metadata.num_rows > max(ROWS_OF_ANY_FILE, size / BYTES_A_ROW):
        raise DataError(
            f"{file} has {metadata.num_rows:,} rows in {size:,} bytes, too many rows for photos; accepted: "
            f"{ROWS_OF_ANY_FILE:,}, or {BYTES_A_ROW} bytes per row; re-create it with its photos only"
        )
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(column) for column in range(group.num_columns)]
        unpacked = sum(column.total_uncompressed_size for column in columns)
        packed = sum(column.total_compressed_size for column in columns)
        if unpacked > max(BYTES_OF_ANY_GROUP, LARGEST_RATIO * packed):
            raise DataError(
                f"{file} unpacks its group {number} of rows from {packed:,} into {unpacked:,} bytes, which is "
                f"implausible for photos; accepted: a ratio of up to {LARGEST_RATIO}; re-create it with smaller row "
                "groups"
            )


def _open_parquet(file: Path) -> "tuple[ParquetFile, str]":
    """Open a Parquet file, and find its column with photos: bytes, or a struct with bytes in it."""
    try:
        from pyarrow import ArrowException, parquet, types  # noqa: PLC0415  (an extra, heavy)
    except ImportError as error:
        raise MissingExtraError(
            "reading Parquet needs pyarrow, which is not installed; install it with: pip install 'mge[tables]'"
        ) from error
    try:
        opened = parquet.ParquetFile(file, buffer_size=2**20)
    except (ArrowException, OSError) as error:
        raise DataError(f"{file} is not a Parquet file, or damaged: {first_line(error)}; re-create it") from error
    check_bounds(opened.metadata, file)
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
            f"{file} has {len(columns) or 'no'} binary columns, among: {', '.join(opened.schema_arrow.names)}; name "
            f"the column of photos {IMAGE_COLUMNS[0]!r}"
        )
    return opened, (named or columns)[0]
