"""Two photos in one picture: whose pixels are where, and what share the label gets."""

import random

import numpy as np
import pytest
import torch

from mge.config import DataConfig
from mge.core.losses import Blend
from mge.data.blending import blend_batch
from mge.data.loader import Batch


def make_batch(count: int = 4, side: int = 20) -> Batch:
    """Photo n is 50 n everywhere, and of class 10 + n."""
    shades = (50 * torch.arange(count)).byte().view(-1, 1, 1, 1)
    return Batch(shades.expand(-1, 3, side, side).contiguous(), 10 + torch.arange(count), torch.arange(count))


def blend(batch: Batch, *, seed: int, mixup: float = 0.0, cutmix: float = 0.0) -> tuple[Batch, Blend]:
    blended, what = blend_batch(batch, config=DataConfig(mixup=mixup, cutmix=cutmix), seed=seed)
    assert what is not None
    return blended, what


def test_nothing_is_blended_unless_asked_for() -> None:
    batch = make_batch()
    assert blend_batch(batch, config=DataConfig(), seed=1) == (batch, None)


@pytest.mark.parametrize("mixup", [0.2, 1.0])
def test_mixup_lays_the_next_photo_over_each_by_its_share(mixup: float) -> None:
    batch = make_batch()
    for seed in range(30):
        blended, what = blend(batch, seed=seed, mixup=mixup)
        assert what.labels.tolist() == [13, 10, 11, 12]
        assert 0 <= what.share <= 0.5
        for number in range(4):
            expected = (1 - what.share) * 50 * number + what.share * 50 * ((number - 1) % 4)
            assert np.abs(blended.images[number].numpy() - expected).max() <= 0.501
        assert blended.images.dtype == torch.uint8
        assert torch.equal(blended.labels, batch.labels)
        assert torch.equal(blended.indices, batch.indices)
    assert torch.equal(batch.images, make_batch().images)


def test_cutmix_pastes_one_rectangle_whose_area_is_the_share() -> None:
    batch, shares = make_batch(side=30), []
    for seed in range(60):
        blended, what = blend(batch, seed=seed, cutmix=1.0)
        foreign = blended.images[1, 0] == 0  # of photo 0
        assert torch.equal(blended.images[1] == 50, ~foreign.expand(3, -1, -1))
        assert what.share == pytest.approx(foreign.float().mean().item(), abs=1e-6)
        rows, columns = torch.nonzero(foreign, as_tuple=True)
        if len(rows):
            assert foreign[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
        shares.append(what.share)
    assert max(shares) <= 0.53  # half the area, rounded to whole pixels
    assert max(shares) > 0.3
    assert torch.equal(batch.images, make_batch(side=30).images)


def test_with_both_each_batch_has_one_of_them() -> None:
    batch = make_batch()
    kinds = []
    for seed in range(100):
        images = blend(batch, seed=seed, mixup=1.0, cutmix=1.0)[0].images
        kinds.append(len(images[1].unique()))  # mixup: one new shade; cutmix: the two that there were, or one
    assert 30 < sum(count == 1 for count in kinds) < 70


def test_strength_says_how_even_the_blend_is() -> None:
    means = [
        np.mean([blend(make_batch(), seed=seed, mixup=strength)[1].share for seed in range(300)])
        for strength in (0.1, 1.0, 20.0)
    ]
    # For Beta(1, 1), which is uniform, the smaller share is 1/4 in the mean.
    assert means[1] == pytest.approx(0.25, abs=0.03)
    assert means[0] < 0.12
    assert means[2] > 0.4


def test_a_blend_depends_on_its_seed_alone() -> None:
    batch = make_batch()
    for seed in range(20):
        torch.manual_seed(seed)
        random.seed(seed)
        torch_state, python_state = torch.get_rng_state(), random.getstate()
        first, what = blend(batch, seed=seed, mixup=0.4, cutmix=0.7)
        assert torch.equal(torch_state, torch.get_rng_state())
        assert python_state == random.getstate()
        random.seed(seed + 1)
        again, same = blend(batch, seed=seed, mixup=0.4, cutmix=0.7)
        assert torch.equal(first.images, again.images)
        assert what.share == same.share


def test_one_photo_alone_stays_as_it_is() -> None:
    batch = make_batch(1)
    blended, what = blend(batch, seed=0, mixup=1.0)
    assert torch.equal(blended.images, batch.images)
    assert what.labels.tolist() == [10]
