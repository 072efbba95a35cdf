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
from mge.errors import DataError, MgeError, ModelFolderError
from mge.models.fast import (
    Agreement,
    Answer,
    Arithmetic,
    compare,
    compile_mixture,
    load_compiled,
    multiplies_bfloat16,
)
from mge.models.mixture import MixtureOfExperts
from mge.storage.compiled_cache import compiled_path, read_proof, remove_oldest, write_proof
from mge.storage.files import write_atomically
from mge.storage.model_folder import StoredModel, load_model
from mge.storage.run_folder import find_model_folder

Photo = str | Path | bytes | Image.Image

COMPILE_SECONDS = 120  # about what compiling a large mixture takes
SAVED = 0.5  # share of eager time that a compiled graph saves at least, with float32 too
PROOF_PHOTOS = 16  # as many make a proof that later calls rely on without being asked to


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
    """

    path: str
    label: str
    probability: float
    probabilities: tuple[float, ...]
    class_names: tuple[str, ...]
    expert_labels: tuple[str, ...]
    gate_probs: tuple[float, ...]
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]

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
    """

    def __init__(self, model: MixtureOfExperts, *, class_names: Sequence[str], data: DataConfig | None = None) -> None:
        self.model = model.eval()
        self.class_names = tuple(class_names)
        self.data = data or DataConfig()
        self.side = round(model.config.size * model.config.detail)
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
        return cls(model, class_names=stored.class_names, data=DataConfig.from_dict(preprocessing))

    def prepare(self, photo: Photo) -> Prepared:
        """A photo as the network wants it.

        Raises:
            DataError: it cannot be read.
        """
        opened = photo if isinstance(photo, Image.Image) else open_photo(photo)
        return Prepared(*eval_view(opened.convert("RGB"), side=self.side, config=self.data))

    @overload
    def predict(self, photos: Photo, *, batch_size: int = 16) -> Prediction: ...

    @overload
    def predict(self, photos: list[Photo], *, batch_size: int = 16) -> list[Prediction]: ...

    def predict(self, photos: Photo | list[Photo], *, batch_size: int = 16) -> Prediction | list[Prediction]:
        """Classifies a photo, or a list of them.

        Args:
            photos: A path, the bytes of a file or a Pillow image, or a list of these.
            batch_size: Photos at a time.

        Raises:
            DataError: a photo cannot be read.
        """
        predictions: list[Prediction] = []
        for result in self.stream(photos if isinstance(photos, list) else [photos], batch_size=batch_size):
            if isinstance(result, DataError):
                raise result
            predictions.append(result)
        return predictions if isinstance(photos, list) else predictions[0]

    def stream(self, photos: Iterable[Photo], *, batch_size: int = 16) -> Iterator[Prediction | DataError]:
        """Classifies photos one batch after the other.

        Yields:
            For each photo, in order, its prediction, or the reason why it cannot be read.
        """
        remaining = iter(photos)
        while batch := list(islice(remaining, batch_size)):
            prepared = [self._try_to_prepare(photo) for photo in batch]
            readable = [
                (photo, item) for photo, item in zip(batch, prepared, strict=True) if isinstance(item, Prepared)
            ]
            num_waiting = length_hint(remaining)
            predicted = iter(self._predict_batch(readable, num_waiting=num_waiting) if readable else ())
            for item in prepared:
                yield item if isinstance(item, DataError) else next(predicted)

    def _try_to_prepare(self, photo: Photo) -> Prepared | DataError:
        try:
            return self.prepare(photo)
        except DataError as error:
            return error

    @torch.inference_mode()
    def _predict_batch(self, photos: list[tuple[Photo, Prepared]], *, num_waiting: int) -> list[Prediction]:
        device = next(self.model.parameters()).device
        images = torch.stack([prepared.image for _, prepared in photos]).to(device)
        output = self.model(images) if self.fast is None else self.fast.answer(images, num_waiting=num_waiting)
        probabilities = output.logits.float().softmax(1).cpu()
        return [
            self._prediction(
                photo,
                probabilities[number],
                gate_probs=output.gate_probs[number].tolist(),
                expert_labels=output.joint_logits[number].argmax(1).tolist(),
                boxes_xyxy=prepared.geometry.to_photo(output.boxes_xyxy[number].float().cpu()).tolist(),
            )
            for number, (photo, prepared) in enumerate(photos)
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

    The proof: the graph answers a batch that the network answers too, and both agree (`Agreement.is_equal`). It is kept
    beside the graph in the cache; with a proof on 16 photos or more, later calls use the graph from their first photo.
    Without a graph in the cache, one is compiled if that was asked for, or if the photos still waiting would take the
    network so long that compiling saves time. Whatever goes wrong is said in one line, and the network answers.

    Args:
        model: The mixture, where it shall run.
        graph: The file of its compiled graph, which need not exist.
        arithmetic: Of the graph's backbones.
        is_asked_for: Whether to compile for few photos too.
    """

    def __init__(self, model: MixtureOfExperts, graph: Path, *, arithmetic: Arithmetic, is_asked_for: bool) -> None:
        self.model, self.graph, self.arithmetic, self.is_asked_for = model, graph, arithmetic, is_asked_for
        self.compiled: Answer | None = None
        self.is_settled = False
        proof = read_proof(graph) if graph.exists() else None
        if proof is not None and (is_asked_for or proof["num_photos"] >= PROOF_PHOTOS):
            self._settle(Agreement(**proof))

    def answer(self, images: torch.Tensor, *, num_waiting: int = 0) -> MixtureOutput:
        """The mixture's answer about a batch of uint8 pictures.

        Args:
            images: The pictures.
            num_waiting: How many more will follow, as far as is known.
        """
        if self.compiled is not None:
            return self.compiled(images)
        started = time.perf_counter()
        exact: MixtureOutput = self.model(images)
        seconds_to_come = num_waiting * (time.perf_counter() - started) / len(images)
        is_worth_it = self.is_asked_for or self.graph.exists() or SAVED * seconds_to_come > COMPILE_SECONDS
        if is_worth_it and not self.is_settled:
            self._prove(images, exact)
        return exact

    def _prove(self, images: torch.Tensor, exact: MixtureOutput) -> None:
        """Compares the graph, which is made where it is missing, with the network's answer."""
        try:
            if not self.graph.exists():
                self._compile()
            agreement = compare(load_compiled(self.graph)(images), exact)
            write_proof(self.graph, agreement._asdict())
            self._settle(agreement)
        except MgeError as error:
            self.is_settled = True
            _say(f"fast path not used: {error}")

    def _compile(self) -> None:
        _say("compiling the fast path; this takes minutes, once for this model and machine ...")
        started = time.perf_counter()
        write_atomically(self.graph, lambda file: compile_mixture(self.model, file, arithmetic=self.arithmetic))
        remove_oldest(self.graph.parent)
        _say(f"compiled in {time.perf_counter() - started:.0f} s ({self.arithmetic}): {self.graph}")

    def _settle(self, agreement: Agreement) -> None:
        self.is_settled = True
        if not agreement.is_equal:
            _say(f"fast path not used, it does not agree with the network: {agreement}")
            return
        try:
            self.compiled = load_compiled(self.graph)
        except MgeError as error:
            _say(f"fast path not used: {error}")


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
        arithmetic: Arithmetic = "bfloat16" if multiplies_bfloat16(device) else "float32"
        graph = compiled_path(folder, arithmetic=arithmetic, device=device, num_threads=torch.get_num_threads())
        classifier.fast = FastPath(classifier.model, graph, arithmetic=arithmetic, is_asked_for=bool(fast))
    return classifier
