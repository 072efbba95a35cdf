"""What a run needs to go on: weights, optimiser state, position.

Beside a checkpoint lies its SHA-256, because torch reads a file with a flipped bit without a word.
"""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, is_zipfile

import torch

from mge.errors import ModelFolderError, first_line
from mge.storage.checksum import sha256
from mge.storage.files import write_atomically, write_text_atomically

# What torch and zipfile raise over a file that somebody has made up.
UNREADABLE = (
    BadZipFile,
    RuntimeError,
    UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; a crash while it is written leaves the former one.

    Args:
        path: The file. Its checksum goes beside it.
        state: Tensors and plain values, in dicts, lists and tuples.

    Raises:
        StorageError: the disk is full, or the folder cannot be written to; the former checkpoint is still there.
    """
    checksums = _checksum_file(path)
    former = checksums.read_text(encoding="utf-8") if checksums.exists() else ""

    def write(file: Path) -> None:
        _save(state, file)
        # Until the new file has its name, either may be the one that is found.
        write_text_atomically(checksums, f"{sha256(file)}  {path.name}\n{former}")

    write_atomically(path, write)
    write_text_atomically(checksums, checksums.read_text(encoding="utf-8").partition("\n")[0] + "\n")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; only tensors and plain values are made of it.

    Raises:
        ModelFolderError: it is missing or damaged.
    """
    for file in (path, _checksum_file(path)):
        if not file.is_file():
            raise ModelFolderError(f"{file} does not exist: there is no checkpoint to go on from; train anew")
    known = _checksum_file(path).read_text(encoding="utf-8", errors="replace").split()
    if sha256(path) not in known:
        raise ModelFolderError(f"{path} is damaged: its SHA-256 is not the one beside it; copy it again or train anew")
    try:
        if not is_zipfile(path):  # torch writes zip files; what is none would be read as a bare pickle
            raise BadZipFile("it is no zip file")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ModelFolderError(f"{path} is no checkpoint of MGE: {first_line(error)}; train anew") from error
    return state


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _save(state: dict[str, Any], path: Path) -> None:
    """`torch.save`, which raises the system's own error where the disk is full."""
    with path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
