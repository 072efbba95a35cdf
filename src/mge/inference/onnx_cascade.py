"""An exported cascade: later experts look only at photos that those before them were not sure about. No torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mge.config import Mix
from mge.data.preprocess import Pixels
from mge.errors import ConfigError, ModelFolderError
from mge.inference.onnx_classifier import OnnxClassifier, open_session
from mge.inference.prediction import Array
from mge.storage.export_description import EXPORT_AGAIN, INPUT, Description, read_sealed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FIRST, GATE = "expert_0.onnx", "gate.onnx"
PREVIOUS = "former_"  # begins the name of what a graph takes from those before it
NO_EXIT = 2.0  # a threshold that no lead reaches
Known = dict[str, np.ndarray[tuple[int, ...], np.dtype[Any]]]  # what experts have said so far, by name
PER_EXPERT = ("large_logits", "part_logits", "joint_logits", "attention", "boxes_xyxy")
TINY = np.finfo(np.float32).tiny


class OnnxCascade(OnnxClassifier):
    """An exported cascade in ONNX Runtime.

    Args:
        files: The graphs by the names of their files, with what each says about itself.
        threads: How many compute at a time. None: one for each core.
    """

    def __init__(self, files: dict[str, tuple[bytes, Description]], *, threads: int | None = None) -> None:
        sessions = {name: open_session(raw, name=name, threads=threads) for name, (raw, _) in files.items()}
        super().__init__(sessions[FIRST], files[FIRST][1])
        self.experts = [sessions[f"expert_{number}.onnx"] for number in range(self.num_experts)]
        self.gate = sessions[GATE]
        self.thresholds = self.description.thresholds

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> "OnnxCascade":
        """Reads a folder that `mge export --cascade` wrote.

        Raises:
            ModelFolderError: a file is missing, damaged, changed, from a newer MGE, or of another export.
            MissingExtraError: ONNX Runtime is not installed.
        """
        folder = Path(path)
        first = read_sealed(folder / FIRST)
        names = [FIRST, *(f"expert_{number}.onnx" for number in range(1, first[1].architecture.experts)), GATE]
        files = {name: read_sealed(folder / name) for name in names}
        for name, (_, description) in files.items():
            if f"{description.graph}.onnx" != name or description.metadata != first[1].metadata:
                raise ModelFolderError(f"{folder / name} belongs to another export than {FIRST}; {EXPORT_AGAIN}")
        return cls(files, threads=threads)

    def run(self, images: Pixels, *, cascade: bool = False) -> dict[str, Array]:
        """What the mixture says, as `MixtureOutput` has it, `probabilities`, and `num_experts_run`.

        Args:
            images: Pictures, uint8 (B, 3, side, side).
            cascade: Whether a photo leaves after the first expert with which the mixture so far is sure enough.

        Raises:
            ConfigError: it has no thresholds for that.
        """
        thresholds = self._need_thresholds() if cascade else (NO_EXIT,) * (self.num_experts - 1)
        rows = np.arange(len(images))  # the photos that are still there
        known: Known = {INPUT: images}
        gate_probs: Array = np.ones((len(images), 1), dtype=np.float32)
        result: dict[str, Array] = {"gate_probs": np.zeros((len(images), self.num_experts), dtype=np.float32)}
        for number, threshold in enumerate((*thresholds, None)):
            known |= _ask(self.experts[number], known)
            _write(result, known, rows, number, num_photos=len(images), num_experts=self.num_experts)
            weights = prefix_gate(gate_probs, num_experts=number + 1)
            said = result["joint_logits"][rows, : number + 1]
            so_far = prefix_logits(said, weights, mix=self.description.architecture.mix)
            result["logits"][rows], result["gate_probs"][rows, : number + 1] = so_far, weights
            if threshold is None:
                break
            staying = np.flatnonzero(~(top2_margin(so_far) >= threshold))
            if not len(staying):
                break
            known = {name: values[staying] for name, values in known.items()}
            gate_probs = _ask(self.gate, known)["gate_probs"] if number == 0 else gate_probs[staying]
            rows = rows[staying]
        return {**result, "probabilities": softmax(result["logits"] / np.float32(self.description.temperature))}

    def _need_thresholds(self) -> tuple[float, ...]:
        if self.thresholds is None:
            raise ConfigError(
                "the model has no thresholds for a cascade; choose them, and export again: mge evaluate RUN --cascade"
            )
        return self.thresholds


def prefix_gate(gate_probs: Array, *, num_experts: int) -> Array:
    """How much each of the first experts counts among themselves, as `cascade.margin.prefix_gate` says it."""
    if num_experts == gate_probs.shape[1]:
        return gate_probs
    first = np.maximum(gate_probs[:, :num_experts], TINY)
    return np.asarray(first / first.sum(1, keepdims=True), dtype=np.float32)


def prefix_logits(joint_logits: Array, weights: Array, *, mix: Mix) -> Array:
    """The mixture of the experts that have looked, as `core.losses.mix_experts` makes it."""
    if mix == "logits":
        return np.asarray((weights[:, :, None] * joint_logits).sum(1), dtype=np.float32)
    shifted = joint_logits - joint_logits.max(2, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(2, keepdims=True))
    mixed = np.logaddexp.reduce(np.log(np.maximum(weights, TINY))[:, :, None] + log_probs, axis=1)
    return np.asarray(mixed, dtype=np.float32)


def top2_margin(logits: Array) -> Array:
    """What the likeliest class has of the probability of the two likeliest, as `cascade.margin.top2_margin` says it."""
    second, best = np.moveaxis(np.partition(logits, -2)[..., -2:], -1, 0)
    return np.asarray(1 / (1 + np.exp(second - best)), dtype=np.float32)


def softmax(logits: Array) -> Array:
    """Probabilities of the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), dtype=np.float32)


def _ask(session: "InferenceSession", known: Known) -> dict[str, Array]:
    """What a graph says, given what it asks for by name out of what is known."""
    names = [output.name for output in session.get_outputs()]
    wanted = {value.name: known[value.name.removeprefix(PREVIOUS)] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, wanted), strict=True))


def _write(
    result: dict[str, Array], known: Known, rows: np.ndarray[tuple[int, ...], np.dtype[np.intp]], number: int, *,
    num_photos: int, num_experts: int,
) -> None:  # fmt: skip
    """Puts what one expert said about some photos into their rows."""
    for name in PER_EXPERT:
        if name not in result:
            result[name] = np.full((num_photos, num_experts, *known[name].shape[1:]), np.nan, dtype=np.float32)
        result[name][rows, number] = known[name]
    if number == 0:
        result["logits"] = np.zeros_like(known["joint_logits"])
        result["num_experts_run"] = np.zeros(num_photos, dtype=np.float32)
    result["num_experts_run"][rows] = number + 1
