"""What a run needs to go on: weights, optimiser state, position."""

from pathlib import Path
from typing import Any

import torch

from mge.errors import ModelFolderError
from mge.storage.files import write_atomically


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint; a crash while it is written leaves the former one."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint; nothing but tensors and plain values is unpickled.

    Raises:
        ModelFolderError: it is missing or damaged.
    """
    if not path.is_file():
        raise ModelFolderError(f"{path} does not exist: there is no checkpoint to go on from; train anew")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ModelFolderError(f"{path} is damaged and cannot be gone on from: {str(error).splitlines()[0]}") from error
    return state
