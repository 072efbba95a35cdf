"""`mge push`: upload to the Hugging Face Hub."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mge.errors import ConfigError


def push(run: str | Path, to: str, *, private: bool = False) -> str:
    """Upload a model with its model card to the Hugging Face Hub; `mge.load` downloads it.

    Args:
        run: Run folder (its best model is used) or model folder.
        to: `hf:owner/name`. The repository is created if it does not exist.
        private: Create the repository as a private one.

    Returns:
        The URL of the model page.

    Raises:
        ModelFolderError: `run` contains no complete model.
        ConfigError: the name is invalid, the Hub rejects the upload, or the Hub cannot be reached.
    """
    from mge.storage.hub import is_hub, read_name, upload_model  # noqa: PLC0415
    from mge.storage.model_folder import copy_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415

    if is_hub(run):
        raise ConfigError(f"run is {str(run)!r}, which is already on the Hub; give a local folder")
    read_name(to)
    with tempfile.TemporaryDirectory() as place:
        copy_model(find_model_folder(run), Path(place))  # what is damaged, or replaced at this moment, is not passed on
        page = upload_model(Path(place), to, private=private)
    sys.stdout.write(f"Pushed: {page}\nNext: mge predict {to} photo.jpg\n")
    return page
