"""Writing files so that a crash leaves the former one, or none."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from mge.errors import StorageError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file in the same folder, and gives it the name when it is safely on disk.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to; what was there before is still there.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise _as_storage_error(error, path) from error
    except RuntimeError as error:  # torch.save hides a full disk behind this
        if "inline_container" not in str(error):
            raise
        raise _as_storage_error(OSError(errno.ENOSPC, "No space left on device"), path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _as_storage_error(error: OSError, path: Path) -> StorageError:
    if error.errno == errno.ENOSPC:
        return StorageError(f"the disk is full: {path} could not be written; make space and go on, nothing older is lost")
    return StorageError(f"{path} could not be written: {error.strerror or error}; check the folder and its permissions")
