"""Location of caches."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Return the cache folder for one kind of files: in `$MGE_CACHE`, or `~/.cache/mge`."""
    return Path(os.environ.get("MGE_CACHE", "~/.cache/mge")).expanduser() / name
