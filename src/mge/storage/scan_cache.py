"""What was found out about files and holds as long as they do not change."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mge.config.cache_folder import cache_folder
from mge.errors import StorageError
from mge.storage.files import write_text_atomically

VERSION = 2  # of what is remembered; another one is forgotten
Row = list[str | int]


class ScanCache:
    """Rows about files, in the cache folder (`$MGE_CACHE`, or `~/.cache/mge`).

    A row is given back only for a file of the same path, size and times, and the same place on its disk: so a file that
    was moved over another one of its size, with its time, is not taken for that.

    Args:
        paths: The files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stamps = {str(path.absolute()): stamp for path in paths if (stamp := _stamp(path)) is not None}
        root = os.path.commonpath(self._stamps) if self._stamps else ""
        self._file = cache_folder("looks") / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
        self._rows = self._read()

    def get(self, path: Path) -> Row | None:
        """What is known about a file."""
        key = str(path.absolute())
        stamp, row = self._rows.get(key, (None, None))
        return row if stamp is not None and stamp == self._stamps.get(key) else None

    def keep(self, rows: Mapping[Path, Row]) -> None:
        """Remembers rows, beside those of other files of the same folder; in vain where nothing can be written."""
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
        except (OSError, ValueError, KeyError, TypeError):  # nothing yet, or damaged
            return {}


def _stamp(path: Path) -> list[int] | None:
    """Size, times of change in nanoseconds and place on the disk; None for what is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
