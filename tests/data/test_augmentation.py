"""Changes of single pictures: torchvision's own transforms say what they may give, and nothing touches global dice."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import RandAugment
from torchvision.transforms.v2.functional import InterpolationMode

from mge.data import augmentation
from mge.data.augmentation import CHANGES, draw_rectangle, erase, randaugment, resized_crop


def picture(height: int = 20, width: int = 26) -> Tensor:
    """Smooth colours with some noise, no two pixels in a row alike."""
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(3).integers(0, 30, (3, height, width))
    return torch.from_numpy((np.stack([9 * rows, 7 * columns, 4 * (rows + columns)]) + noise).clip(0, 255)).byte()


@pytest.mark.parametrize("magnitude", [0, 1, 9, 17, 30])
def test_randaugment_gives_the_pictures_that_torchvisions_gives(
    magnitude: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augmentation, "NUM_CHANGES", 1)
    theirs = RandAugment(num_ops=1, magnitude=magnitude, interpolation=InterpolationMode.BILINEAR)
    image = picture()
    mine_found = torch.stack([randaugment(image, magnitude=magnitude, rng=random.Random(n)) for n in range(300)]).int()
    their_found = torch.stack([theirs(image) for _ in range(300)]).int()
    # Every picture of one is, but for rounding, a picture of the other.
    distances = torch.stack([(their_found - one).abs().amax((1, 2, 3)) for one in mine_found])
    assert distances.amin(0).max() <= 1
    assert distances.amin(1).max() <= 1


def test_each_change_and_each_direction_comes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def spy(name: str) -> Callable[[Tensor, float], Tensor]:
        def change(view: Tensor, strength: float) -> Tensor:
            seen.append((name, strength > 0))
            assert abs(strength) == pytest.approx(0.3)
            return view

        return change

    monkeypatch.setattr(augmentation, "CHANGES", {name: spy(name) for name in CHANGES})
    for seed in range(400):
        randaugment(picture(), magnitude=9, rng=random.Random(seed))
    assert len(seen) == 800
    assert len(set(seen)) == 28
    counts = [sum(name == one for name, _ in seen) for one in CHANGES]
    assert min(counts) > 30  # 57 on average
    assert max(counts) < 90


@pytest.mark.parametrize("smallest", [0.1, 0.5, 1.0])
def test_a_resized_crop_is_square_and_at_least_as_large_as_told(smallest: float) -> None:
    ramp = torch.arange(0, 240, 2, dtype=torch.uint8).expand(3, 120, 120).contiguous()  # a pixel's value is its place
    for seed in range(60):
        view = resized_crop(ramp, side=40, smallest=smallest, rng=random.Random(seed))
        assert view.shape == (3, 40, 40)
        assert view.dtype == torch.uint8
        shown = (int(view[0, 0, -1]) - int(view[0, 0, 0])) / 2 * 40 / 39  # columns of the photo
        # A crop of area a has a width of at least sqrt(a * 3/4) of the photo's.
        assert shown >= 120 * (smallest * 3 / 4) ** 0.5 * 0.95
        assert shown <= 121


def test_a_photo_too_long_for_any_such_crop_shows_its_middle() -> None:
    image = torch.zeros(3, 10, 400, dtype=torch.uint8)
    image[:, :, 195:205] = 200
    view = resized_crop(image, side=8, smallest=1.0, rng=random.Random(0))
    assert (view == 200).all()


def test_rectangles_have_the_areas_and_shapes_that_were_asked_for() -> None:
    for seed in range(300):
        part = draw_rectangle(200, 150, areas=(0.1, 0.3), ratios=(0.5, 2), rng=random.Random(seed))
        assert part is not None
        assert 0.095 <= part.height * part.width / (200 * 150) <= 0.305
        assert 0.48 <= part.width / part.height <= 2.08
        assert 0 <= part.top <= 200 - part.height
        assert 0 <= part.left <= 150 - part.width
    assert draw_rectangle(10, 400, areas=(1, 1), ratios=(1, 1), rng=random.Random(0)) is None


def test_erasing_puts_noise_into_one_rectangle_and_leaves_the_rest() -> None:
    image = torch.full((3, 60, 60), 128, dtype=torch.uint8)
    for seed in range(40):
        erased = erase(image, rng=random.Random(seed))
        changed = (erased != 128).any(0)
        rows, columns = torch.nonzero(changed, as_tuple=True)
        inside = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert inside.float().mean() > 0.99  # noise is 128 in all three channels by chance one time in 16 million
        assert 0.015 <= changed.float().mean() <= 0.34
        assert erased[:, changed].float().std() > 60
    assert (image == 128).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda rng: randaugment(picture(), magnitude=20, rng=rng),
        lambda rng: resized_crop(picture(), side=16, smallest=0.2, rng=rng),
        lambda rng: erase(picture(), rng=rng),
    ],
    ids=["randaugment", "resized crop", "erasing"],
)
def test_a_change_depends_on_its_dice_alone(change: Callable[[random.Random], Tensor]) -> None:
    def state() -> tuple[object, ...]:
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002

    for seed in range(30):
        torch.manual_seed(seed)
        random.seed(seed)
        before = state()
        first = change(random.Random(seed))
        assert state() == before
        torch.manual_seed(seed + 1)
        random.seed(seed + 1)
        assert torch.equal(first, change(random.Random(seed)))
