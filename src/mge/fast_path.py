"""The decision when a compiled graph may answer in the network's place."""

import sys
import time
from pathlib import Path

import torch

from mge.core.outputs import MixtureOutput
from mge.errors import MgeError
from mge.models.agreement import Agreement, Mixture, ask_again, compare
from mge.models.fast import Arithmetic, compile_mixture, load_compiled
from mge.models.mixture import MixtureOfExperts
from mge.storage.compiled_cache import read_proof, remove_oldest_graphs, write_proof
from mge.storage.files import write_atomically

COMPILE_SECONDS = 120  # about what compiling a large mixture takes
SAVED = 0.3  # share of eager time that a compiled graph saves; 0.31 to 0.41 measured in float32 on a busy EPYC
PROOF_PHOTOS = 64  # answered by graph and network before the graph answers alone


class FastPath:
    """Answers with a compiled graph where that is proven equal and worth its while, and with the network otherwise.

    The proof: until graph and network have both answered 64 photos, the network's answers are given, and compared with
    the graph's. The count is kept beside the graph in the cache, so that later calls use a proven graph from their
    first photo. A graph that disagrees (see `Agreement.is_equal`) gives way to the next, a bfloat16 one to float32.
    Photos whose two likeliest classes lie so close together that errors as large as the proof's largest could swap them
    are asked of the network again, so that rounding does not decide which class is said.
    Where the cache has no graph, one is compiled if it was asked for, or if the photos still waiting would take the
    network so long that compiling saves time. Whatever goes wrong is said in one line, and the network answers.

    Args:
        model: The mixture, where it shall run.
        graphs: The files of its compiled graphs, which need not exist, by their arithmetic; the quickest first.
        is_asked_for: Whether to compile for few photos too.
    """

    def __init__(self, model: MixtureOfExperts, graphs: dict[Arithmetic, Path], *, is_asked_for: bool) -> None:
        self.model, self.side, self.is_asked_for = model, model.config.photo_side, is_asked_for
        self.candidates = list(graphs.items())
        self.loaded: Mixture | None = None  # the first candidate's graph
        self.proof: Agreement | None = None  # of the first candidate, so far
        self._read_proofs()

    def answer(self, images: torch.Tensor, *, num_waiting: int = 0) -> MixtureOutput:
        """The mixture's answer about a batch of uint8 pictures.

        Args:
            images: The pictures.
            num_waiting: How many more will follow, as far as is known.
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
        """Whether the graph answers instead of the network."""
        return self.proof is not None and self.proof.num_photos >= PROOF_PHOTOS

    def _is_worth_it(self, seconds_to_come: float) -> bool:
        is_there = self.candidates[0][1].exists()
        return is_there or self.is_asked_for or SAVED * seconds_to_come > COMPILE_SECONDS

    def _read_proofs(self) -> None:
        """Passes by the candidates that disagreed in former calls."""
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
        """Whether the first candidate's graph is there to be asked; it is compiled where it is missing."""
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
        """Adds a batch to the proof."""
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
    """A line for the user, beside what is printed for programs."""
    sys.stderr.write(f"{line}\n")
