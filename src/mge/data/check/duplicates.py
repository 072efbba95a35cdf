"""Duplicates of photos: the same file, or the same picture in another size or quality.

Perceptual hashes find the candidates, and a comparison of the images themselves decides: two products held before the
same shelf have hashes that differ in 4 of 64 bits, as many as a photo and its brightened copy.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BITS = 64
MAX_PAIRS = 1_000_000  # candidates; only blank photos, or frames of a film, reach so many
THUMBNAIL_SIDE = 32  # pixels
CELLS = 8  # cells per side of a thumbnail, compared one by one
MAX_DIFFERENCE = 0.25  # of a cell, in standard deviations of the image
LEAST_CONTRAST = 4.0  # grey levels: standard deviations below are noise
BLOCK = 2048  # pairs compared at a time


def group_exact(digests: Sequence[str]) -> list[list[int]]:
    """Group the indices of photos by identical content, for contents that occur more than once."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, digest in enumerate(digests):
        groups[digest].append(number)
    return [members for members in groups.values() if len(members) > 1]


def find_candidates(hashes: NDArray[np.uint64], *, distance: int) -> NDArray[np.int64]:
    """Find all pairs of hashes that differ in few bits.

    The bits are cut into `distance + 1` bands: hashes that differ in at most `distance` bits share at least one band,
    so that only photos with a common band are compared.

    Args:
        hashes: Perceptual hashes (N,).
        distance: Highest number of differing bits.

    Returns:
        Pairs of indices (P, 2), the smaller first, sorted; the first `MAX_PAIRS` or so if there are more.
    """
    found: set[int] = set()
    for members in _sharing_a_band(hashes, num_bands=distance + 1):
        for first, second in _close_pairs(hashes, members, distance=distance):
            found.update((first * len(hashes) + second).tolist())
        if len(found) > MAX_PAIRS:
            break
    pairs = np.array(sorted(found), dtype=np.int64)
    return np.stack([pairs // max(1, len(hashes)), pairs % max(1, len(hashes))], axis=1)


def confirm(pairs: NDArray[np.int64], make_thumbnail: Callable[[int], NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Confirm the pairs that show the same picture, up to size, quality and brightness.

    Args:
        pairs: Pairs of indices (P, 2).
        make_thumbnail: Returns the thumbnail (`THUMBNAIL_SIDE`, `THUMBNAIL_SIDE`, 3) of a photo.

    Returns:
        For each pair (P,) whether no cell of the two images differs.
    """
    numbers, places = np.unique(pairs, return_inverse=True)
    if not len(numbers):
        return np.zeros(0, dtype=np.bool_)
    with ThreadPoolExecutor() as pool:
        thumbnails = np.stack(list(pool.map(make_thumbnail, numbers.tolist())))
    first, second = places.reshape(-1, 2).T
    blocks = [
        difference(thumbnails[first[start : start + BLOCK]], thumbnails[second[start : start + BLOCK]])
        for start in range(0, len(pairs), BLOCK)
    ]
    return np.concatenate(blocks) <= MAX_DIFFERENCE


def difference(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the largest difference between a cell of each image and the same cell of its partner.

    Measured on 150 photos of groceries: copies re-encoded (quality 30 and better), resized (a quarter to three times),
    squashed or brightened by a tenth differ by at most 0.21, photos taken a second apart mostly by 0.27 and more.

    Args:
        first: Thumbnails (N, side, side, 3).
        second: Their partners.

    Returns:
        For each pair (N,), in standard deviations of the image, after removing overall brightness and contrast.
    """
    apart = np.abs(_normalize(first) - _normalize(second)).mean(axis=3)
    size = THUMBNAIL_SIDE // CELLS
    cells = apart.reshape(-1, CELLS, size, CELLS, size).mean(axis=(2, 4))
    largest: NDArray[np.float32] = cells.max(axis=(1, 2))
    return largest


def _normalize(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = thumbnails.astype(np.float32)
    mean, spread = (values.mean(axis=(1, 2, 3), keepdims=True), values.std(axis=(1, 2, 3), keepdims=True))
    normal: NDArray[np.float32] = (values - mean) / np.maximum(spread, LEAST_CONTRAST)
    return normal


def _sharing_a_band(hashes: NDArray[np.uint64], *, num_bands: int) -> Iterator[NDArray[np.int64]]:
    """Yield groups of photos, in ascending order, whose hashes have the same bits in one band."""
    edges = [BITS * number // num_bands for number in range(num_bands + 1)]
    for low, high in pairwise(edges):
        keys = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(keys, kind="stable")
        changes = np.flatnonzero(np.diff(keys[order])) + 1
        yield from (members for members in np.split(order, changes) if len(members) > 1)


def _close_pairs(
    hashes: NDArray[np.uint64], members: NDArray[np.int64], *, distance: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of members whose hashes are close, in blocks of a few million comparisons."""
    rows = max(1, 2**22 // len(members))
    for start in range(0, len(members), rows):
        block = members[start : start + rows]
        close = np.bitwise_count(hashes[block][:, None] ^ hashes[members][None, :]) <= distance
        row, column = np.nonzero(close & (block[:, None] < members[None, :]))
        yield block[row], members[column]
