"""A compiled graph in place of the network, once it is proven equal."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from mge.core.outputs import MixtureOutput
from mge.errors import MgeError
from mge.inference.agreement import Agreement, Mixture, ask_again, compare
from mge.inference.compiled import Arithmetic, compile_mixture, concatenate, load_compiled
from mge.inference.compiled_cache import read_proof, remove_oldest_graphs, write_proof
from mge.models.mixture import MixtureOfExperts
from mge.storage.files import write_atomically

PROOF_BATCH = 16  # images that the network runs on at a time


class FastPath:
    """A graph that is proven equal to the network.

    Photos whose top-2 margin is so small that errors as large as the proof's largest could swap the classes are run on
    the network again, so that rounding does not decide the predicted class.

    Args:
        model: The mixture, on its device.
        graph: Its compiled graph.
        difference: Largest difference of a probability in the proof.
    """

    def __init__(self, model: MixtureOfExperts, graph: Mixture, *, difference: float) -> None:
        self.model, self.graph, self.difference = model, graph, difference

    def answer(self, images: torch.Tensor) -> MixtureOutput:
        """Run the graph on a batch of uint8 images, and the network on close calls."""
        return ask_again(self.graph(images), self.model, images, difference=self.difference)


@torch.inference_mode()
def open_fast_path(
    model: MixtureOfExperts, graphs: Mapping[Arithmetic, Path], *, draw: Callable[[], torch.Tensor]
) -> FastPath | None:
    """Compile the mixture where that was not done before, and prove the graph equal on a fixed batch of images.

    The proof is stored beside the graph in the cache, and made once. A graph that disagrees (see `Agreement.is_equal`)
    is replaced by the next one, bfloat16 by float32. Without a usable graph one line says why.

    Args:
        model: The mixture, on its device.
        graphs: Files of its compiled graphs, which need not exist, by their arithmetic; the fastest first.
        draw: Returns the images, uint8, if a proof is needed.

    Returns:
        The path; None: the network itself has to be used.
    """
    for arithmetic, file in graphs.items():
        try:
            proof = _read_proof(file)
            graph = None if proof and not proof.is_equal else _load(model, file, arithmetic)
            if graph and proof is None:
                proof = _prove(model, graph, draw().to(next(model.parameters()).device))
                write_proof(file, proof._asdict())
        except MgeError as error:
            _say(f"the compiled model is not used: {error}")
            return None
        if graph and proof and proof.is_equal:
            return FastPath(model, graph, difference=proof.probability_difference)
        _say(f"the compiled model ({arithmetic}) is not used, its outputs differ from the network's: {proof}")
    return None


def _read_proof(file: Path) -> Agreement | None:
    proof = read_proof(file) if file.exists() else None
    return Agreement(**proof) if proof else None


def _load(model: MixtureOfExperts, file: Path, arithmetic: Arithmetic) -> Mixture:
    if not file.exists():
        _say(f"compiling the model ({arithmetic}); this takes minutes, once for this model and machine ...")
        started = time.perf_counter()
        write_atomically(file, lambda unfinished: compile_mixture(model, unfinished, arithmetic=arithmetic))
        remove_oldest_graphs(file.parent)
        _say(f"compiled in {time.perf_counter() - started:.0f} s: {file}")
    return load_compiled(file, side=model.config.photo_side)


def _prove(model: MixtureOfExperts, graph: Mixture, images: torch.Tensor) -> Agreement:
    """Return the agreement of graph and network on all images."""
    parts = images.split(PROOF_BATCH)
    return compare(concatenate([graph(part) for part in parts]), concatenate([model(part) for part in parts]))


def _say(line: str) -> None:
    """Print a line to stderr, apart from output for programs."""
    sys.stderr.write(f"{line}\n")
