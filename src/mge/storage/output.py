"""Output paths given by users: checked before any work begins, so that nothing is lost by accident.

A result may replace an older one, and nothing else: no photo or list that is read, no part of a model or a run, no
device, pipe, link or folder. For a link its target is written. A pipe and a device such as /dev/null or /dev/stdout
are written into, for commands that write one text.
"""

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TextIO

from mge.errors import ConfigError, StorageError
from mge.storage.export_description import DESCRIPTION
from mge.storage.files import Kind, final_place, kind_at, unfinished_name, write_text_atomically
from mge.storage.hub import FILES as MODEL_FILES

EXPORTED = (DESCRIPTION, "*.onnx", "*.pt2", "*.xml", "*.bin", "*.py", "expert_[0-9]*")  # files of an export
# Files in a folder with the first of these files that are not results.
PARTS: tuple[tuple[str, ...], ...] = (
    ("config.yaml", "environment.json", "origin.json", "metrics.csv", "summary.json", "skipped.json", "photos.jsonl"),
    MODEL_FILES,
    ("last.ckpt", "*.sha256"),
    EXPORTED,
)
DESCRIPTORS = re.compile(r"/proc/\d+(/task/\d+)?/fd|/dev/fd")
NO_READER = errno.ENXIO
ATTEMPTS = 3  # at a folder that another process may have just replaced
Input = str | os.PathLike[str]


def check_file(path: Input, *, flag: str, inputs: Iterable[Input] = (), streams: bool = False) -> Path:
    """Check the path of an output file given by a user, before the work for it begins, and return its place.

    Args:
        path: The file. An existing one will be replaced.
        flag: Name of the option.
        inputs: Files that are read; the output must not be one of them, under any name.
        streams: Whether it may also be a pipe or a device, which is written into.

    Raises:
        ConfigError: it would replace something other than a result.
        StorageError: it cannot be written there.
    """
    given = _as_path(path, flag=flag)
    if is_stream(given):
        if not streams:
            raise ConfigError(f"{flag} is {str(path)!r}, which is a pipe or a device; give a file")
        return given
    if given.is_dir():
        raise ConfigError(f"{flag} is {str(path)!r}, which is a folder; give a file, in it or elsewhere")
    place = _check_place(given, flag=flag, kind="file")
    for first, *others in PARTS:
        if (place.parent / first).is_file() and any(fnmatch(place.name, name) for name in (first, *others)):
            raise ConfigError(f"{flag} is {str(path)!r}, which is part of a model or run folder; give another file")
    check_is_not_read(place, inputs, flag=flag)
    return place


def check_folder(
    path: Input, *, flag: str, inputs: Iterable[Input] = (), writes: Sequence[str] = (), apart: bool = False
) -> Path:
    """Check the path of an output folder given by a user, before the work for it begins, and return its place.

    Args:
        path: The folder; it need not exist.
        flag: Name of the option.
        inputs: Files that are read, none of which may be replaced.
        writes: Patterns of the names of files that are written into it.
        apart: Whether it must not lie in a folder that is read, where its images would be read as photos next time.

    Raises:
        ConfigError: something other than a result would be replaced.
        StorageError: the folder cannot be created.
    """
    place = _check_place(_as_path(path, flag=flag), flag=flag, kind="folder")
    for pattern in writes:
        for there in place.glob(pattern):
            final_place(there, kind="file")
    whole = Path(os.path.realpath(place))
    homes: dict[str, str] = {}  # real paths of folders, each looked up once
    for name in filter(_is_path, inputs):  # the reader reports what else it is
        home, base = os.path.split(os.fspath(name))
        homes.setdefault(home, os.path.realpath(home))
        if homes[home] == str(whole) and any(fnmatch(base, pattern) for pattern in writes):
            raise ConfigError(
                f"{flag} is {str(path)!r}, but {base!r} there is an input and would be lost; give another folder"
            )
        if apart and os.path.isdir(name) and whole.is_relative_to(os.path.realpath(name)):  # noqa: PTH112
            raise ConfigError(
                f"{flag} is {str(path)!r}, inside {str(name)!r}, which is an input: the output would be read as photos "
                "next time; give a folder outside of it"
            )
    return place


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike)


def check_is_not_read(place: Path, inputs: Iterable[Input], *, flag: str) -> None:
    """Raise ConfigError if a file that will be replaced is also read, under any name."""
    try:
        mine = place.stat()
    except OSError:  # it does not exist yet
        return
    for name in inputs:
        try:
            is_same = os.path.samestat(mine, os.stat(name))  # noqa: PTH116  (a million photos)
        except (OSError, ValueError):  # unreadable files are reported by their reader
            continue
        if is_same:
            raise ConfigError(
                f"{flag} is {str(place)!r}, which is also an input and would be overwritten; give another file"
            )


def is_stream(path: Path) -> bool:
    """Return whether a name is a pipe, a device that takes text, or an open file of a process."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or _is_descriptor(path)


@contextlib.contextmanager
def open_stream(path: Path) -> Iterator[TextIO]:
    """Open a pipe or a device to write text into; existing content stays.

    Raises:
        StorageError: it cannot be opened, or is full.
    """
    try:
        with open(_descriptor(path), "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        raise StorageError(f"{path} was not written completely: {error.strerror}; give another path") from error


def write_output(path: Path, text: str) -> None:
    """Write a text to the place returned by `check_file`: into a stream, or atomically into a file.

    Raises:
        StorageError: it cannot be written.
    """
    if is_stream(path):
        with open_stream(path) as stream:
            stream.write(text)
    else:
        write_text_atomically(path, text)


def _descriptor(path: Path) -> int:
    """Open a stream for writing, waiting until a pipe has a reader."""
    flags = os.O_WRONLY | os.O_APPEND
    try:
        try:
            handle = os.open(path, flags | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != NO_READER or not path.is_fifo():
                raise
            sys.stderr.write(f"{path} is a pipe: waiting for a reader\n")
            handle = os.open(path, flags)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}; give another path") from error
    os.set_blocking(handle, True)
    return handle


def _is_descriptor(path: Path) -> bool:
    """Return whether this is /dev/stdout or another name of an open file, which must not be replaced."""
    for _ in range(40):  # the system's limit of links
        if DESCRIPTORS.fullmatch(os.path.realpath(path.parent)):
            return True
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return False


def _as_path(path: Input, *, flag: str) -> Path:
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ConfigError(f"{flag} is {text!r}, which is not a path; give the name of a file or folder")
    return Path(path)


def _check_place(given: Path, *, flag: str, kind: Kind) -> Path:
    """Return the final place, after creating and removing an empty file there or in the nearest existing folder."""
    try:
        if kind_at(given) not in (None, kind):
            raise ConfigError(f"{flag} is {str(given)!r}, which exists and is not a {kind}; give another name")
        place = final_place(given, kind=kind)
        _try_to_write(place if kind == "folder" else place.parent, name=place.name)
    except StorageError:  # an OSError as well, with its message already
        raise
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{flag} is {str(given)!r}, which cannot be written: {reason}; give another path") from error
    return place


def _try_to_write(folder: Path, *, name: str) -> None:
    """Create and remove an empty file in a folder, or in the nearest one that exists.

    Raises:
        OSError: it cannot be created there.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        near = folder
        while kind_at(near) is None and not near.is_symlink():
            near = near.parent
        trial = unfinished_name(near / name)
        try:
            trial.touch()
            trial.unlink(missing_ok=True)
        except FileNotFoundError:
            if not attempts_left:
                raise
        else:
            return
