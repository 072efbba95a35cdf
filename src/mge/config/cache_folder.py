"""Where MGE keeps what it can make again."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """The folder for things of one kind: in `$MGE_CACHE`, or `~/.cache/mge`."""
    return Path(os.environ.get("MGE_CACHE", "~/.cache/mge")).expanduser() / name
