import numpy as np
import pytest
from PIL import Image, ImageDraw

from mge.report.text import fit_text, font, percent, write, write_lines


def test_a_text_that_fits_is_left_alone_and_a_long_one_keeps_both_ends() -> None:
    letters = font(14)
    assert fit_text("lime", width=200, letters=letters) == "lime"
    long = "God-Morgon-Orange-Red-Grapefruit-Juice"
    shorter = fit_text(long, width=120, letters=letters)
    begin, _, end = shorter.partition("…")
    assert long.startswith(begin)
    assert long.endswith(end)
    assert min(len(begin), len(end)) > 3
    assert letters.getlength(shorter) <= 120
    assert fit_text(long, width=1, letters=letters) == "…"


def test_a_share_is_read_as_percent() -> None:
    assert [percent(share) for share in (0, 0.004, 0.126, 1)] == ["0 %", "0.4 %", "13 %", "100 %"]


@pytest.mark.parametrize("text", ["crème brûlée", "яблоко", "苹果", "cr\udce8me", ""])
def test_any_name_can_be_written(text: str) -> None:
    sheet = Image.new("RGB", (80, 20), "white")
    write(ImageDraw.Draw(sheet), (2, 2), text, size=14, width=60)
    assert bool((np.asarray(sheet) < 200).any()) == bool(text)


def test_a_long_text_is_broken_between_words() -> None:
    sheet = Image.new("L", (120, 80), 255)
    write_lines(ImageDraw.Draw(sheet), (0, 0), "one two three four five six seven", size=12, width=100)
    is_ink = np.asarray(sheet) < 200
    assert is_ink[:17].any()
    assert is_ink[17:34].any()
    assert not is_ink[:, 101:].any()
