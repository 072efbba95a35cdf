from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mge.errors import StorageError
from mge.report.grid import CAPTION, GAP, MARGIN, Strip, draw_contact_sheet, fit


def test_photos_lie_where_they_should_in_their_own_shape(tmp_path: Path) -> None:
    red, blue = Image.new("RGB", (100, 50), (255, 0, 0)), Image.new("RGB", (50, 50), (0, 0, 255))
    draw_contact_sheet([Strip("a", [red, blue])], tmp_path / "sheet.png", side=50, title="two")
    with Image.open(tmp_path / "sheet.png") as drawn:
        sheet = np.asarray(drawn.convert("RGB")).astype(int)
    top = MARGIN + CAPTION
    assert np.abs(sheet[top + 25, GAP + 25] - (255, 0, 0)).max() < 10
    assert np.abs(sheet[top + 5, GAP + 25] - 255).max() < 10  # a wide photo has white above
    assert np.abs(sheet[top + 5, GAP + 75] - (0, 0, 255)).max() < 10


@pytest.mark.parametrize("num_strips", [1, 7, 81, 200])
def test_two_hundred_classes_make_a_picture_that_is_neither_long_nor_huge(tmp_path: Path, num_strips: int) -> None:
    photo = Image.new("RGB", (20, 20), (9, 99, 9))
    strips = [Strip(f"class {number} with a long name {'x' * 90}", [photo] * 4) for number in range(num_strips)]
    draw_contact_sheet(strips, tmp_path / "sheet.png", side=72, title="classes")
    with Image.open(tmp_path / "sheet.png") as drawn:
        width, height = drawn.size
    assert max(width, height) < 3000
    if num_strips > 7:
        assert 0.6 < width / height < 1.6


def test_a_photo_is_fitted_into_a_white_square() -> None:
    square = np.asarray(fit(Image.new("RGB", (40, 20), (0, 0, 0)), side=22))
    assert square.shape == (22, 22, 3)
    assert (square[11, 1:21] == 0).all()
    assert (square[:6] == 255).all()


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    photo = Image.new("RGB", (20, 20))
    with pytest.raises(StorageError, match=r"gone/sheet\.png was not written: No such file or directory"):
        draw_contact_sheet([Strip("a", [photo])], tmp_path / "gone" / "sheet.png", side=20, title="a")
