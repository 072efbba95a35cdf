import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mge.data.formats.costs import MAX_PIXELS
from mge.data.photo import open_photo
from mge.errors import DataError


def save(image: Image.Image, file: Path, **options: Any) -> Path:  # noqa: ANN401
    image.save(file, **options)
    return file


def gradient() -> Image.Image:
    values = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    return Image.fromarray(np.stack([values, values[::-1], np.full_like(values, 90)], axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_show_the_same_picture(tmp_path: Path, orientation: int) -> None:
    upright = gradient()
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = save(stored, tmp_path / "photo.png", exif=exif)
    assert np.array_equal(np.asarray(open_photo(file)), np.asarray(upright))


def test_sixteen_bits_look_like_eight(tmp_path: Path) -> None:
    gray = np.linspace(0, 255, 64 * 64).reshape(64, 64)
    file = save(Image.fromarray((gray * 257).astype(np.uint16)), tmp_path / "deep.png")
    shown = np.asarray(open_photo(file)).astype(int)
    assert np.abs(shown[..., 0] - gray).max() <= 1


@pytest.mark.parametrize("highest", [1.0, 255.0, 65535.0])
def test_a_floating_point_tiff_is_not_black(tmp_path: Path, highest: float) -> None:
    gray = np.linspace(0, highest, 64 * 64, dtype=np.float32).reshape(64, 64)
    shown = np.asarray(open_photo(save(Image.fromarray(gray), tmp_path / "float.tiff"))).astype(int)
    assert np.abs(shown[..., 0] - 255 * gray / highest).max() <= 1


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    layer = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    layer.paste((0, 0, 255, 255), (0, 0, 4, 8))
    for name in ("alpha.png", "alpha.webp"):
        shown = open_photo(save(layer, tmp_path / name, lossless=True))
        assert shown.getpixel((6, 4)) == (255, 255, 255)
        assert shown.getpixel((1, 4)) == (0, 0, 255)


@pytest.mark.parametrize(("mode", "color"), [("CMYK", (0, 255, 255, 0)), ("L", 76), ("P", 5), ("LA", (76, 255))])
def test_other_color_spaces_become_rgb(tmp_path: Path, mode: str, color: object) -> None:
    image = Image.new(mode, (8, 8), color)  # type: ignore[arg-type]
    file = save(image, tmp_path / ("photo.tiff" if mode == "CMYK" else "photo.png"))
    assert open_photo(file).mode == "RGB"


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime")]
    file = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert open_photo(file).getpixel((4, 4)) == (255, 0, 0)


def test_bytes_are_read_like_files(tmp_path: Path) -> None:
    file = save(gradient(), tmp_path / "photo.png")
    assert np.array_equal(np.asarray(open_photo(file.read_bytes())), np.asarray(open_photo(file)))


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_truncated_photo_is_reported_by_path(tmp_path: Path, keep: int) -> None:
    content = io.BytesIO()
    gradient().save(content, "JPEG")
    file = tmp_path / "cut.jpg"
    file.write_bytes(content.getvalue()[:keep])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        open_photo(file)


def test_what_is_no_photo_is_refused(tmp_path: Path) -> None:
    for name, content in (("text.jpg", b"hello"), ("page.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} is not a photo"):
            open_photo(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        open_photo(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="cannot be read"):
        open_photo(tmp_path)


def test_pictures_that_would_fill_the_memory_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    thin = save(Image.new("L", (20_000, 1)), tmp_path / "thin.png")
    with pytest.raises(DataError, match="at most 50:1"):
        open_photo(thin)
    side = int(MAX_PIXELS**0.5) + 10
    bomb = save(Image.new("1", (side, side)), tmp_path / "bomb.png")
    with pytest.raises(DataError, match="million"):
        open_photo(bomb)


def smooth_jpeg(file: Path, width: int, height: int, *, orientation: int = 1, mode: str = "RGB") -> Path:
    noise = np.random.default_rng(0).integers(0, 255, (height // 40, width // 40, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    return save(large, file, quality=92, exif=exif)


@pytest.mark.parametrize(
    ("at_least", "expected"),
    [(None, (640, 480)), (480, (640, 480)), (241, (640, 480)), (240, (320, 240)), (100, (160, 120)), (9, (80, 60))],
)
def test_a_jpeg_is_read_at_a_fraction_of_its_size_where_that_is_enough(
    tmp_path: Path, at_least: int | None, expected: tuple[int, int]
) -> None:
    file = smooth_jpeg(tmp_path / "photo.jpg", 640, 480)
    assert open_photo(file, at_least_px=at_least).size == expected


def test_reading_at_a_fraction_keeps_photos_upright_and_in_color(tmp_path: Path) -> None:
    for mode in ("RGB", "L", "CMYK"):
        photo = open_photo(smooth_jpeg(tmp_path / "photo.jpg", 640, 480, orientation=6, mode=mode), at_least_px=240)
        assert (photo.size, photo.mode) == ((240, 320), "RGB")
    png = save(gradient(), tmp_path / "photo.png")
    assert np.array_equal(np.asarray(open_photo(png, at_least_px=4)), np.asarray(gradient()))


def test_half_a_jpeg_twice_as_large_as_needed_looks_the_same_when_resized(tmp_path: Path) -> None:
    file = smooth_jpeg(tmp_path / "photo.jpg", 1280, 960)
    whole, half = (
        np.asarray(open_photo(file, at_least_px=enough).resize((320, 240), Image.Resampling.BILINEAR), dtype=float)
        for enough in (None, 480)
    )
    assert np.percentile(np.abs(whole - half), 99) <= 4
    assert np.abs(whole - half).mean() < 1
