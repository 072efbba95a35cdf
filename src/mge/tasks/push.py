"""`mge push`: a trained mixture onto the Hugging Face Hub."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mge.errors import ConfigError


def push(run: str | Path, to: str, *, private: bool = False) -> str:
    """Puts a model onto the Hugging Face Hub, with its model card; `mge.load` fetches it from there.

    Examples:
        mge push runs/birds hf:owner/birds
        mge push runs/birds hf:owner/birds --private

    Args:
        run: A run folder (its best model is taken) or a model folder.
        to: `hf:owner/name`. The repository is made where there is none.
        private: Whether a repository that is made can be seen by its owner only.

    Returns:
        The address of the model's page.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        ConfigError: the name is none, the Hub refuses, or it cannot be reached.
    """
    from mge.storage.hub import is_hub, read_name, upload_model  # noqa: PLC0415
    from mge.storage.model_folder import copy_model  # noqa: PLC0415
    from mge.storage.run_folder import find_model_folder  # noqa: PLC0415

    if is_hub(run):
        raise ConfigError(f"run is {str(run)!r}, which is on the Hub already; give a folder")
    read_name(to)
    with tempfile.TemporaryDirectory() as place:
        copy_model(find_model_folder(run), Path(place))  # what is damaged, or replaced at this moment, is not passed on
        page = upload_model(Path(place), to, private=private)
    sys.stdout.write(f"Pushed: {page}\nNext: mge predict {to} photo.jpg\n")
    return page
