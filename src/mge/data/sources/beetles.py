"""The built-in data set: beetles, drawn where they are not there yet."""

import dataclasses
import os
from pathlib import Path

from mge.data.beetles import draw_beetles
from mge.data.records import PhotoSet
from mge.data.sources.manifest import read_manifest


def is_beetles(data: Path) -> bool:
    """Whether this is the name of the built-in data set, and nothing on disk."""
    return str(data) == "beetles" and not data.exists()


def read_beetles(_: Path) -> PhotoSet:
    """The drawn beetles, from the cache folder (`$MGE_CACHE`, or `~/.cache/mge`)."""
    cache = Path(os.environ.get("MGE_CACHE", "~/.cache/mge")).expanduser()
    manifest = draw_beetles(cache / "beetles")
    return dataclasses.replace(read_manifest(manifest), name="beetles", source="drawn beetles")
