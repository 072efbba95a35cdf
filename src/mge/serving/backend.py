"""The server's interface to the mixture: an ONNX file or a PyTorch network."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from mge.inference.prediction import Answer, Photo

P = TypeVar("P")


class Backend(Protocol[P]):
    """A mixture ready for inference. `prepare` is called from several threads concurrently, `answer` from one."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes."""

    @property
    def side(self) -> int:
        """Side in pixels of prepared photos."""

    def prepare(self, photo: Photo) -> P:
        """Preprocess a photo for the mixture; DataError if it cannot be read."""

    def answer(self, prepared: list[P]) -> Sequence[Answer]:
        """Predict one answer per photo, in their order."""
