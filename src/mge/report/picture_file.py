"""Writing of image files."""

from pathlib import Path

from PIL import Image

from mge.errors import StorageError
from mge.storage.files import final_place


def save_picture(picture: Image.Image, file: Path) -> None:
    """Write a PNG, optimised for speed rather than size.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        picture.save(final_place(file, kind="file"), compress_level=1)
    except StorageError:  # an OSError as well, with its message already
        raise
    except OSError as error:
        raise StorageError(f"{file} was not written: {error.strerror or error}; check the folder") from error
