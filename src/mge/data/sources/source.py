"""A supported layout of data: how it is recognised, and read."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mge.data.records import PhotoSet
from mge.data.sources.archive import Layout


class Source(NamedTuple):
    """A supported layout of data.

    Args:
        recognizes: Returns whether data have this layout.
        read: Reads them.
        wants: Description of its criteria.
        has_columns: Whether `read` also takes the names of columns.
        gives_way: Whether to read class folders instead if it cannot read a folder: a single stray file may look like
            an archive.
    """

    recognizes: Callable[[Path], bool]
    read: Callable[..., PhotoSet]
    wants: str
    has_columns: bool = False
    gives_way: bool = False


def archive_source(layout: Layout, read: Callable[[Path], PhotoSet], *, wants: str = "") -> Source:
    """Return the source of an unpacked archive."""
    return Source(layout.is_in, read, wants or " or ".join(layout.marks), gives_way=True)
