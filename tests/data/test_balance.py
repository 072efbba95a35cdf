"""Rare classes: how often photos are shown and how much they count, beside scikit-learn and plain counting."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from mge.data.balance import balanced_class_weights, balanced_order
from mge.data.loader import epoch_batches

SKEWED = [0] * 60 + [1] * 5 + [2] * 1 + [3] * 31  # 97 photos: 24 or 25 places a class


def test_every_class_is_shown_equally_often_give_or_take_one() -> None:
    order = balanced_order(SKEWED, seed=0, epoch=0)
    assert len(order) == 97
    assert sorted(Counter(SKEWED[photo] for photo in order).values()) == [24, 24, 24, 25]


def test_the_photos_of_a_class_take_turns() -> None:
    shown = Counter(balanced_order(SKEWED, seed=4, epoch=1))
    for label in range(4):
        times = [shown[photo] for photo in range(97) if SKEWED[photo] == label]
        assert max(times) - min(times) <= 1


def test_over_the_epochs_every_photo_of_a_common_class_has_its_turn() -> None:
    seen = {photo for epoch in range(20) for photo in balanced_order(SKEWED, seed=0, epoch=epoch)}
    assert seen == set(range(97))


def test_balanced_data_stay_as_they_are() -> None:
    labels = [0, 1, 2] * 10
    assert sorted(balanced_order(labels, seed=0, epoch=0)) == list(range(30))


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    orders = {(seed, epoch): balanced_order(SKEWED, seed=seed, epoch=epoch) for seed in range(3) for epoch in range(3)}
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    assert all(balanced_order(SKEWED, seed=seed, epoch=epoch) == order for (seed, epoch), order in orders.items())
    assert len({tuple(order) for order in orders.values()}) == 9


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_out_a_balanced_epoch_of_the_same_number_of_steps(world: int) -> None:
    options = {"batch_size": 8, "seed": 3, "epoch": 2, "shuffle": True, "drop_last": True}
    plain = epoch_batches(97, **options)  # type: ignore[arg-type]
    whole = epoch_batches(97, **options, balance=SKEWED)  # type: ignore[arg-type]
    shares = [
        epoch_batches(97, **options, balance=SKEWED, rank=rank, world=world)  # type: ignore[arg-type]
        for rank in range(world)
    ]
    assert [len(batch) for batch in whole] == [len(batch) for batch in plain]
    for number, batch in enumerate(whole):
        assert sorted(batch) == sorted(photo for share in shares for photo in share[number])


@pytest.mark.parametrize("labels", [SKEWED, [0, 1], [2, 2, 2, 0, 1, 1]])
def test_class_weights_are_those_of_scikit_learn_and_1_in_the_mean_over_the_photos(labels: list[int]) -> None:
    weights = balanced_class_weights(labels)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert weights[torch.tensor(labels)].mean().item() == pytest.approx(1, rel=1e-6)
