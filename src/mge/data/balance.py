"""Class balancing: by the sampling frequency of photos, or by class weights."""

import random
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor


def balanced_order(labels: Sequence[int], *, seed: int, epoch: int) -> list[int]:
    """Return an order as long as the data set in which all classes are equally frequent, give or take one photo.

    The photos of a class take turns: none is repeated before all others were shown. Of a class with more photos than
    places, each epoch shows a random selection.

    Args:
        labels: The class of each photo.
        seed: Seed of the order.
        epoch: Index of the epoch, each of which has another order.

    Returns:
        Indices of photos, as many as there are.
    """
    rng = random.Random(f"balance {seed} {epoch}")
    photos: dict[int, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        photos[label].append(number)
    classes = sorted(photos)
    rng.shuffle(classes)  # the first ones get the remaining places
    places, extra = divmod(len(labels), len(classes))
    order = []
    for turn, label in enumerate(classes):
        members = photos[label]
        rng.shuffle(members)
        order += [members[place % len(members)] for place in range(places + (turn < extra))]
    rng.shuffle(order)
    return order


def balanced_class_weights(labels: Sequence[int]) -> Tensor:
    """Return class weights inversely proportional to class frequency, with mean 1 over the photos.

        weight_c = N / (C * N_c)

    All classes together have the same total weight as without balancing, so the learning rate keeps its meaning.

    Args:
        labels: The class of each photo; every class occurs.

    Returns:
        float32 (C,).
    """
    counts = torch.bincount(torch.tensor(labels))
    return len(labels) / (len(counts) * counts.float())
