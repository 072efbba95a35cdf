"""Photos that cost more than they weigh are read, or refused in one line, for a second and a few megabytes."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mge.data.formats.costs import MAX_FILE_BYTES
from mge.data.photo import open_photo
from mge.errors import DataError
from tests.hostile_photos import COSTLY, note_in_png, small
from tests.image_files import chunk

LARGE = [name for name in COSTLY if "69 million" in name]
SECONDS, BYTES = 2, 300_000_000


def most_memory() -> int:
    """The most bytes that were resident since `/proc/self/clear_refs` was told to forget."""
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def read(name: str) -> tuple[float, int]:
    """Reads one of the files; seconds of a core, and bytes."""
    file, make = COSTLY[name]
    content = make()
    Path("/proc/self/clear_refs").write_text("5")
    began, before = time.process_time(), most_memory()
    try:
        assert open_photo(content, name=file).mode == "RGB"
    except DataError as error:
        assert str(error).startswith(f"{file} ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    return time.process_time() - began, most_memory() - before


@pytest.mark.parametrize("name", [name for name in COSTLY if name not in LARGE])
def test_what_would_take_minutes_or_gigabytes_takes_neither(name: str) -> None:
    seconds, num_bytes = read(name)
    assert seconds < SECONDS
    assert num_bytes < BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_picture_as_large_as_is_accepted_takes_less_than_a_gigabyte(name: str) -> None:
    seconds, num_bytes = read(name)
    assert seconds < 2 * SECONDS
    assert num_bytes < 2**30


@pytest.mark.parametrize("name", [b"transparency", b"interlace", b"bbox", b"exif", b"dpi", b"icc_profile", b"loop"])
@pytest.mark.parametrize("is_last", [False, True])
def test_a_note_in_a_photo_is_no_option_of_its_decoder(name: bytes, is_last: bool) -> None:
    photo = open_photo(note_in_png(name, is_last=is_last)())
    assert np.array_equal(np.asarray(photo), np.asarray(open_photo(small("PNG"))))
    assert photo.info == {}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "AVIF", "BMP"])
def test_nothing_is_kept_of_an_upload_but_what_it_shows(form: str) -> None:
    assert open_photo(small(form)).info == {}


def test_a_photo_of_the_caller_keeps_its_notes_and_a_note_called_transparency_is_none(tmp_path: Path) -> None:
    content = small("PNG")
    (tmp_path / "noted.png").write_bytes(content[:33] + chunk(b"tEXt", b"transparency\0x") + content[33:])
    with Image.open(tmp_path / "noted.png") as opened:
        assert np.array_equal(np.asarray(open_photo(opened)), np.asarray(open_photo(content)))
        assert opened.info == {"transparency": "x"}


def test_a_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "vast.jpg").open("wb") as file:
        file.truncate(20 * MAX_FILE_BYTES)
    with pytest.raises(DataError, match=r"vast.jpg has 20.0 GB; accepted: up to 1 GB"):
        open_photo(tmp_path / "vast.jpg")
