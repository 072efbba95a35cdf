"""Parity of an exported graph with its model."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mge.data.preprocess import Pixels
from mge.errors import ExportError
from mge.exporting.graph import OUTPUTS, WithProbabilities
from mge.inference.prediction import Array
from mge.models.mixture import MixtureOfExperts

PROBABILITY_DIFFERENCE, BOX_DIFFERENCE_PX = 1e-4, 1.0  # tolerances within which two outputs are equal
BATCH_SIZES = (1, 7, 32)  # of the graph, in rotation; the exporter used another one
EXACT_BATCH = 8  # batch size of the model

Graph = Callable[[Pixels], dict[str, Array]]  # from images to outputs by name


class Parity(NamedTuple):
    """Differences between a graph's outputs and the model's for the same photos."""

    num_photos: int
    num_same_top1: int  # photos with the same predicted class
    probability_difference: float  # the largest, over photos and classes
    box_difference_px: float  # the largest, over photos, experts and edges

    @property
    def is_same(self) -> bool:
        """True if the differences are within the tolerances."""
        return (
            self.num_same_top1 == self.num_photos
            and self.probability_difference <= PROBABILITY_DIFFERENCE
            and self.box_difference_px <= BOX_DIFFERENCE_PX
        )

    def __str__(self) -> str:
        return (
            f"{self.num_same_top1} of {self.num_photos} photos with the same prediction, probabilities within "
            f"{self.probability_difference:.1e}, boxes within {self.box_difference_px:.2g} px"
        )


def measure_parity(
    graph: Graph, model: MixtureOfExperts, images: Pixels, *, temperature: float = 1.0,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Parity:  # fmt: skip
    """Run graph and model on the same photos.

    Args:
        graph: The graph.
        model: The mixture that was exported, in evaluation mode, on the CPU.
        images: Input images of both.
        temperature: Softmax temperature of the model's probabilities.
        batch_sizes: Batch sizes of the graph, in rotation.
    """
    exact = join([_ask(model, part, temperature=temperature) for part in cut(images, [EXACT_BATCH])])
    found = join([graph(part) for part in cut(images, batch_sizes)])
    difference = {name: float(np.abs(found[name] - exact[name]).max()) for name in ("probabilities", "boxes_xyxy")}
    same = found["probabilities"].argmax(1) == exact["probabilities"].argmax(1)
    # A comparison with NaN is false, and so NaN is never the same.
    return Parity(len(images), int(same.sum()), difference["probabilities"], difference["boxes_xyxy"])


def check_parity(parity: Parity, *, name: str) -> None:
    """Raise ExportError unless the outputs are equal within the tolerances."""
    if not parity.is_same:
        raise ExportError(
            f"the exported {name} does not answer as the model does, and was not written: {parity}; accepted: the same "
            f"answer for each photo, {PROBABILITY_DIFFERENCE:g} and {BOX_DIFFERENCE_PX:g} px; try another --format, "
            "and report it with the backbone's name"
        )


def cut(images: Pixels, sizes: Sequence[int]) -> Iterator[Pixels]:
    """Yield the photos in batches of these sizes, in rotation."""
    start = turn = 0
    while start < len(images):
        size = sizes[turn % len(sizes)]
        yield images[start : start + size]
        start, turn = start + size, turn + 1


def join(outputs: Sequence[dict[str, Array]]) -> dict[str, Array]:
    """Concatenate the outputs of several batches."""
    return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}


def _ask(model: MixtureOfExperts, images: Pixels, *, temperature: float) -> dict[str, Array]:
    with torch.inference_mode():
        said = WithProbabilities(model, temperature=temperature)(torch.from_numpy(images))
    return {name: tensor.numpy() for name, tensor in zip(OUTPUTS, said, strict=True)}
