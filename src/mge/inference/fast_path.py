"""Use of a compiled graph in place of the network."""

import sys
import time
from pathlib import Path

import torch

from mge.core.outputs import MixtureOutput
from mge.errors import MgeError
from mge.inference.agreement import Agreement, Mixture, ask_again, compare
from mge.inference.compiled import Arithmetic, compile_mixture, load_compiled
from mge.inference.compiled_cache import read_proof, remove_oldest_graphs, write_proof
from mge.models.mixture import MixtureOfExperts
from mge.storage.files import write_atomically

COMPILE_SECONDS = 120  # approximate time to compile a large mixture
SAVED = 0.3  # fraction of eager time that a compiled graph saves; 0.31 to 0.41 measured in float32 on a busy EPYC
PROOF_PHOTOS = 64  # run by both graph and network before the graph runs alone


class FastPath:
    """Runs a compiled graph if that is proven equal and saves time, and the network otherwise.

    The proof: until graph and network have both run on 64 photos, the network's outputs are returned, and compared with
    the graph's. The count is kept beside the graph in the cache, so that later calls use a proven graph from their
    first photo. A graph that disagrees (see `Agreement.is_equal`) is replaced by the next candidate, bfloat16 by
    float32. Photos whose top-2 margin is so small that errors as large as the proof's largest could swap the classes
    are run on the network again, so that rounding does not decide the predicted class.

    If no graph is cached, one is compiled if requested, or if the remaining photos would take the network so long that
    compiling saves time. Any failure is reported in one line, and the network is used.

    Args:
        model: The mixture, on its device.
        graphs: Files of its compiled graphs, which need not exist, by their arithmetic; the fastest first.
        is_asked_for: Whether to compile for few photos too.
    """

    def __init__(self, model: MixtureOfExperts, graphs: dict[Arithmetic, Path], *, is_asked_for: bool) -> None:
        self.model, self.side, self.is_asked_for = model, model.config.photo_side, is_asked_for
        self.candidates = list(graphs.items())
        self.loaded: Mixture | None = None  # the first candidate's graph
        self.proof: Agreement | None = None  # of the first candidate, so far
        self._read_proofs()

    def answer(self, images: torch.Tensor, *, num_waiting: int = 0) -> MixtureOutput:
        """Run the mixture on a batch of uint8 images.

        Args:
            images: The images.
            num_waiting: Number of further images, as far as is known.
        """
        if self.is_proven and self._load():
            assert self.loaded is not None
            assert self.proof is not None
            return ask_again(self.loaded(images), self.model, images, difference=self.proof.probability_difference)
        started = time.perf_counter()
        exact: MixtureOutput = self.model(images)
        seconds_to_come = num_waiting * (time.perf_counter() - started) / len(images)
        if self.candidates and self._is_worth_it(seconds_to_come) and self._load():
            self._compare(images, exact)
        return exact

    @property
    def is_proven(self) -> bool:
        """True if the graph replaces the network."""
        return self.proof is not None and self.proof.num_photos >= PROOF_PHOTOS

    def _is_worth_it(self, seconds_to_come: float) -> bool:
        is_there = self.candidates[0][1].exists()
        return is_there or self.is_asked_for or SAVED * seconds_to_come > COMPILE_SECONDS

    def _read_proofs(self) -> None:
        """Skip the candidates that disagreed in previous calls."""
        self.loaded = self.proof = None
        while self.candidates:
            graph = self.candidates[0][1]
            proof = read_proof(graph) if graph.exists() else None
            self.proof = Agreement(**proof) if proof else None
            if self.proof is None or self.proof.is_equal:
                return
            self.candidates.pop(0)
            self.proof = None

    def _load(self) -> bool:
        """Load the first candidate's graph, compiling it if it is missing; return whether it is available."""
        try:
            if self.loaded is None:
                arithmetic, graph = self.candidates[0]
                if not graph.exists():
                    self._compile(graph, arithmetic)
                self.loaded = load_compiled(graph, side=self.side)
        except MgeError as error:
            self._give_up(error)
        return self.loaded is not None

    def _compile(self, graph: Path, arithmetic: Arithmetic) -> None:
        _say(f"compiling the model ({arithmetic}); this takes minutes, once for this model and machine ...")
        started = time.perf_counter()
        write_atomically(graph, lambda file: compile_mixture(self.model, file, arithmetic=arithmetic))
        remove_oldest_graphs(graph.parent)
        _say(f"compiled in {time.perf_counter() - started:.0f} s: {graph}")

    def _compare(self, images: torch.Tensor, exact: MixtureOutput) -> None:
        """Add a batch to the proof."""
        assert self.loaded is not None
        found = compare(self.loaded(images), exact)
        self.proof = self.proof.with_more(found) if self.proof else found
        arithmetic, graph = self.candidates[0]
        try:
            write_proof(graph, self.proof._asdict())
        except MgeError as error:
            self._give_up(error)
            return
        if not self.proof.is_equal:
            _say(f"the compiled model ({arithmetic}) is not used, its outputs differ from the network's: {self.proof}")
            self.candidates.pop(0)
            self._read_proofs()

    def _give_up(self, error: MgeError) -> None:
        _say(f"the compiled model is not used: {error}")
        self.candidates.clear()
        self.loaded = self.proof = None


def _say(line: str) -> None:
    """Print a line to stderr, apart from output for programs."""
    sys.stderr.write(f"{line}\n")
