"""Cache of facts about files, valid as long as the files do not change."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mge.config.cache_folder import cache_folder
from mge.errors import StorageError
from mge.storage.files import write_text_atomically

VERSION = 2  # of the cache; other versions are discarded
Row = list[str | int]


class ScanCache:
    """Cached rows about files, in the cache folder (`$MGE_CACHE`, or `~/.cache/mge`).

    A row is returned only for a file with the same path, size, times and inode: so a file that was moved over another
    one of the same size and time is not mistaken for it.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stamps = {str(path.absolute()): stamp for path in paths if (stamp := _stamp(path)) is not None}
        root = os.path.commonpath(self._stamps) if self._stamps else ""
        self._file = cache_folder("looks") / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
        self._rows = self._read()

    def get(self, path: Path) -> Row | None:
        """Return the cached row of a file."""
        key = str(path.absolute())
        stamp, row = self._rows.get(key, (None, None))
        return row if stamp is not None and stamp == self._stamps.get(key) else None

    def keep(self, rows: Mapping[Path, Row]) -> None:
        """Store rows, beside those of other files of the same folder; ignored if the cache cannot be written."""
        for path, row in rows.items():
            key = str(path.absolute())
            if key in self._stamps:
                self._rows[key] = (self._stamps[key], row)
        text = json.dumps({"version": VERSION, "rows": self._rows})
        with contextlib.suppress(StorageError):
            write_text_atomically(self._file, text)

    def _read(self) -> dict[str, tuple[list[int], Row]]:
        try:
            saved = json.loads(self._file.read_text(encoding="utf-8"))
            if saved["version"] != VERSION:
                return {}
            return {key: (stamp, row) for key, (stamp, row) in saved["rows"].items()}
        except (OSError, ValueError, KeyError, TypeError):  # no cache yet, or damaged
            return {}


def _stamp(path: Path) -> list[int] | None:
    """Return size, modification times in nanoseconds and inode; None if it is not a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
