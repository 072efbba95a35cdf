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

TOLERANCE, BOX_DIFFERENCE_PX = 1e-2, 1.0  # differences above which an export is refused
SAME = 1e-4  # largest difference of probabilities between outputs that are called the same
BATCH_SIZES = (1, 7, 32)  # of the graph, in rotation; the exporter used another one
EXACT_BATCH = 8  # batch size of the model

Graph = Callable[[Pixels], dict[str, Array]]  # from images to outputs by name


class Parity(NamedTuple):
    """Differences between a graph's outputs and the model's for the same photos."""

    num_photos: int
    num_same_top1: int  # photos with the same predicted class
    probability_difference: float  # the largest, over photos and classes
    box_difference_px: float  # the largest, over photos, experts and edges
    changed_margin: float = 0.0  # the model's largest margin between its class and the graph's, where they differ

    @property
    def is_same(self) -> bool:
        """True if the differences are those of rounding only."""
        return (
            self.num_same_top1 == self.num_photos
            and self.probability_difference <= SAME
            and self.box_difference_px <= BOX_DIFFERENCE_PX
        )

    @property
    def changes(self) -> str:
        """Number of photos with another predicted class, in words; empty if there are none."""
        changed = self.num_photos - self.num_same_top1
        return f"{changed} of {self.num_photos} photos with another predicted class" if changed else ""

    def in_words(self, name: str) -> str:
        """Return what differs between a runtime's outputs and the model's, on one line."""
        changed = f"{self.changes} (as likely within {self.changed_margin:.1e}), " if self.changes else ""
        return (
            f"{name} differs from PyTorch: {changed}max probability difference {self.probability_difference:.1e}, "
            f"max box difference {self.box_difference_px:.2g} px"
        )

    def to_dict(self) -> dict[str, float]:
        """Convert to JSON-able values."""
        return {
            "photos": self.num_photos,
            "same_prediction": self.num_same_top1,
            "max_probability_difference": self.probability_difference,
            "max_box_difference_px": self.box_difference_px,
        }

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
    rows, expected = np.arange(len(images)), exact["probabilities"]
    best, other = expected.argmax(1), found["probabilities"].argmax(1)
    margin = float((expected[rows, best] - expected[rows, other]).max())
    # A comparison with NaN is false, and so NaN is never the same.
    return Parity(
        len(images), int((best == other).sum()), difference["probabilities"], difference["boxes_xyxy"], margin
    )


def check_parity(parity: Parity, *, name: str, tolerance: float = TOLERANCE) -> None:
    """Raise ExportError if the outputs differ by more than the tolerance.

    A photo may have another predicted class only if the model's probabilities of the two are closer than that.

    Args:
        parity: The measured differences.
        name: Runtime of the graph, for the error.
        tolerance: Largest accepted difference of probabilities.
    """
    limit = f"exceeds the tolerance {tolerance:.1e} (--tolerance)"
    reasons = []
    if parity.changes and not parity.changed_margin <= tolerance:
        reasons.append(f"{parity.changes}, whose margin {parity.changed_margin:.1e} {limit}")
    if not parity.probability_difference <= tolerance:
        reasons.append(f"max probability difference {parity.probability_difference:.1e} {limit}")
    if not parity.box_difference_px <= BOX_DIFFERENCE_PX:
        reasons.append(f"max box difference {parity.box_difference_px:.2g} px exceeds {BOX_DIFFERENCE_PX:g} px")
    if reasons:
        raise ExportError(
            f"{name} verification failed: {', '.join(reasons)}; nothing was written: try another --format, and report "
            "it with the backbone's name"
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
