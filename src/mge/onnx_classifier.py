"""An exported mixture that answers questions about photos, as `Classifier` does. Imports no torch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mge.data.photo import open_photo
from mge.data.views import CropGeometry, Pixels, middle_view
from mge.errors import ConfigError, DataError, MissingExtraError, ModelFolderError
from mge.prediction import Answer, AnyClassifier, Array, Photo, Prediction, in_batches, name_of
from mge.storage.exported import EXPORT_AGAIN, INPUT, Description, read_sealed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class Prepared(NamedTuple):
    """A photo as the graph wants it."""

    image: Pixels  # uint8 (3, side, side)
    geometry: CropGeometry  # how to get from there to the photo's own pixels


class OnnxClassifier(AnyClassifier):
    """An exported mixture in ONNX Runtime.

    Args:
        session: The graph.
        description: What its file says about it.
    """

    def __init__(self, session: "InferenceSession", description: Description) -> None:
        super().__init__(class_names=description.class_names, least_probability=description.least_probability)
        self.session, self.description = session, description
        self.side, self.data, self.num_experts = description.side, description.data, description.architecture.experts

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> "OnnxClassifier":
        """Reads a file that `mge export` wrote.

        Args:
            path: The .onnx file.
            threads: How many compute at a time. None: one for each core.

        Raises:
            ModelFolderError: it is missing, damaged, changed, from a newer MGE, or no exported mixture.
            MissingExtraError: ONNX Runtime is not installed.
        """
        raw, description = read_sealed(Path(path))
        if description.graph != "mixture":
            raise ModelFolderError(
                f"{path} holds one part of a cascade; accepted: a file of mge export without --cascade"
            )
        return cls(open_session(raw, name=str(path), threads=threads), description)

    def prepare(self, photo: Photo) -> Prepared:
        """A photo as the graph wants it: the same pixels that the network is given.

        Raises:
            DataError: it cannot be read.
        """
        return Prepared(*middle_view(open_photo(photo), side=self.side, config=self.data))

    def run(self, images: Pixels, *, cascade: bool = False) -> dict[str, Array]:
        """The graph's outputs by name, which are the fields of `MixtureOutput`, and `probabilities`.

        Raises:
            ConfigError: a cascade is asked for.
        """
        if cascade:
            raise ConfigError(
                "the ONNX file is the whole mixture; for a cascade export it anew: mge export RUN --cascade"
            )
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {INPUT: images}), strict=True))

    def answer(self, prepared: Sequence[Prepared], *, names: Sequence[str] | None = None) -> list[Answer]:
        """What the mixture says about prepared photos, in one batch.

        Args:
            prepared: One or more photos, from `prepare`.
            names: What the predictions call them. None: nothing, as for pictures in memory.
        """
        return self._answer(prepared, names=names or [""] * len(prepared), cascade=False)

    def _answer(self, prepared: Sequence[Prepared], *, names: Sequence[str], cascade: bool) -> list[Answer]:
        outputs = self.run(np.stack([item.image for item in prepared]), cascade=cascade)
        return [
            Answer(self._describe(outputs, row, geometry=item.geometry, name=name), outputs["attention"][row])
            for row, (item, name) in enumerate(zip(prepared, names, strict=True))
        ]

    def stream(
        self, photos: Iterable[Photo], *, batch_size: int = 16, cascade: bool = False
    ) -> Iterator[Prediction | DataError]:
        """Classifies photos one batch after the other.

        Yields:
            For each photo, in order, its prediction, or the reason why it cannot be read.
        """

        def answer(photos: Sequence[tuple[Photo, Prepared]], num_waiting: int) -> list[Prediction]:
            names = [name_of(photo) for photo, _ in photos]
            found = self._answer([item for _, item in photos], names=names, cascade=cascade)
            return [each.prediction for each in found]

        yield from in_batches(photos, batch_size=batch_size, prepare=self.prepare, answer=answer)

    def _describe(self, outputs: Mapping[str, Array], row: int, *, geometry: CropGeometry, name: str) -> Prediction:
        count = int(outputs["num_experts_run"][row]) if "num_experts_run" in outputs else self.num_experts
        return self._prediction(
            name,
            outputs["probabilities"][row],
            expert_labels=outputs["joint_logits"][row, :count].argmax(1),
            gate_probs=outputs["gate_probs"][row, :count],
            boxes_xyxy=geometry.to_photo(outputs["boxes_xyxy"][row, :count]),
        )


def open_session(raw: bytes, *, name: str, threads: int | None = None) -> "InferenceSession":
    """A graph in ONNX Runtime, on the CPU.

    Args:
        raw: Content of the .onnx file.
        name: What an error calls it.
        threads: How many compute at a time. None: one for each core.

    Raises:
        ModelFolderError: it is no graph that ONNX Runtime can run.
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime  # noqa: PLC0415  (an extra)
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "an .onnx file is run by onnxruntime, which is not installed; get it with: pip install 'mge[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # its warnings are about its own optimisations
    try:
        return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented,
            errors.RuntimeException) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0]
        raise ModelFolderError(f"{name} cannot be run by this ONNX Runtime: {reason}; {EXPORT_AGAIN}") from error
