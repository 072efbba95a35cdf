"""The proof that an exported graph answers as the model does."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mge.data.preprocess import Pixels
from mge.errors import ExportError
from mge.exporting.graph import OUTPUTS, WithProbabilities
from mge.inference.prediction import Array
from mge.models.mixture import MixtureOfExperts

PROBABILITY_DIFFERENCE, BOX_DIFFERENCE_PX = 1e-4, 1.0  # up to where two answers count as the same
BATCH_SIZES = (1, 7, 32)  # in which the graph is asked, in turns; the exporter saw another one
EXACT_BATCH = 8  # photos that the model is asked about at a time

Graph = Callable[[Pixels], dict[str, Array]]  # what runs one: pictures in, its outputs by name out


class Parity(NamedTuple):
    """How far a graph's answers are from the model's own on the same photos."""

    num_photos: int
    num_same_top1: int  # photos with the same likeliest class
    probability_difference: float  # the largest, over photos and classes
    box_difference_px: float  # the largest, over photos, experts and edges

    @property
    def is_same(self) -> bool:
        """Whether the graph may stand for the model."""
        return (
            self.num_same_top1 == self.num_photos
            and self.probability_difference <= PROBABILITY_DIFFERENCE
            and self.box_difference_px <= BOX_DIFFERENCE_PX
        )

    def __str__(self) -> str:
        return (
            f"{self.num_same_top1} of {self.num_photos} with the same answer, probabilities within "
            f"{self.probability_difference:.1e}, boxes within {self.box_difference_px:.2g} px"
        )


def measure_parity(
    graph: Graph, model: MixtureOfExperts, images: Pixels, *, temperature: float = 1.0,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Parity:  # fmt: skip
    """Asks graph and model about the same photos.

    Args:
        graph: The graph.
        model: The mixture that it was made of, in evaluation mode, on the CPU.
        images: Photos as they are given to both.
        temperature: What the model's logits are divided by before they become probabilities.
        batch_sizes: In which the graph is asked, in turns.
    """
    exact = join([_ask(model, part, temperature=temperature) for part in cut(images, [EXACT_BATCH])])
    found = join([graph(part) for part in cut(images, batch_sizes)])
    difference = {name: float(np.abs(found[name] - exact[name]).max()) for name in ("probabilities", "boxes_xyxy")}
    same = found["probabilities"].argmax(1) == exact["probabilities"].argmax(1)
    # A comparison with NaN is false, and so NaN is never the same.
    return Parity(len(images), int(same.sum()), difference["probabilities"], difference["boxes_xyxy"])


def check_parity(parity: Parity, *, name: str) -> None:
    """Raises ExportError unless the answers are the same."""
    if not parity.is_same:
        raise ExportError(
            f"the exported {name} does not answer as the model does, and was not written: {parity}; accepted: the same "
            f"answer for each photo, {PROBABILITY_DIFFERENCE:g} and {BOX_DIFFERENCE_PX:g} px; try another --format, "
            "and report it with the backbone's name"
        )


def cut(images: Pixels, sizes: Sequence[int]) -> Iterator[Pixels]:
    """The photos in batches of these sizes, in turns."""
    start = turn = 0
    while start < len(images):
        size = sizes[turn % len(sizes)]
        yield images[start : start + size]
        start, turn = start + size, turn + 1


def join(outputs: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """The outputs of several batches as those of one."""
    return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}


def _ask(model: MixtureOfExperts, images: Pixels, *, temperature: float) -> dict[str, Array]:
    with torch.inference_mode():
        said = WithProbabilities(model, temperature=temperature)(torch.from_numpy(images))
    return {name: tensor.numpy() for name, tensor in zip(OUTPUTS, said, strict=True)}
