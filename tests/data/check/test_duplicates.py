from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mge.data.check import duplicates
from mge.data.check.duplicates import MAX_DIFFERENCE, THUMBNAIL_SIDE, confirm, difference, find_candidates, group_exact


def test_equal_contents_are_grouped_in_the_order_of_their_first() -> None:
    assert group_exact(["x", "a", "b", "a", "x", "c", "a"]) == [[0, 4], [1, 3, 6]]
    assert group_exact([]) == []


@pytest.mark.parametrize("distance", [0, 1, 3, 6, 12])
def test_candidates_are_those_of_the_naive_double_loop(distance: int) -> None:
    draw = np.random.default_rng(distance)
    centers = draw.integers(0, 2**64, 12, dtype=np.uint64)
    hashes = [int(center) for center in centers]
    for number in range(120):  # hashes with 0 to 11 bits other than those of a centre
        flipped = draw.choice(64, size=number % 12, replace=False)
        hashes.append(int(centers[number % 7]) ^ sum(1 << int(bit) for bit in flipped))
    expected = [
        [first, second]
        for first in range(len(hashes))
        for second in range(first + 1, len(hashes))
        if bin(hashes[first] ^ hashes[second]).count("1") <= distance
    ]
    assert len(expected) > 5
    assert find_candidates(np.array(hashes, dtype=np.uint64), distance=distance).tolist() == expected


def test_none_and_one_have_no_candidates() -> None:
    for hashes in ([], [5]):
        assert find_candidates(np.array(hashes, dtype=np.uint64), distance=6).tolist() == []


def test_photos_that_show_nothing_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_PAIRS", 1000)
    same = np.full(200, 7, dtype=np.uint64)
    assert 1000 <= len(find_candidates(same, distance=6)) <= 200 * 199 / 2


def picture(seed: int) -> Image.Image:
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(patches).resize((256, 192), Image.Resampling.BICUBIC)


def small(photo: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(photo.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR))


def brighter(photo: Image.Image) -> Image.Image:
    return photo.point([min(255, round(0.8 * level + 20)) for level in range(256)] * 3)


def smaller(photo: Image.Image) -> Image.Image:
    return photo.resize((100, 90), Image.Resampling.BICUBIC)


def with_another_label(photo: Image.Image) -> Image.Image:
    """A product of the same shape in another flavour: an eighth of each side is different."""
    changed = photo.copy()
    changed.paste((255, 0, 255), (96, 72, 128, 96))
    return changed


@pytest.mark.parametrize(("change", "is_copy"), [(brighter, True), (smaller, True), (with_another_label, False)])
def test_pictures_are_the_same_but_for_size_and_brightness(
    change: Callable[[Image.Image], Image.Image], is_copy: bool
) -> None:
    for seed in range(8):
        apart = difference(small(picture(seed))[None], small(change(picture(seed)))[None])
        assert (apart[0] <= MAX_DIFFERENCE) == is_copy


def test_difference_is_the_largest_mean_of_a_cell() -> None:
    first = np.zeros((1, 32, 32, 3), np.uint8)
    first[:, :, 16:] = 200  # mean 100, deviation 100
    second = first.copy()
    assert difference(first, second).tolist() == [0.0]
    second[0, :4, :4] = 100  # one cell of 64
    values = second[0].astype(float)
    normal = (values - values.mean()) / values.std()
    expected = np.abs(normal - (first[0].astype(float) - 100) / 100)[:4, :4].mean()
    assert difference(first, second)[0] == pytest.approx(expected, rel=1e-4)


def test_plain_photos_are_the_same_where_their_color_is() -> None:
    gray, also_gray, red = (np.full((1, 32, 32, 3), color, np.uint8) for color in (120, 121, (200, 20, 20)))
    assert difference(gray, also_gray)[0] <= MAX_DIFFERENCE
    assert difference(gray, red)[0] > MAX_DIFFERENCE


def test_each_photo_of_the_candidates_is_opened_once_and_only_copies_stay() -> None:
    pictures = [picture(1), smaller(picture(1)), picture(2), brighter(picture(1))]
    opened: list[int] = []

    def make(number: int) -> NDArray[np.uint8]:
        opened.append(number)
        return small(pictures[number // 10])

    pairs = np.array([[0, 10], [0, 20], [10, 30], [20, 30]])
    assert confirm(pairs, make).tolist() == [True, False, True, False]
    assert sorted(opened) == [0, 10, 20, 30]
    assert confirm(np.zeros((0, 2), np.int64), make).tolist() == []
