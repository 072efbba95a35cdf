"""Unlabelled photos for inference in files that contain many: manifests, Parquet tables and tar archives."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mge.data.photo import NamedPhoto
from mge.data.sources import find_photos, naming_what_is_unreadable
from mge.data.sources.manifest import MANIFEST_SUFFIXES, read_paths
from mge.data.sources.parquet import PhotoColumn
from mge.data.sources.tar import read_tar

PARQUET, TAR = ".parquet", ".tar"


def find_all_photos(wanted: str | Path | Sequence[str | Path]) -> list[str | NamedPhoto]:
    """Find the photos that names match, in order, each once.

    A name is a photo, a folder, a pattern, a manifest with a column `path`, a Parquet file with a column of photos, or
    a tar archive. Of a folder without photos, the Parquet files and archives in it are taken.

    Raises:
        DataError: a name matches nothing, or a file is damaged or cannot be read.
        MissingExtraError: a Parquet file is named, and the package that reads it is not installed.
    """
    return photos_of(find_files(wanted))


def find_files(wanted: str | Path | Sequence[str | Path]) -> list[str]:
    """Return the files that names match: photos, and files that contain or list many.

    Raises:
        DataError: a name matches nothing, or a folder cannot be read.
    """
    return find_photos(wanted, shards=(PARQUET, TAR))


@naming_what_is_unreadable()
def photos_of(files: Iterable[str]) -> list[str | NamedPhoto]:
    """Return the photos in some files from `find_files`, in order, each once.

    Raises:
        DataError, MissingExtraError: as `find_all_photos`.
    """
    found: dict[str, str | NamedPhoto] = {}
    for name in files:
        for photo in _photos_in(name):
            found.setdefault(photo.name if isinstance(photo, NamedPhoto) else photo, photo)
    return list(found.values())


def _photos_in(name: str) -> Sequence[str | NamedPhoto]:
    """Return the photos in a file, or the file itself if it is one."""
    file = Path(name)
    suffix = file.suffix.lower() if file.is_file() else ""
    if suffix in MANIFEST_SUFFIXES:
        return [str(path) for path in read_paths(file)]
    if suffix == TAR:
        return read_tar(file)
    return PhotoColumn(file).photos() if suffix == PARQUET else [name]
