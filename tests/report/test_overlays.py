import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mge.report.overlays import cut_out, draw_boxes, expert_color, fit_photo, lay_attention, lay_contrast, letters_on

GRAY = Image.new("RGB", (40, 40), (128, 128, 128))


def pixels(picture: Image.Image) -> NDArray[np.int64]:
    return np.asarray(picture).astype(int)


def test_a_view_is_cut_out_of_the_photos_own_pixels() -> None:
    content = np.zeros((100, 200, 3), np.uint8)
    content[20:60, 100:180] = (250, 10, 10)
    view = cut_out(Image.fromarray(content), (100.0, 20.0, 180.0, 60.0), side=64)
    assert view.size == (64, 64)
    assert (pixels(view)[2:-2, 2:-2] == (250, 10, 10)).all()


@pytest.mark.parametrize("box", [(10.2, 10.2, 10.3, 10.9), (-5.0, -5.0, 80.0, 90.0), (39.5, 39.5, 60.0, 60.0)])
def test_a_box_that_is_tiny_or_sticks_out_gives_a_view_all_the_same(box: tuple[float, float, float, float]) -> None:
    assert (pixels(cut_out(GRAY, box, side=16)) == 128).all()


@pytest.mark.parametrize(("size", "expected"), [((200, 100), (50, 25)), ((10, 20), (25, 50)), ((1, 50), (1, 50))])
def test_a_photo_keeps_its_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_photo(Image.new("RGB", size), side=50).size == expected


def test_boxes_lie_where_they_are_in_the_photo_and_in_their_experts_colors() -> None:
    black = Image.new("RGB", (200, 100))
    marked = draw_boxes(black, [(40.0, 20.0, 360.0, 180.0), (200.0, 100.0, 300.0, 180.0)], size=(400, 200))
    drawn = pixels(marked)
    color = [tuple(int(expert_color(number)[at : at + 2], 16) for at in (1, 3, 5)) for number in (0, 1)]
    assert tuple(drawn[50, 20]) == color[0]  # the left edge of the first, at half the photo's size
    assert tuple(drawn[89, 60]) == color[0]
    assert tuple(drawn[70, 149]) == color[1]
    assert (drawn[40:45, 60:80] == 0).all()
    assert (pixels(black) == 0).all()


def test_what_has_no_attention_stays_as_it_is_and_the_most_is_covered_most() -> None:
    attention = np.zeros((4, 4), np.float32)
    attention[:, 2:] = np.linspace(0.25, 1, 4)[:, None]
    changed = np.abs(pixels(lay_attention(GRAY, attention)) - 128).sum(2)
    assert (changed[:, :10] == 0).all()
    assert changed[38, 38] > changed[20, 38] > 0


def test_an_empty_map_says_so_and_leaves_the_rest_of_the_view() -> None:
    drawn = pixels(lay_attention(GRAY, np.zeros((4, 4), np.float32)))
    assert (drawn[:10] == 128).all()
    assert (drawn[-3:] != 128).any()


def test_a_contrast_is_blue_for_the_one_vermilion_for_the_other_and_clear_between() -> None:
    contrast = np.array([[-1.0, 0.0, 1.0]], np.float32).repeat(3, 0)
    drawn = pixels(lay_contrast(GRAY, contrast))
    assert drawn[20, 2, 0] > drawn[20, 2, 2] + 50
    assert drawn[20, 37, 2] > drawn[20, 37, 0] + 50
    assert np.abs(drawn[20, 20] - 128).max() <= 8


def test_letters_on_a_color_are_legible() -> None:
    assert [letters_on(color) for color in ("#000000", "#0072B2", "#F0E442", "#56B4E9")] == [
        "white", "white", "black", "black",
    ]  # fmt: skip
