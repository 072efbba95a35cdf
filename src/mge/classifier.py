"""A trained mixture that answers questions about photos."""

import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import length_hint
from pathlib import Path
from typing import Any, NamedTuple, overload

import torch
from PIL import Image

from mge.config import DataConfig
from mge.core.outputs import MixtureOutput
from mge.data.photo import open_photo
from mge.data.transforms import CropGeometry, eval_view
from mge.errors import ConfigError, DataError, MgeError, ModelFolderError
from mge.models.cascade import run_cascade
from mge.models.fast import (
    Agreement,
    Answer,
    Arithmetic,
    compare,
    compile_mixture,
    load_compiled,
    multiplies_bfloat16,
    side_of,
)
from mge.models.mixture import MixtureOfExperts
from mge.storage.compiled_cache import compiled_path, read_proof, remove_oldest, write_proof
from mge.storage.files import write_atomically
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.run_folder import find_model_folder

Photo = str | Path | bytes | Image.Image

COMPILE_SECONDS = 120  # about what compiling a large mixture takes
SAVED = 0.3  # share of eager time that a compiled graph saves; 0.31 to 0.41 measured in float32 on a busy EPYC
PROOF_PHOTOS = 64  # answered by graph and network before the graph answers alone


class Prepared(NamedTuple):
    """A photo as the network wants it."""

    image: torch.Tensor  # uint8 (3, side, side)
    geometry: CropGeometry  # how to get from there to the photo's own pixels


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a mixture says about one photo.

    Args:
        path: Where the photo came from; empty for a picture in memory.
        label: Name of the likeliest class.
        probability: Its probability according to the mixture, from 0 to 1.
        probabilities: The probability of every class, in the order of `class_names`.
        class_names: Names of the classes.
        expert_labels: The class that each expert by itself holds for likeliest.
        gate_probs: How much each expert counted.
        boxes_xyxy: What each expert saw, in the photo's own pixels, end-exclusive.

    In a cascade, an expert that did not look at the photo is left out of the last three.
    """

    path: str
    label: str
    probability: float
    probabilities: tuple[float, ...]
    class_names: tuple[str, ...]
    expert_labels: tuple[str, ...]
    gate_probs: tuple[float, ...]
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]

    @property
    def num_experts_run(self) -> int:
        """How many experts looked at the photo."""
        return len(self.boxes_xyxy)

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k likeliest classes with their probabilities, likeliest first."""
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:k]


class Classifier:
    """A mixture with its class names and its way of preparing photos.

    Args:
        model: The mixture, in the mode of evaluation.
        class_names: Names of the classes, in the order of the logits.
        data: How photos are resized and cropped.
        thresholds: For each expert but the last, how sure it must be for the later ones not to look in a cascade.
    """

    def __init__(
        self, model: MixtureOfExperts, *, class_names: Sequence[str], data: DataConfig | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.model = model.eval()
        self.class_names = tuple(class_names)
        self.data = data or DataConfig()
        self.thresholds = None if thresholds is None else tuple(thresholds)
        self.side = side_of(model)
        self.fast: FastPath | None = None

    @classmethod
    def from_stored(cls, stored: StoredModel) -> "Classifier":
        """Builds the network of a model folder and fills it with its weights."""
        model = MixtureOfExperts.from_config(stored.config, num_classes=len(stored.class_names))
        try:
            model.load_state_dict(stored.state)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ModelFolderError(f"the weights do not fit the architecture in model.json: {reason}") from error
        preprocessing = stored.metadata.get("preprocessing", {})
        return cls(
            model, class_names=stored.class_names, data=DataConfig.from_dict(preprocessing),
            thresholds=stored.metadata.get("cascade", {}).get("thresholds"),
        )  # fmt: skip

    def prepare(self, photo: Photo) -> Prepared:
        """A photo as the network wants it.

        Raises:
            DataError: it cannot be read.
        """
        return Prepared(*eval_view(open_photo(photo), side=self.side, config=self.data))

    @overload
    def predict(self, photos: Photo, *, batch_size: int = 16, cascade: bool = False) -> Prediction: ...

    @overload
    def predict(self, photos: list[Photo], *, batch_size: int = 16, cascade: bool = False) -> list[Prediction]: ...

    def predict(
        self, photos: Photo | list[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Prediction | list[Prediction]:
        """Classifies a photo, or a list of them.

        Args:
            photos: A path, the bytes of a file or a Pillow image, or a list of these.
            batch_size: Photos at a time.
            cascade: Whether later experts look only at photos that those before them were not sure about.

        Raises:
            DataError: a photo cannot be read.
            ConfigError: a cascade is asked for, and the model has no thresholds for one.
        """
        predictions: list[Prediction] = []
        given = photos if isinstance(photos, list) else [photos]
        for result in self.stream(given, batch_size=batch_size, cascade=cascade):
            if isinstance(result, DataError):
                raise result
            predictions.append(result)
        return predictions if isinstance(photos, list) else predictions[0]

    def stream(
        self, photos: Iterable[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Iterator[Prediction | DataError]:
        """Classifies photos one batch after the other, as `predict` does.

        Yields:
            For each photo, in order, its prediction, or the reason why it cannot be read.
        """
        thresholds = self._need_thresholds() if cascade else None
        remaining = iter(photos)
        while batch := list(islice(remaining, batch_size)):
            prepared = [self._try_to_prepare(photo) for photo in batch]
            readable = [
                (photo, item) for photo, item in zip(batch, prepared, strict=True) if isinstance(item, Prepared)
            ]
            num_waiting = length_hint(remaining)
            predicted = iter(
                self._predict_batch(readable, num_waiting=num_waiting, thresholds=thresholds) if readable else ()
            )
            for item in prepared:
                yield item if isinstance(item, DataError) else next(predicted)

    def _try_to_prepare(self, photo: Photo) -> Prepared | DataError:
        try:
            return self.prepare(photo)
        except DataError as error:
            return error

    def _need_thresholds(self) -> tuple[float, ...]:
        if self.thresholds is None:
            raise ConfigError(
                "the model has no thresholds for a cascade; this chooses them on validation photos: "
                "mge evaluate RUN --cascade"
            )
        return self.thresholds

    @torch.inference_mode()
    def _predict_batch(
        self, photos: list[tuple[Photo, Prepared]], *, num_waiting: int, thresholds: tuple[float, ...] | None
    ) -> list[Prediction]:
        device = next(self.model.parameters()).device
        images = torch.stack([prepared.image for _, prepared in photos]).to(device)
        counts = [self.model.active_experts] * len(images)
        if thresholds is not None:
            output, num_experts_run = run_cascade(self.model, images, thresholds=thresholds)
            counts = num_experts_run.tolist()
        elif self.fast is None:
            output = self.model(images)
        else:
            output = self.fast.answer(images, num_waiting=num_waiting)
        probabilities = output.logits.float().softmax(1).cpu()
        return [
            self._prediction(
                photo,
                probabilities[row],
                gate_probs=output.gate_probs[row, :count].tolist(),
                expert_labels=output.joint_logits[row, :count].argmax(1).tolist(),
                boxes_xyxy=prepared.geometry.to_photo(output.boxes_xyxy[row, :count].float().cpu()).tolist(),
            )
            for row, ((photo, prepared), count) in enumerate(zip(photos, counts, strict=True))
        ]

    def _prediction(
        self, photo: Photo, probabilities: torch.Tensor, *, gate_probs: list[float], expert_labels: list[int],
        boxes_xyxy: list[Any],
    ) -> Prediction:  # fmt: skip
        best = int(probabilities.argmax())
        return Prediction(
            path=str(photo) if isinstance(photo, str | Path) else "",
            label=self.class_names[best],
            probability=float(probabilities[best]),
            probabilities=tuple(probabilities.tolist()),
            class_names=self.class_names,
            expert_labels=tuple(self.class_names[label] for label in expert_labels),
            gate_probs=tuple(gate_probs),
            boxes_xyxy=tuple(tuple(box) for box in boxes_xyxy),
        )


class FastPath:
    """Answers with a compiled graph where that is proven equal and worth its while, and with the network otherwise.

    The proof: until graph and network have both answered 64 photos, the network's answers are given, and compared with
    the graph's. The count is kept beside the graph in the cache, so that later calls use a proven graph from their
    first photo. A graph that disagrees (see `Agreement.is_equal`) gives way to the next, a bfloat16 one to float32.
    Where the cache has no graph, one is compiled if it was asked for, or if the photos still waiting would take the
    network so long that compiling saves time. Whatever goes wrong is said in one line, and the network answers.

    Args:
        model: The mixture, where it shall run.
        graphs: The files of its compiled graphs, which need not exist, by their arithmetic; the quickest first.
        is_asked_for: Whether to compile for few photos too.
    """

    def __init__(self, model: MixtureOfExperts, graphs: dict[Arithmetic, Path], *, is_asked_for: bool) -> None:
        self.model, self.side, self.is_asked_for = model, side_of(model), is_asked_for
        self.candidates = list(graphs.items())
        self.loaded: Answer | None = None  # the first candidate's graph
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
            return self.loaded(images)
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
        _say(f"compiling the fast path ({arithmetic}); this takes minutes, once for this model and machine ...")
        started = time.perf_counter()
        write_atomically(graph, lambda file: compile_mixture(self.model, file, arithmetic=arithmetic))
        remove_oldest(graph.parent)
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
            _say(f"fast path in {arithmetic} not used, it does not agree with the network: {self.proof}")
            self.candidates.pop(0)
            self._read_proofs()

    def _give_up(self, error: MgeError) -> None:
        _say(f"fast path not used: {error}")
        self.candidates.clear()
        self.loaded = self.proof = None


def _say(line: str) -> None:
    """A line for the user, beside what is printed for programs."""
    sys.stderr.write(f"{line}\n")


def load(path: str | Path, *, device: str = "cpu", fast: bool | None = None) -> Classifier:
    """Loads a trained classifier.

    Args:
        path: A run folder (its best model is taken) or a model folder.
        device: Where it shall run, as torch names it.
        fast: Whether it answers with a compiled graph, which is compiled with the first photos if it is not in the
            cache. None: where that is proven equal and saves time; see `FastPath`.

    Raises:
        ModelFolderError: there is no whole model at this path.
    """
    folder = find_model_folder(path)
    classifier = Classifier.from_stored(load_model(folder))
    classifier.model.to(device)
    if fast or (fast is None and device == "cpu"):
        choices: tuple[Arithmetic, ...] = ("bfloat16", "float32") if multiplies_bfloat16(device) else ("float32",)
        threads = torch.get_num_threads()
        graphs = {
            choice: compiled_path(folder, arithmetic=choice, device=device, num_threads=threads) for choice in choices
        }
        classifier.fast = FastPath(classifier.model, graphs, is_asked_for=bool(fast))
    return classifier
