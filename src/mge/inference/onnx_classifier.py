"""Inference with an exported mixture, with the interface of `Classifier`. Imports no torch."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mge.config import ModelConfig
from mge.data.photo import open_photo
from mge.data.preprocess import Pixels, middle_view
from mge.errors import ConfigError, MissingExtraError, ModelFolderError, first_line
from mge.inference.prediction import AnyClassifier, Array, Photo, Prepared
from mge.storage.export_description import EXPORT_AGAIN, INPUT, Description, read_sealed

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxClassifier(AnyClassifier[Pixels]):
    """An exported mixture in ONNX Runtime.

    Args:
        session: The graph.
        description: Its description.
    """

    def __init__(self, session: "InferenceSession", description: Description) -> None:
        super().__init__(class_names=description.class_names, least_probability=description.least_probability)
        self.session, self.description = session, description
        self.side, self.data, self.num_experts = description.side, description.data, description.architecture.experts

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> "OnnxClassifier":
        """Read a file written by `mge export`.

        Args:
            path: The .onnx file.
            threads: Number of threads. None: one per core.

        Raises:
            ModelFolderError: it is missing, damaged, modified, from a newer version, or not an exported mixture.
            MissingExtraError: ONNX Runtime is not installed.
        """
        raw, description = read_sealed(Path(path))
        if description.graph != "mixture":
            raise ModelFolderError(
                f"{path} is one part of an early-exit export; accepted: its folder, or a file of mge export without "
                "--cascade"
            )
        return cls(open_session(raw, name=str(path), threads=threads), description)

    def prepare(self, photo: Photo) -> Prepared[Pixels]:
        """Preprocess a photo for the graph: the same pixels as for the network.

        Raises:
            DataError: it cannot be read.
        """
        return Prepared(*middle_view(open_photo(photo), side=self.side, config=self.data))

    def run(self, images: Pixels, *, cascade: bool = False) -> dict[str, Array]:
        """Return the graph's outputs by name, which are the fields of `MixtureOutput`, and `probabilities`.

        Raises:
            ConfigError: early exit is requested.
        """
        if cascade:
            self._need_thresholds()
        names = [output.name for output in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {INPUT: images}), strict=True))

    def _architecture(self) -> tuple[ModelConfig, tuple[str, ...], Mapping[str, Any]]:
        return self.description.architecture, self.class_names, self.description.metadata

    def _need_thresholds(self) -> tuple[float, ...]:
        raise ConfigError(
            "the ONNX file contains the whole mixture; for early exit export it again with: mge export RUN --cascade"
        )

    def _ask(self, images: list[Pixels], *, cascade: bool) -> dict[str, Array]:
        return self.run(np.stack(images), cascade=cascade)


def open_session(raw: bytes, *, name: str, threads: int | None = None) -> "InferenceSession":
    """Open a graph in ONNX Runtime, on the CPU.

    Args:
        raw: Content of the .onnx file.
        name: Name of the file in errors.
        threads: Number of threads. None: one per core.

    Raises:
        ModelFolderError: it is not a graph that ONNX Runtime can run.
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime  # noqa: PLC0415  (an extra)
        from onnxruntime.capi import onnxruntime_pybind11_state as errors  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "an .onnx file needs onnxruntime, which is not installed; install it with: pip install 'mge[export]'"
        ) from error

    class GraphSession(onnxruntime.InferenceSession):  # type: ignore[misc]  # it has no types
        """A graph that can be copied, and sent to another process, by the content of its file."""

        def __reduce__(self) -> "tuple[partial[InferenceSession], tuple[bytes]]":
            return partial(open_session, name=name, threads=threads), (raw,)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # its warnings concern its own optimisations
    try:
        return GraphSession(raw, options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NotImplemented,
            errors.RuntimeException) as error:  # fmt: skip
        reason = first_line(error)
        raise ModelFolderError(f"{name} cannot be run by this ONNX Runtime: {reason}; {EXPORT_AGAIN}") from error
