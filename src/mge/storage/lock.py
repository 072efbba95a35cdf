"""Locks on run and model folders: one process writes at a time, and others get the name of the holder.

The lock is the system's own (flock) on a file that names its holder, so it ends with the holder's process, however that
dies. A network file system (NFS from version 4 on) passes it on to all machines unless it was mounted with `nolock` or
`local_lock`; if locks are missing or local to one machine, a note is printed to stderr, and the work continues.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import shlex
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from mge.errors import InUseError, StorageError

LOCK = ".lock"  # name of the file in a run folder; suffix of its name beside a model folder
POLL_SECONDS = 0.05
PATIENCE = 60.0  # seconds to wait for a process that holds a lock briefly
LONGEST_COMMAND = 200  # characters of it that are recorded
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # errors of flock on a file system without locks
# Options of mounts under which a lock holds on this machine only.
LOCAL_OPTIONS = {"nolock", "local_lock=flock", "local_lock=all", "localflock", "nobrl"}

_held: dict[Path, tuple[int, int]] = {}  # lock file → its handle, and the thread that holds it


@contextlib.contextmanager
def hold(file: Path, *, what: Path, lasts: bool = False) -> Iterator[None]:
    """Hold a lock; it is reentrant within a thread.

    Args:
        file: The lock file. It is created, and removed in the end; its folder has to exist.
        what: The folder that is locked, for messages.
        lasts: Whether it is held for long, so that other processes are refused at once instead of waiting.

    Raises:
        InUseError: another process, or another thread of this one, holds it.
        StorageError: the file cannot be written.
    """
    key = _key(file)
    if key in _held and _held[key][1] == threading.get_ident():
        yield
        return
    handle = _acquire(key, what=what)
    _held[key] = handle, threading.get_ident()
    try:
        _write_holder(key, lasts=lasts)
        yield
    finally:
        if _held.pop(key, None) is not None:  # otherwise this is a fork, which holds nothing
            if _is_at(handle, key):  # otherwise the folder was moved, and the file is another's
                with contextlib.suppress(OSError):  # read-only by now
                    key.unlink()
            os.close(handle)


def is_lost(file: Path) -> bool:
    """Return whether another process has taken the place of a held lock, after the folder was moved away."""
    key = _key(file)
    return key in _held and key.exists() and not _is_at(_held[key][0], key)


def _key(file: Path) -> Path:
    """Return the place of a lock file. A link of its name is not followed: its target would be overwritten."""
    return file.parent.resolve() / file.name


def _acquire(file: Path, *, what: Path) -> int:
    """Lock the file and return its handle."""
    latest = time.monotonic() + PATIENCE
    while True:
        handle = _open_locked(file, what=what)
        if handle is not None and _is_at(handle, file):
            _note_local_locks(file, what=what)
            return handle
        if handle is not None:  # its previous holder has just removed it
            os.close(handle)
            continue
        holder = _read_holder(file)
        if time.monotonic() > latest or holder.get("lasts"):
            raise InUseError(f"{what} is in use by {_describe(holder)}; wait until it ends, or stop it")
        time.sleep(POLL_SECONDS)


def _open_locked(file: Path, *, what: Path, flags: int = os.O_RDONLY) -> int | None:
    """Open and lock the file; return its handle, or None if another process has locked it."""
    try:  # without waiting for the other end of a pipe
        handle = os.open(file, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(f"{what} cannot be locked: {file} is a link; remove it") from error
        raise StorageError(
            f"{what} cannot be locked: {file} was not written: {error.strerror}; check the folder and its permissions"
        ) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StorageError(f"{what} cannot be locked: {file} is not a regular file; remove it")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        if error.errno == errno.EBADF and flags == os.O_RDONLY:
            os.close(handle)
            return _open_locked(file, what=what, flags=os.O_RDWR)  # NFS locks only writable files
        if error.errno not in NO_LOCKS:
            os.close(handle)
            raise StorageError(f"{what} cannot be locked: {error.strerror}; check the file system") from error
        _say(f"{what} is on a file system without locks ({error.strerror}); do not let another process write to it")
    return handle


def _is_at(handle: int, file: Path) -> bool:
    """Return whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:
        return False


def _note_local_locks(file: Path, *, what: Path) -> None:
    """Print a note if other machines do not see the lock."""
    mounts = [part for part in psutil.disk_partitions(all=True) if file.is_relative_to(part.mountpoint)]
    if not mounts:
        return
    mount = max(mounts, key=lambda part: len(part.mountpoint))
    found = LOCAL_OPTIONS.intersection(mount.opts.split(","))
    if mount.fstype == "fuse.sshfs" or found:
        how = ", ".join([mount.fstype, *sorted(found)])
        _say(f"the lock on {what} is valid on this machine only ({how}); do not let another machine write to it")


def _write_holder(file: Path, *, lasts: bool) -> None:
    """Write the holder into the lock file, for users and waiting processes; ignored if the disk is full."""
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join(sys.argv)[:LONGEST_COMMAND],
        "since": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
        "lasts": lasts,
    }
    with contextlib.suppress(OSError):
        file.write_text(json.dumps(holder), encoding="utf-8")


def _read_holder(file: Path) -> dict[str, Any]:
    """Read the holder of a lock from its file; empty if unknown or dead."""
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_known = isinstance(holder, dict) and isinstance(holder.get("pid"), int)
    if is_known and holder.get("host") == socket.gethostname() and not psutil.pid_exists(holder["pid"]):
        return {}  # the current holder has not written its name yet
    return dict(holder) if is_known else {}


def _describe(holder: dict[str, Any]) -> str:
    """Format the holder for messages, on one line whatever its command was."""
    if not holder:
        return "another process"
    text = f"process {holder['pid']} on {holder.get('host')} since {holder.get('since')} ({holder.get('command')})"
    return " ".join(text.split())


def _say(line: str) -> None:
    """Print a note to stderr, apart from output for programs."""
    sys.stderr.write(f"mge: note: {line}\n")


def _forget() -> None:
    """Release all locks in a forked process, such as a data loading worker: a lock must end with its holder."""
    for handle, _ in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
