"""Two photos in one picture: whose pixels are where, and what share of the target each gets."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from mge.config import DataConfig
from mge.data.blending import blend_batch
from tests.targets import one_hot


def make_images(count: int = 4, side: int = 20) -> Tensor:
    """Photo n is 50 n everywhere."""
    shades = (50 * torch.arange(count)).byte().view(-1, 1, 1, 1)
    return shades.expand(-1, 3, side, side).contiguous()


def blend(images: Tensor, *, seed: int, mixup: float = 0.0, cutmix: float = 0.0) -> tuple[Tensor, float]:
    """Blended pictures, and the share of the second photo in each; photo n is of class n."""
    own = one_hot(range(len(images)), len(images))
    blended, targets = blend_batch(images, own, config=DataConfig(mixup=mixup, cutmix=cutmix), seed=seed)
    share = 1 - targets[0, 0].item()
    torch.testing.assert_close(targets, (1 - share) * own + share * own.roll(1, 0))
    return blended, share


def test_nothing_is_blended_unless_asked_for() -> None:
    images, targets = make_images(), one_hot([0, 1, 2, 0], 3)
    same_images, same_targets = blend_batch(images, targets, config=DataConfig(), seed=1)
    assert same_images is images
    assert same_targets is targets


@pytest.mark.parametrize("mixup", [0.2, 1.0])
def test_mixup_lays_the_next_photo_over_each_by_its_share(mixup: float) -> None:
    images = make_images()
    for seed in range(30):
        blended, share = blend(images, seed=seed, mixup=mixup)
        assert 0 <= share <= 0.5
        for number in range(4):
            expected = (1 - share) * 50 * number + share * 50 * ((number - 1) % 4)
            assert np.abs(blended[number].numpy() - expected).max() <= 0.501
        assert blended.dtype == torch.uint8
    assert torch.equal(images, make_images())


def test_each_target_keeps_the_weight_of_its_class_in_a_blend() -> None:
    targets = one_hot([0, 1, 1, 2], 3) * torch.tensor([0.5, 2.0, 4.0])
    _, blended = blend_batch(make_images(), targets, config=DataConfig(mixup=1.0), seed=3)
    _, shares = blend_batch(make_images(), one_hot([0, 1, 2, 3], 4), config=DataConfig(mixup=1.0), seed=3)
    share = 1 - shares[0, 0].item()
    expected = [[0.5 * (1 - share), 0, 4 * share], [0.5 * share, 2 * (1 - share), 0], [0, 2, 0]]
    torch.testing.assert_close(blended[:3], torch.tensor(expected))
    assert blended[2].tolist() == [0.0, 2.0, 0.0]  # two photos of one class


def test_cutmix_pastes_one_rectangle_whose_area_is_the_share() -> None:
    images, shares = make_images(side=30), []
    for seed in range(60):
        blended, share = blend(images, seed=seed, cutmix=1.0)
        foreign = blended[1, 0] == 0  # of photo 0
        assert torch.equal(blended[1] == 50, ~foreign.expand(3, -1, -1))
        assert share == pytest.approx(foreign.float().mean().item(), abs=1e-6)
        rows, columns = torch.nonzero(foreign, as_tuple=True)
        if len(rows):
            assert foreign[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        shares.append(share)
    assert max(shares) <= 0.53  # half the area, rounded to whole pixels
    assert max(shares) > 0.3
    assert torch.equal(images, make_images(side=30))


def test_with_both_each_batch_has_one_of_them() -> None:
    kinds = []
    for seed in range(100):
        blended, _ = blend(make_images(), seed=seed, mixup=1.0, cutmix=1.0)
        kinds.append(len(blended[1].unique()))  # mixup: one new shade; cutmix: the two that there were, or one
    assert 30 < sum(count == 1 for count in kinds) < 70


def test_strength_says_how_even_the_blend_is() -> None:
    means = [
        np.mean([blend(make_images(), seed=seed, mixup=strength)[1] for seed in range(300)])
        for strength in (0.1, 1.0, 20.0)
    ]
    # For Beta(1, 1), which is uniform, the smaller share is 1/4 in the mean.
    assert means[1] == pytest.approx(0.25, abs=0.03)
    assert means[0] < 0.12
    assert means[2] > 0.4


def test_a_blend_depends_on_its_seed_alone() -> None:
    images = make_images()
    for seed in range(20):
        torch.manual_seed(seed)
        random.seed(seed)
        torch_state, python_state = torch.get_rng_state(), random.getstate()
        first, share = blend(images, seed=seed, mixup=0.4, cutmix=0.7)
        assert torch.equal(torch_state, torch.get_rng_state())
        assert python_state == random.getstate()
        random.seed(seed + 1)
        again, same = blend(images, seed=seed, mixup=0.4, cutmix=0.7)
        assert torch.equal(first, again)
        assert share == same


def test_one_photo_alone_stays_as_it_is() -> None:
    images, targets = make_images(1), one_hot([2], 3)
    blended, same = blend_batch(images, targets, config=DataConfig(mixup=1.0), seed=0)
    assert torch.equal(blended, images)
    assert torch.equal(same, targets)
