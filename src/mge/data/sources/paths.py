"""Photos found by the paths in lists, also as other systems write them."""

import itertools
import os
import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path

from mge.data.file_type import SUFFIXES
from mge.data.sources.walking import is_junk
from mge.errors import DataError


class ListedPhotos:
    """The photos that a list names.

    A path that exists as written is taken at once. Otherwise backslashes are replaced by slashes, other Unicode
    spellings and suffixes of photos are tried, and, for a name without a folder, the folders directly beside the list;
    ambiguous matches are refused.

    Args:
        folder: Folder that relative paths start at; None: there is none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._found: list[tuple[str, Path]] = []
        self._listings: dict[Path, dict[str, list[Path]]] = {}

    def find(self, text: str, *, where: str) -> Path:
        """Return the photo that a list names.

        Raises:
            DataError: it does not exist, or is ambiguous.
        """
        path = self.look_up(text)
        if path is None:
            raise DataError(f"{where} names {text!r}, {self._explain(text)}")
        return path

    def look_up(self, text: str) -> Path | None:
        """Find the photo like `find`; None if it does not exist, or is ambiguous."""
        path = (self.folder or Path()) / text
        if (self.folder is None and not path.is_absolute()) or "\0" in text:
            return None
        if _is_file(path):
            return path
        others = self._others(text)
        if len(others) != 1:
            return None
        self._found.append((text, others[0]))
        return others[0]

    def notes(self) -> list[str]:
        """Return a note on the photos that were found under another spelling."""
        if not self._found:
            return []
        text, path = self._found[0]
        return [
            f"{len(self._found):,} paths differ in spelling from the files on disk and were matched: {text!r} is {path}"
        ]

    def _others(self, text: str) -> list[Path]:
        """Return the candidates for a path that does not exist as written."""
        if "://" in text:
            return []
        path = (self.folder or Path()) / text.replace("\\", "/")
        matches = self._in(path.parent, path.name) or self._in(_spelt_otherwise(path.parent), path.name)
        if not matches and self.folder is not None and Path(text).name == text:
            matches = self._beside.get(_key(text), [])
        return matches

    def _in(self, folder: Path, name: str) -> list[Path]:
        """Return the files in a folder with this name, in any spelling, or with this name but for their suffix."""
        if folder not in self._listings:
            self._listings[folder] = _list_photos(folder)
        return self._listings[folder].get(_key(name), [])

    @cached_property
    def _beside(self) -> dict[str, list[Path]]:
        """Photos in the folders directly beside the list, by their names with and without suffix."""
        beside: defaultdict[str, list[Path]] = defaultdict(list)
        for home in sorted(self.folder.iterdir()) if self.folder is not None else ():
            if home.is_dir() and not is_junk(home.name):
                for name, paths in _list_photos(home).items():
                    beside[name] += paths
        return beside

    def _explain(self, text: str) -> str:
        """Explain why a path leads nowhere, with advice."""
        address = re.match(r"[A-Za-z][\w+.-]*://", text)
        if address:
            return f"a URL; only local files are read: download them, and list their paths without {address[0]}"
        path = (self.folder or Path()) / text
        start = f"relative paths are resolved from {self.folder}"
        if _is_folder(path):
            return "which is a folder; list each photo in it"
        others = self._others(text)
        if others:
            return f"which is ambiguous: {others[0]} or {others[1]}; write the full path with its suffix"
        if "\\" in text:
            return f"which has backslashes and does not exist with slashes either; write it with slashes; {start}"
        if self.folder is None:
            return (
                "which does not exist here; save the table with its photos (`dataset.save_to_disk`), or remove the row"
            )
        if _is_file(Path.cwd() / text):
            return f"which exists below the working directory but not below the list's folder; {start}"
        without = [self.folder / text.lstrip("/")] if _is_file(self.folder / text.lstrip("/")) else []
        near = without or self._in(path.parent, path.stem) or self._deeper(path.name)
        return f"which does not exist; {f'a similar name is {near[0]}; ' if near else ''}{start}"

    def _deeper(self, name: str) -> list[Path]:
        """Return files of a name anywhere below the list's folder, searching at most a thousand folders."""
        homes = itertools.islice(os.walk(self.folder or Path()), 1000)
        return [Path(home, file) for home, _, files in homes for file in files if _key(file) == _key(name)]


def _list_photos(folder: Path) -> dict[str, list[Path]]:
    """Index the files of a folder by their names, and the photos also by their names without the suffix."""
    files = defaultdict(list)
    try:
        entries = sorted(folder.iterdir())
    except (OSError, ValueError):  # no such folder, or a name that no disk would take
        return {}
    for entry in entries:
        if not is_junk(entry.name) and entry.is_file():
            files[_key(entry.name)].append(entry)
            if entry.suffix.lower() in SUFFIXES:
                files[_key(entry.stem)].append(entry)
    return files


def _spelt_otherwise(folder: Path) -> Path:
    """Return the existing folder of this name, in any Unicode spelling."""
    here = Path(folder.anchor)
    for part in folder.relative_to(folder.anchor).parts:
        try:
            same = [] if (here / part).exists() else [each for each in here.iterdir() if _key(each.name) == _key(part)]
        except (OSError, ValueError):
            return folder
        here = same[0] if same else here / part
    return here


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_file(path: Path) -> bool:
    """Return whether there is a file of this name; False for names that the file system rejects."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
