"""Writing files and folders so that a crash leaves the former one, or none."""

import contextlib
import ctypes
import errno
import glob
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from mge.errors import StorageError

Result = TypeVar("Result")
Kind = Literal["file", "folder"]
UNFINISHED = ".unfinished"  # ends the name of what is being written
REPLACED_WITHIN = 1.0  # seconds in which one folder takes the place of another where that needs two steps
FORGOTTEN_AFTER = 3600  # seconds; what is unfinished and older belongs to a process that was killed
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a file of another name in the same folder, and gives it the name when it is safely on disk.

    Args:
        path: The name that it shall have. Of a link it is the target that is written; the link stays.
        write: Writes to the path that it is given.

    Raises:
        StorageError: the disk is full, the folder cannot be written to, or there is something of this name that is no
            file; what was there before is still there.
    """
    path = final_place(path, kind="file")
    with _under_another_name(path) as unfinished:
        write(unfinished)
        _sync(unfinished)
        unfinished.replace(path)


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to; what was there before is still there.
    """
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_folder_atomically(folder: Path, fill: Callable[[Path], Result]) -> Result:
    """Lets `fill` put files into a folder of another name, and gives it the name when they are safely on disk.

    Args:
        folder: The name that it shall have. A folder of this name, or a link's target, is replaced as a whole.
        fill: Writes into the folder that it is given.

    Returns:
        What `fill` does.

    Raises:
        StorageError: the disk is full, or there can be no such folder; what was there before is still there.
    """
    folder = final_place(folder, kind="folder")
    with _under_another_name(folder) as unfinished:
        unfinished.mkdir()
        result = fill(unfinished)
        for path in (*unfinished.rglob("*"), unfinished):
            _sync(path)
        _put_into_place(unfinished, folder)
    return result


def final_place(path: Path, *, kind: Kind) -> Path:
    """Return where something of this name is written: a link's target, which need not exist; otherwise right there.

    Raises:
        StorageError: the link leads in a circle, or something of another kind is there already.
    """
    try:
        place = Path(os.path.realpath(path)) if path.is_symlink() else path
        if place.is_symlink():
            raise StorageError(f"{path} was not written: it is a link that leads in a circle; give another name")
        if place.exists() and not (place.is_file() if kind == "file" else place.is_dir()):
            raise StorageError(f"{path} was not written: it is no {kind}, but something else; give another name")
    except OSError as error:
        raise _as_storage_error(error, path) from error
    return place


@contextlib.contextmanager
def _under_another_name(path: Path) -> Iterator[Path]:
    """A name in the same folder under which something is written; whatever has it in the end is removed."""
    unfinished = unfinished_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_forgotten(path)
        yield unfinished
        _sync(path.parent)
    except OSError as error:
        raise _as_storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            remove(unfinished)


def unfinished_name(path: Path) -> Path:
    """A name that nothing else has, in the same folder and so on the same disk."""
    named = path if path.name else path.absolute()  # `.` has no name of its own
    return named.with_name(f".{named.name}-{secrets.token_hex(4)}{UNFINISHED}")


def _unfinished_of(path: Path) -> Iterator[Path]:
    """What is being written to become this path, or was when its process was killed."""
    yield from path.parent.glob(f".{glob.escape(path.name)}-*{UNFINISHED}")


def _remove_forgotten(path: Path) -> None:
    """Removes what a killed process left when it was writing this path."""
    for forgotten in _unfinished_of(path):
        with contextlib.suppress(FileNotFoundError):  # another process has just given it its name
            if time.time() - forgotten.stat().st_mtime > FORGOTTEN_AFTER:
                remove(forgotten)


def remove(path: Path) -> None:
    """Removes a file or a whole folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Removes a folder; nobody ever sees a part of it under its name."""
    away = unfinished_name(folder)
    try:
        folder.rename(away)
    except OSError:  # a mount point, or gone
        away = folder
    shutil.rmtree(away, ignore_errors=True)


def wait_for_folder(folder: Path) -> bool:
    """Whether there is a folder. While one is being put into its place, as it seems, this waits for a moment.

    Only some file systems, such as NFS, have a moment without it: see `_put_into_place`.
    """
    latest = time.monotonic() + REPLACED_WITHIN
    while not folder.is_dir():
        if time.monotonic() > latest or not any(_unfinished_of(folder)):
            return folder.is_dir()
        time.sleep(REPLACED_WITHIN / 50)
    return True


def remove_oldest(paths: Iterable[Path], *, kept: int) -> None:
    """Removes all but the newest of some files or folders."""
    with contextlib.suppress(FileNotFoundError):  # another process may do the same at the same time
        for path in sorted(paths, key=lambda path: path.stat().st_mtime)[:-kept]:
            remove(path)


def _put_into_place(new: Path, folder: Path) -> None:
    """Gives a finished folder its name; a former one ends up under the other name, or is removed."""
    is_done = False
    while not is_done:
        if _is_renamed(new, folder) or _exchange(new, folder):
            return
        former = unfinished_name(folder)
        with contextlib.suppress(FileNotFoundError):  # another process has just taken it away to do the same
            folder.rename(former)
        is_done = _is_renamed(new, folder)
        shutil.rmtree(former, ignore_errors=True)


def _is_renamed(new: Path, folder: Path) -> bool:
    """Renames a folder where nothing has its new name, or an empty folder has."""
    try:
        new.rename(folder)
    except OSError as error:
        if error.errno in OCCUPIED:
            return False
        raise
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names in one step, so that neither is ever missing; False where the system has no such step."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):
        return False
    result: int = libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    return result == 0


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_storage_error(error: OSError, path: Path) -> StorageError:
    """What a user is told when the system refuses to write."""
    if isinstance(error, StorageError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        there = next(folder for folder in path.absolute().parents if folder.is_dir())
        free = shutil.disk_usage(there).free / 1e6
        return StorageError(f"the disk is full ({free:.0f} MB left): {path} was not written; make space and try again")
    return StorageError(f"{path} was not written: {error.strerror or error}; check the folder and its permissions")
