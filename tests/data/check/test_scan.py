import hashlib
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mge.data.check.scan import CHUNK, PhotoScan, scan_photos, thumbnail
from mge.data.photo import open_photo
from mge.data.records import Record
from mge.errors import DataError
from tests.photos import truncate, write_photo, write_scene


def scan(*records: Record, with_hashes: bool = True) -> list[PhotoScan]:
    return list(scan_photos(records, with_hashes=with_hashes))


def record(path: Path) -> Record:
    return Record(path, "a", "train")


def distance(first: PhotoScan, second: PhotoScan) -> int:
    return (int(first.perceptual, 16) ^ int(second.perceptual, 16)).bit_count()


def test_a_look_knows_content_and_size(tmp_path: Path) -> None:
    file = write_scene(tmp_path / "a.png", seed=1, size=(90, 70))
    (seen,) = scan(record(file))
    assert seen.error == ""
    assert seen.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (seen.width, seen.height) == (90, 70)
    assert scan(record(file), with_hashes=False) == [PhotoScan(digest=seen.digest)]


@pytest.mark.parametrize("with_hashes", [True, False])
def test_what_cannot_be_read_has_its_reason_and_no_hash(tmp_path: Path, with_hashes: bool) -> None:
    whole = write_scene(tmp_path / "whole.jpg", seed=1)
    text = tmp_path / "text.jpg"
    text.write_text("<html>404</html>")
    (tmp_path / "empty.png").write_bytes(b"")
    cut = [truncate(write_scene(tmp_path / f"cut.{kind}", seed=2), fraction=0.6) for kind in ("jpg", "png", "webp")]
    files = [whole, text, tmp_path / "empty.png", tmp_path / "missing.jpg", *cut]
    scans = scan(*map(record, files), with_hashes=with_hashes)
    assert [bool(seen.error) for seen in scans] == [False, *[True] * 6]
    assert scans[1].error.startswith("is not a photo that can be read")
    assert "truncated" in scans[4].error
    assert not any(seen.digest for seen in scans[1:])


def test_a_look_at_reduced_scale_finds_what_a_whole_decoding_finds(tmp_path: Path) -> None:
    """Baseline and progressive JPEGs, cut off at twenty places."""
    for progressive in (False, True):
        content = write_scene(tmp_path / "a.jpg", seed=3, size=(640, 480), progressive=progressive).read_bytes()
        for tenth in range(1, 21):
            part = content[: round(len(content) * tenth / 20)]
            assert can_open(part, at_least_px=None) == can_open(part, at_least_px=1) == (tenth == 20)


def can_open(content: bytes, *, at_least_px: int | None) -> bool:
    try:
        open_photo(content, at_least_px=at_least_px)
    except DataError:
        return False
    return True


def test_a_photo_is_decoded_smaller_but_not_below_what_is_asked_for(tmp_path: Path) -> None:
    file = write_scene(tmp_path / "a.jpg", seed=3, size=(640, 480))
    assert open_photo(file, at_least_px=128).size == (320, 240)  # a quarter has sides below 128
    assert open_photo(file).size == (640, 480)


def test_a_record_without_a_file_is_looked_at_by_its_content(tmp_path: Path) -> None:
    content = write_scene(tmp_path / "a.png", seed=1).read_bytes()
    row = Record(Path("table.parquet:3"), "a", "train", read=partial(bytes, content))
    broken = Record(Path("table.parquet:4"), "a", "train", read=partial(bytes, b"nothing"))
    seen, unread = scan(row, broken)
    assert seen.digest == hashlib.sha256(content).hexdigest()
    assert unread.error.startswith("is not a photo")


def test_copies_have_close_hashes_and_other_photos_do_not(tmp_path: Path) -> None:
    original = write_scene(tmp_path / "a.png", seed=1, size=(400, 300))
    photo = Image.open(original)
    photo.save(tmp_path / "recoded.jpg", quality=40)
    photo.resize((360, 270)).save(tmp_path / "smaller.png")
    write_scene(tmp_path / "other.png", seed=2, size=(400, 300))
    first, recoded, smaller, other = scan(
        *(record(tmp_path / name) for name in ("a.png", "recoded.jpg", "smaller.png", "other.png"))
    )
    assert distance(first, recoded) <= 4
    assert distance(first, smaller) <= 4
    assert distance(first, other) >= 16
    assert len({first.digest, recoded.digest, smaller.digest}) == 3


def test_looks_come_in_order_over_many_photos_and_leave_warnings_as_they_were(tmp_path: Path) -> None:
    files = [write_photo(tmp_path / f"{number}.png", (9, 9, 9), size=(number + 1, 8)) for number in range(12)]
    before = list(warnings.filters)
    widths = [seen.width for seen in scan(*[record(files[number % 12]) for number in range(CHUNK + 5)])]
    assert widths == [number % 12 + 1 for number in range(CHUNK + 5)]
    assert list(warnings.filters) == before


def test_a_thumbnail_is_the_squashed_photo(tmp_path: Path) -> None:
    file = tmp_path / "halves.png"
    Image.fromarray(np.repeat(np.array([[[250, 0, 0], [0, 0, 250]]], np.uint8), 40, axis=0).repeat(30, axis=1)).save(
        file
    )
    small = thumbnail(record(file), side=8)
    assert small.shape == (8, 8, 3)
    assert small[:, :3].tolist() == np.full((8, 3, 3), (250, 0, 0)).tolist()
    assert small[:, 5:].tolist() == np.full((8, 3, 3), (0, 0, 250)).tolist()
