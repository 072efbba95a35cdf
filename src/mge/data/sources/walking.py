"""Walking through a person's folders: which files are photos, and what else lies there."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mge.data.file_type import HEAD, OTHER_SUFFIXES, SUFFIXES, kind_of
from mge.errors import DataError

# What systems leave in folders, in lower case; hidden files and folders beside these.
RUN_FILES = ("config.yaml", "environment.json")  # what every run folder has
JUNK = frozenset(
    {
        "__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
        "@eadir", "#recycle", "lost+found", "__pycache__",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class FolderContent:
    """What lies below some folders.

    Args:
        photos: The photos, a folder's own before those of the folders in it, each in order.
        others: Files that are no photos.
        broken_links: Links that lead nowhere.
        repeated_links: Links to folders that were read already, those that lead in a circle among them.
        empty_folders: Folders with neither photos nor folders in them.
    """

    photos: list[Path] = dataclasses.field(default_factory=list)
    others: list[Path] = dataclasses.field(default_factory=list)
    broken_links: list[Path] = dataclasses.field(default_factory=list)
    repeated_links: list[Path] = dataclasses.field(default_factory=list)
    empty_folders: list[Path] = dataclasses.field(default_factory=list)

    def passed_over(self, folder: Path) -> list[str]:
        """What was found below a folder and is no photo, in words with an example each."""
        kinds = {
            "files that are no photos": self.others,
            "folders without photos": self.empty_folders,
            "links that lead nowhere": self.broken_links,
            "links to folders that were read already": self.repeated_links,
        }
        return [count(kind, [path.relative_to(folder) for path in paths]) for kind, paths in kinds.items() if paths]


def search(*folders: Path) -> FolderContent:
    """Finds what lies below folders, however deep, without what systems leave behind.

    Links are followed after everything that lies there itself, and each folder is read once: a photo is found under its
    own folder's name, and no link leads in circles.

    Raises:
        DataError: a folder cannot be read.
    """
    findings = FolderContent()
    seen: set[tuple[int, int]] = set()
    waiting, links = list(reversed(folders)), list[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            findings.repeated_links.append(folder)
            continue
        seen.add((status.st_dev, status.st_ino))
        waiting += reversed(_sort_entries(folder, findings, links))
    return findings


def list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name, without junk.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            kept = (entry for entry in entries if not is_junk(entry.name) and not is_own_run(entry))
            return sorted(kept, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"folder {folder} cannot be read: {error.strerror}; make it readable, or move it away"
        ) from error


def is_junk(name: str) -> bool:
    """Whether a file or folder is none of a person's data: hidden, or left by a system."""
    return name.startswith(".") or name.lower() in JUNK


def is_own_run(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a run: `cd photos; mge train .` writes pictures among the photos."""
    return all(os.path.isfile(f"{entry.path}/{name}") for name in RUN_FILES)  # noqa: PTH113  (no error on odd links)


def is_photo(file: Path) -> bool:
    """Whether a file has the suffix of a photo or, where its suffix says nothing, begins like one."""
    suffix = file.suffix.lower()
    if suffix in SUFFIXES or suffix in OTHER_SUFFIXES:
        return suffix in SUFFIXES
    try:
        if not file.is_file():  # a pipe would be waited for without end
            return False
        with file.open("rb", buffering=0) as opened:
            return bool(kind_of(opened.read(HEAD)))
    except OSError:
        return False


def count(what: str, examples: Sequence[object]) -> str:
    """How many there are of something, and the first of them."""
    return f"{what}: {len(examples):,} ({'such as ' if len(examples) > 1 else ''}{examples[0]})"


def _sort_entries(folder: Path, findings: FolderContent, links: list[Path]) -> list[Path]:
    """Puts each entry of a folder where it belongs.

    Returns:
        The folders in it. Links to folders are added to `links`.
    """
    num_photos, inner, linked = len(findings.photos), list[Path](), list[Path]()
    for entry in list_entries(folder):
        path, kind = Path(entry.path), _kind(entry)
        if kind == "folder":
            (linked if entry.is_symlink() else inner).append(path)
        elif kind == "nothing":
            findings.broken_links.append(path)
        elif kind == "file" and is_photo(path):
            findings.photos.append(path)
        else:
            findings.others.append(path)
    if len(findings.photos) == num_photos and not inner and not linked:
        findings.empty_folders.append(folder)
    links += linked
    return inner


def _kind(entry: os.DirEntry[str]) -> Literal["folder", "file", "pipe", "nothing"]:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself, or into a folder that nobody may read
        return "nothing"
    return "nothing" if entry.is_symlink() and not Path(entry.path).exists() else "pipe"
