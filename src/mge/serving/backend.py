"""What the server asks of whatever runs the mixture: an ONNX file or a network of PyTorch."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from mge.inference.prediction import Answer, Photo

P = TypeVar("P")


class Backend(Protocol[P]):
    """A mixture that is ready to answer. `prepare` is called from several threads at a time, `answer` from one."""

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes."""

    @property
    def side(self) -> int:
        """Side in pixels of what a photo is prepared to."""

    def prepare(self, photo: Photo) -> P:
        """A photo as the mixture wants it; DataError for one that cannot be read."""

    def answer(self, prepared: list[P]) -> Sequence[Answer]:
        """One answer a photo, in their order."""
