"""Making up for rare classes: by how often photos are shown, or by how much they count."""

import random
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor


def balanced_order(labels: Sequence[int], *, seed: int, epoch: int) -> list[int]:
    """An epoch as long as the data set in which every class is shown equally often, give or take one.

    The photos of a class take turns: none is shown again before all others were. Of a class with more photos than
    places, each epoch shows a random selection.

    Args:
        labels: The class of each photo.
        seed: Decides the order.
        epoch: Gives each epoch an order of its own.

    Returns:
        Numbers of photos, as many as there are.
    """
    rng = random.Random(f"balance {seed} {epoch}")
    photos: dict[int, list[int]] = defaultdict(list)
    for number, label in enumerate(labels):
        photos[label].append(number)
    classes = sorted(photos)
    rng.shuffle(classes)  # the first ones get one place more, where places do not come out even
    places, extra = divmod(len(labels), len(classes))
    order = []
    for turn, label in enumerate(classes):
        members = photos[label]
        rng.shuffle(members)
        order += [members[place % len(members)] for place in range(places + (turn < extra))]
    rng.shuffle(order)
    return order


def balanced_class_weights(labels: Sequence[int]) -> Tensor:
    """By how much a photo of each class counts: the rarer the class, the more, and 1 in the mean over the photos.

    So all classes together weigh what they would weigh if they were equally frequent, and the learning rate keeps its
    meaning.

    Args:
        labels: The class of each photo; every class occurs.

    Returns:
        float32 (C,).
    """
    counts = torch.bincount(torch.tensor(labels))
    return len(labels) / (len(counts) * counts.float())
