"""Atomic writing of files and folders: a crash leaves the previous one, or none."""

import contextlib
import ctypes
import errno
import glob
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from mge.errors import StorageError

Result = TypeVar("Result")
Kind = Literal["file", "folder"]
UNFINISHED = ".unfinished"  # suffix of unfinished files
REPLACED_WITHIN = 1.0  # seconds for replacing a folder where that takes two steps
FORGOTTEN_AFTER = 3600  # seconds; older unfinished files belong to killed processes
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # said of names that lead to nothing
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


def kind_at(path: Path) -> Kind | Literal["other"] | None:
    """Return what a name leads to, by one look; None: nothing.

    Of two looks, such as `exists` and `is_dir`, each may be true at its moment while another process replaces the
    file or folder, and both together are not.

    Raises:
        OSError: it cannot be looked at, such as in a folder that may not be searched.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in NOTHING:
            return None
        raise
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "other"


def list_names(folder: Path) -> list[str] | None:
    """Return the names in a folder, in any order; None if there is no folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208  (names, and not paths)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, and rename it once it is safely on disk.

    Args:
        path: The final name. For a link its target is written; the link stays.
        write: Writes to the path that it is given.

    Raises:
        StorageError: the disk is full, the folder cannot be written to, or the name exists and is not a file; existing
            content is still there.
    """
    path = final_place(path, kind="file")
    with _under_another_name(path) as unfinished:
        write(unfinished)
        _sync(unfinished)
        unfinished.replace(path)


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to; existing content is still there.
    """
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8"))


def write_folder_atomically(folder: Path, fill: Callable[[Path], Result]) -> Result:
    """Fill a folder under a temporary name, and rename it once its files are safely on disk.

    Args:
        folder: The final name. An existing folder, or a link's target, is replaced as a whole.
        fill: Writes into the folder that it is given.

    Returns:
        The result of `fill`.

    Raises:
        StorageError: the disk is full, or the folder cannot be created; existing content is still there.
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
    """Return the place that a name writes to: a link's target, which need not exist; otherwise the name itself.

    Raises:
        StorageError: the link is circular, or something of another kind exists there.
    """
    try:
        place = path
        if path.is_symlink():
            place = Path(os.path.realpath(path))
            if place.is_symlink():
                raise StorageError(f"{path} was not written: it is a circular link; give another name")
        if kind_at(place) not in (None, kind):
            raise StorageError(f"{path} was not written: it exists and is not a {kind}; give another name")
    except OSError as error:
        raise _as_storage_error(error, path) from error
    return place


@contextlib.contextmanager
def _under_another_name(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; whatever has it in the end is removed."""
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
    """Return a unique name in the same folder and so on the same disk."""
    named = path if path.name else path.absolute()  # `.` has no name of its own
    return named.with_name(f".{named.name}-{secrets.token_hex(4)}{UNFINISHED}")


def _unfinished_of(path: Path) -> Iterator[Path]:
    """Yield the unfinished versions of this path, of running or killed processes."""
    yield from path.parent.glob(f".{glob.escape(path.name)}-*{UNFINISHED}")


def _remove_forgotten(path: Path) -> None:
    """Remove the unfinished versions that killed processes left."""
    for forgotten in _unfinished_of(path):
        with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
            if time.time() - forgotten.stat().st_mtime > FORGOTTEN_AFTER:
                remove(forgotten)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it exists."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # Linux says EISDIR of a folder, other systems EPERM
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        shutil.rmtree(path, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, atomically as seen under its name."""
    away = unfinished_name(folder)
    try:
        folder.rename(away)
    except OSError:  # a mount point, or gone
        away = folder
    shutil.rmtree(away, ignore_errors=True)


def wait_for_folder(folder: Path) -> bool:
    """Return whether a folder exists, waiting for a moment while it is apparently being replaced.

    Only some file systems, such as NFS, have such a moment without it: see `_put_into_place`.
    """
    latest = time.monotonic() + REPLACED_WITHIN
    while not folder.is_dir():
        if time.monotonic() > latest or not any(_unfinished_of(folder)):
            return folder.is_dir()
        time.sleep(REPLACED_WITHIN / 50)
    return True


def remove_oldest(paths: Iterable[Path], *, kept: int) -> None:
    """Remove all but the newest of some files or folders."""
    with contextlib.suppress(FileNotFoundError):  # another process may do the same concurrently
        for path in sorted(paths, key=lambda path: path.stat().st_mtime)[:-kept]:
            remove(path)


def _put_into_place(new: Path, folder: Path) -> None:
    """Rename a finished folder to its final name; a previous one ends up under the other name, or is removed."""
    is_done = False
    while not is_done:
        if _is_renamed(new, folder) or _exchange(new, folder):
            return
        previous = unfinished_name(folder)
        with contextlib.suppress(FileNotFoundError):  # another process has just renamed it for the same purpose
            folder.rename(previous)
        is_done = _is_renamed(new, folder)
        shutil.rmtree(previous, ignore_errors=True)


def _is_renamed(new: Path, folder: Path) -> bool:
    """Rename a folder if its new name is free, or that of an empty folder."""
    try:
        new.rename(folder)
    except OSError as error:
        if error.errno in OCCUPIED:
            return False
        raise
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names atomically; False if the system does not support it."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "renameat2"):
        return False
    result: int = libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE)
    return result == 0


def _sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_storage_error(error: OSError, path: Path) -> StorageError:
    """Convert an error of the system to the one shown to users."""
    if isinstance(error, StorageError):
        return error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(
            f"the disk is full ({_free_mb(path):.0f} MB left): {path} was not written; free some space and try again"
        )
    return StorageError(f"{path} was not written: {error.strerror or error}; check the folder and its permissions")


def _free_mb(path: Path) -> float:
    """Return the free space in MB of the nearest folder that exists."""
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError):
            return shutil.disk_usage(folder).free / 1e6
    return 0.0
