"""What the readers of unpacked archives share: finding their files, and saying in one line which one is missing."""

import dataclasses
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from mge.data.records import PhotoSet, Record
from mge.data.sources.text_lines import read_lines
from mge.errors import DataError

Key = TypeVar("Key", bound=Hashable)


class ListedFiles:
    """The files below a folder, found by the names that an annotation file gives them.

    A folder is listed once, not asked about each file: on a network disk that saves most of the wait.

    Args:
        folder: Where they lie; names never lead out of it.
        advice: What to do where one is missing.
    """

    def __init__(self, folder: Path, *, advice: str) -> None:
        self.folder, self.advice = folder, advice
        self._listings: dict[Path, frozenset[str]] = {}

    def find(self, name: str, *, where: str) -> Path:
        """The file of this name.

        Args:
            name: Its path below the folder, with `/` between the parts.
            where: What names it: file and line.

        Raises:
            DataError: it does not exist, or would lie outside the folder.
        """
        path = self.look_up(name, where=where)
        if path is None:
            raise DataError(f"{where} names {name!r}, which does not exist below {self.folder}; {self.advice}")
        return path

    def look_up(self, name: str, *, where: str) -> Path | None:
        """As `find`, and None where there is no such file."""
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts or "\0" in name:
            raise DataError(f"{where} names {name!r}, which is no file below {self.folder}; accepted: paths inside it")
        path = self.folder / relative
        return path if path.name in self._names_in(path.parent) else None

    def _names_in(self, folder: Path) -> frozenset[str]:
        if folder not in self._listings:
            try:
                with os.scandir(folder) as entries:
                    self._listings[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except (OSError, ValueError):  # no such folder, or a name that no disk would take
                self._listings[folder] = frozenset()
        return self._listings[folder]


class TextTable(NamedTuple):
    """A text file with one row a thing: its id, and what is said of it."""

    file: Path
    rows: Mapping[str, tuple[str, ...]]
    advice: str

    def row(self, key: str) -> tuple[str, ...]:
        """What is said of a thing.

        Raises:
            DataError: the file does not speak of it.
        """
        if key not in self.rows:
            raise DataError(f"{self.file} has no line for {key!r}, which a file beside it names; {self.advice}")
        return self.rows[key]


@dataclasses.dataclass(frozen=True)
class Archive:
    """An unpacked archive on disk.

    Args:
        folder: Where its files lie.
        name: What people call the data set.
        advice: What to do where a file is missing.
    """

    folder: Path
    name: str
    advice: str

    def file(self, *places: str) -> Path:
        """The file at the first of these places that has one.

        Raises:
            DataError: none has.
        """
        return self._first(places, is_there=Path.is_file, kind="file")

    def files_in(self, place: str) -> ListedFiles:
        """The files of a folder, by the names that annotation files give them.

        Raises:
            DataError: there is no such folder.
        """
        return ListedFiles(self._first([place], is_there=Path.is_dir, kind="folder"), advice=self.advice)

    def lines(self, place: str) -> Iterator[tuple[str, str]]:
        """Each line of a text file that is not blank, after where it stands.

        Raises:
            DataError: there is no such file, or it is no text.
        """
        file = self.file(place)
        for number, line in enumerate(read_lines(file), start=1):
            if line.strip():
                yield f"{file}, line {number}", line.strip()

    def table(self, place: str, *, columns: Sequence[str]) -> TextTable:
        """A text file with one row a thing, its values between spaces; the last one may have spaces in it.

        Args:
            place: The file.
            columns: What stands in it, for the error message; the first is the id.

        Raises:
            DataError: there is no such file, a line has other columns, or an id comes twice.
        """
        rows: dict[str, tuple[str, ...]] = {}
        for where, line in self.lines(place):
            key, *values = line.split(maxsplit=len(columns) - 1)
            if len(values) != len(columns) - 1:
                raise DataError(f"{where} is {line!r}; expected: {', '.join(columns)}")
            if key in rows:
                raise DataError(f"{where} speaks of {key!r} a second time; expected one line for each")
            rows[key] = tuple(values)
        return TextTable(self.folder / place, rows, self.advice)

    def photo_set(
        self, source: str, class_names: Iterable[str], records: Sequence[Record], *,
        parents: Mapping[str, str] | None = None,
    ) -> PhotoSet:  # fmt: skip
        """The photos, with those of the classes, in the archive's order, that have any.

        Raises:
            DataError: two classes have the same name.
        """
        used = {record.label for record in records}
        names = tuple(name for name in class_names if name in used)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(
                f"{self.name} in {str(self.folder)!r} has two classes called {twice[0]!r}; rename one of them"
            )
        return PhotoSet(self.name, source, names, tuple(records), parents or {})

    def _first(self, places: Sequence[str], *, is_there: Callable[[Path], bool], kind: str) -> Path:
        for place in places:
            if is_there(self.folder / place):
                return self.folder / place
        raise DataError(f"{self.name} in {str(self.folder)!r} lacks the {kind} {' or '.join(places)}; {self.advice}")


class Layout(NamedTuple):
    """How an archive unpacks.

    Args:
        name: What people call the data set.
        folders: Where its files lie, seen from what a person gives, other than right there.
        marks: Files any of which gives it away, so that a half-unpacked archive is known too.
        advice: What to do where a file is missing.
    """

    name: str
    folders: tuple[str, ...]
    marks: tuple[str, ...]
    advice: str

    def find(self, data: Path) -> Path | None:
        """The folder with the archive's files; None where there are none."""
        candidates = [data, *(data / folder for folder in self.folders)]
        return next((home for home in candidates if any((home / mark).exists() for mark in self.marks)), None)

    def is_in(self, data: Path) -> bool:
        """Whether this is such an archive, or part of one."""
        return self.find(data) is not None

    def open(self, data: Path) -> Archive:
        """The archive; where nothing gives it away, one that lacks its files, and says so."""
        return Archive(self.find(data) or data, self.name, self.advice)


def distinct_names(named: Iterable[tuple[Key, str, str]]) -> dict[Key, str]:
    """A name for each of some classes, no name twice.

    Args:
        named: Key, name and a remark. Who comes first has the name; the others get the remark behind it.
    """
    names: dict[Key, str] = {}
    taken: set[str] = set()
    for key, name, remark in named:
        distinct = name
        while distinct in taken:
            distinct += f" ({remark})"
        taken.add(distinct)
        names[key] = distinct
    return names
