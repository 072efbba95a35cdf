"""Readable confusion matrices: confused classes are adjacent, and the most confused ones are shown separately."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

LARGEST_TABLE = 25  # classes of a table with numbers
OPTIMAL_UP_TO = 300  # classes that are ordered optimally, in cubic time


class Cell(NamedTuple):
    """One number of a matrix."""

    num_photos: int
    share: float  # of its row
    is_diagonal: bool


class Matrix(NamedTuple):
    """A table of numbers with a name for each row and column."""

    names: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    totals: Sequence[int]  # photos of each class, also those outside the table


def cluster(counts: NDArray[np.int64]) -> list[int]:
    """Order the classes so that confused ones are adjacent."""
    if len(counts) < 3:
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    distances = 1 - np.minimum(shares + shares.T, 1)
    np.fill_diagonal(distances, 0)
    flat = squareform(distances, checks=False)
    tree = linkage(flat, method="average")
    if len(counts) <= OPTIMAL_UP_TO:
        tree = optimal_leaf_ordering(tree, flat)
    return [int(number) for number in leaves_list(tree)]


def confused_block(pairs: Iterable[tuple[int, int]], *, at_most: int = LARGEST_TABLE) -> list[int]:
    """Return the classes of the most confused pairs, as many as a table fits, those of a pair side by side."""
    chosen: dict[int, None] = {}
    for pair in pairs:
        if len(chosen.keys() | set(pair)) <= at_most:
            chosen |= dict.fromkeys(pair)
    return list(chosen)


def as_matrix(counts: NDArray[np.int64], class_names: Sequence[str], *, order: Sequence[int]) -> Matrix:
    """Return some classes of a confusion matrix, in the given order."""
    totals = counts.sum(1)
    rows = [[Cell(int(counts[i, j]), float(counts[i, j] / max(totals[i], 1)), i == j) for j in order] for i in order]
    return Matrix([class_names[i] for i in order], rows, [int(totals[i]) for i in order])
