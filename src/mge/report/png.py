"""Pictures into files."""

from pathlib import Path

from PIL import Image

from mge.errors import StorageError


def save_picture(picture: Image.Image, file: Path) -> None:
    """Writes a PNG; quickly rather than small.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        picture.save(file, compress_level=1)
    except OSError as error:
        raise StorageError(f"{file} was not written: {error.strerror or error}; check the folder") from error
