"""Odd photos: each is read as it looks, or refused in one line, and none stops the others."""

import functools
import io
import os
import re
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mge.config import DataConfig
from mge.data.dataset import PhotoDataset
from mge.data.photo import open_photo
from mge.data.records import Record
from mge.data.sources import read_photos
from mge.errors import DataError
from tests.odd_photos import ODD_PHOTOS, OddPhoto, write_odd_photos


@pytest.mark.parametrize("name", ODD_PHOTOS)
def test_an_odd_photo_is_read_as_it_looks_or_refused(name: str) -> None:
    photo = ODD_PHOTOS[name]()
    if photo.shown is None:
        with pytest.raises(DataError, match=rf"^{photo.file} .*({photo.refusal})") as caught:
            open_photo(photo.content, name=photo.file)
        assert "\n" not in str(caught.value)
        return
    shown = open_photo(photo.content)
    assert shown.mode == "RGB"
    values = np.asarray(shown).astype(int)
    assert values.shape == photo.shown.shape
    assert np.abs(values - photo.shown).max() <= photo.tolerance


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, OddPhoto]:
    return write_odd_photos(tmp_path_factory.mktemp("odd"))


def test_a_folder_of_odd_photos_is_read_and_each_is_named_that_cannot_be(written: dict[Path, OddPhoto]) -> None:
    folder = next(iter(written)).parents[1]
    config = DataConfig(cache="no")
    photos = read_photos(folder, config=config)
    assert {record.path for record in photos.records} == set(written)
    dataset = PhotoDataset(photos.records, photos.class_names, side=32, config=config, train=False)
    for number, record in enumerate(photos.records):
        photo = written[record.path]
        if photo.shown is not None:
            assert dataset[0, number].image.shape == (3, 32, 32)
            continue
        with pytest.raises(DataError, match=re.escape(str(record.path))):
            dataset[0, number]


def test_a_photo_that_is_no_file_of_its_own_is_named_too() -> None:
    record = Record(Path("shard.parquet/row 7"), "left", read=lambda: ODD_PHOTOS["half a PNG"]().content)
    dataset = PhotoDataset([record], ["left"], side=32, config=DataConfig(cache="no"), train=False)
    with pytest.raises(DataError, match=r"shard\.parquet/row 7 cannot be read"):
        dataset[0, 0]


@pytest.mark.parametrize("name", ["EXIF orientation 6", "16-bit grey in a PNG", "a PNG with alpha", "a CMYK JPEG"])
def test_a_picture_that_pillow_opened_is_shown_as_its_file_is_and_not_turned_twice(name: str) -> None:
    content = ODD_PHOTOS[name]().content
    shown = open_photo(content)
    for picture in (Image.open(io.BytesIO(content)), shown):
        assert np.array_equal(np.asarray(open_photo(picture)), np.asarray(shown))


def test_a_picture_that_pillow_opened_may_be_broken_too() -> None:
    with pytest.raises(DataError, match="the uploaded photo cannot be read: image file is truncated"):
        open_photo(Image.open(io.BytesIO(ODD_PHOTOS["half a JPEG"]().content)))


def test_without_the_extra_a_heic_photo_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
    with pytest.raises(DataError, match=r"^a\.heic is a HEIC photo.*pip install 'mge\[heif\]'"):
        open_photo(ODD_PHOTOS["a HEIC"]().content, name="a.heic")
    assert open_photo(ODD_PHOTOS["an AVIF"]().content).mode == "RGB"


def test_a_name_that_no_disk_would_take_is_one_line() -> None:
    with pytest.raises(DataError, match=r"b\.jpg cannot be read: embedded null byte"):
        open_photo("a\0b.jpg")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DataError, match=r"pipe\.jpg cannot be read: it is not a regular file"):
        open_photo(tmp_path / "pipe.jpg")


@pytest.mark.parametrize(
    "given",
    [np.zeros((8, 8, 3), np.uint8), io.BytesIO(b""), None, ("a.jpg", "b.jpg")],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_photo_is_told_what_is_accepted(given: object) -> None:
    with pytest.raises(
        DataError, match=rf"^unsupported type of photo: {type(given).__name__}; accepted: a path, the bytes"
    ):
        open_photo(given)  # type: ignore[arg-type]


def test_a_path_that_can_be_none_is_refused_like_any_other() -> None:
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        open_photo("a\0b.jpg")


def test_reading_in_threads_leaves_the_warnings_of_the_process_as_they_were() -> None:
    contents = [ODD_PHOTOS[name]().content for name in ("EXIF garbage in a JPEG", "a PNG with alpha")] * 100
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        assert all(photo.mode == "RGB" for photo in pool.map(open_photo, contents))
    assert list(warnings.filters) == before


MUTABLE = ["a PNG with alpha", "EXIF orientation 6", "an animated WebP", "a palette with a transparent colour",
           "a GIF with a transparent colour", "an animated GIF", "16-bit grey in a TIFF", "a CMYK TIFF", "an AVIF",
           "a TIFF of 1 bit in which white is zero", "a progressive JPEG", "two photos in an MPO",
           "a TIFF of several pages", "a HEIC", "a BMP", "a PPM", "a PGM of 16 bits", "an animated PNG",
           "floating point from 0 to 255", "16-bit colours with alpha in a PNG", "a lossy WebP",
           "a CMYK JPEG"]  # fmt: skip
SECONDS, BYTES = 5, 300_000_000  # of a processor; of memory, beside what there was before


@functools.cache
def content_of(name: str) -> bytes:
    return ODD_PHOTOS[name]().content


def damage(content: bytes, wounds: list[tuple[str, float, bytes]]) -> bytes:
    """Bytes of a file put over others, between others or taken out, at fractions of its length."""
    for kind, fraction, value in wounds:
        place = int(fraction * len(content))
        rest = {"over": content[place + len(value) :], "between": content[place:], "out": content[place + len(value) :]}
        content = content[:place] + (b"" if kind == "out" else value) + rest[kind]
    return content


def most_memory() -> int:
    """The most bytes that were resident since `/proc/self/clear_refs` was told to forget."""
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


@settings(
    max_examples=400, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    name=st.sampled_from(MUTABLE),
    wounds=st.lists(
        st.tuples(
            st.sampled_from(["over", "over", "between", "out"]), st.floats(0, 1, exclude_max=True),
            st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"]),
        ),
        max_size=6,
    ),
    cut=st.just(1.0) | st.floats(0, 1),
    at_least_px=st.sampled_from([None, 16]),
)  # fmt: skip
def test_a_damaged_photo_is_an_rgb_picture_or_a_data_error_within_seconds_and_megabytes(
    monkeypatch: pytest.MonkeyPatch, name: str, wounds: list[tuple[str, float, bytes]], cut: float,
    at_least_px: int | None,
) -> None:  # fmt: skip
    # A large size by accident is slow and shows nothing.
    monkeypatch.setattr("mge.data.formats.costs.MAX_PIXELS", 1_000_000)
    damaged = damage(content_of(name), wounds)
    damaged = damaged[: round(cut * len(damaged))]
    Path("/proc/self/clear_refs").write_text("5")
    began, before = time.process_time(), most_memory()
    try:
        photo = open_photo(damaged, name="p.jpg", at_least_px=at_least_px)
    except DataError as error:
        assert str(error).startswith("p.jpg ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert photo.mode == "RGB"
        assert np.asarray(photo).shape == (photo.height, photo.width, 3)
    assert time.process_time() - began < SECONDS
    assert most_memory() - before < BYTES
