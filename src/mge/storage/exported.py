"""What an exported graph says about itself: its classes, how it wants its photos, its checksum. Imports no torch.

An .onnx file holds this as a JSON text among its metadata, so that the file alone is enough; `preprocessing.json`
beside it holds the same for other programs. ONNX Runtime loads a file with a flipped bit without a word: hence the
checksum.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, Self

from mge.config import DataConfig, ModelConfig
from mge.errors import ModelFolderError
from mge.storage.checksum import NO_CHECKSUM, unseal
from mge.storage.chosen import read_least_probability, read_preprocessing, read_temperature, read_thresholds

Format = Literal["onnx", "torch-export", "openvino"]

FORMAT_VERSION = 1
DESCRIPTION = "preprocessing.json"
KEY = "mge"  # of the text among the metadata of an .onnx file
INPUT = "images"
EXPORT_AGAIN = "export it again: mge export RUN, or copy it again from where it came"


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known about an exported graph.

    Args:
        graph: What it computes: the whole `mixture`, or a part of a cascade.
        architecture: Of the mixture.
        class_names: Names of the classes, in the order of the logits.
        side: Side in pixels of the pictures that it takes.
        outputs: What it gives, in words, by the names of its outputs.
        metadata: What model.json says beside these: preprocessing, calibration, cascade, provenance.
    """

    graph: str
    architecture: ModelConfig
    class_names: tuple[str, ...]
    side: int
    outputs: dict[str, str]
    metadata: dict[str, Any]

    @property
    def data(self) -> DataConfig:
        """How photos are resized and cropped."""
        return read_preprocessing(self.metadata)

    @property
    def temperature(self) -> float:
        """What the logits are divided by before they become probabilities; the graph does it itself."""
        return read_temperature(self.metadata)

    @property
    def least_probability(self) -> float | None:
        """Below it a photo is called unknown; None: no photo is. The graph does not know it."""
        return read_least_probability(self.metadata)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """How far each expert but the last must lead for the later ones not to look; None: there is no cascade."""
        return read_thresholds(self.metadata)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {
            "format_version": FORMAT_VERSION,
            "graph": self.graph,
            "input": {
                "name": INPUT, "dtype": "uint8", "layout": "(B, 3, side, side), RGB", "side": self.side,
                "resized_side": max(self.side, round(self.side / self.data.crop_fraction)), "resize": self.data.resize,
                "interpolation": "bicubic" if self.data.interpolation == "bicubic" else "bilinear",
            },
            "outputs": self.outputs,
            "architecture": self.architecture.to_dict(),
            "class_names": list(self.class_names),
            **self.metadata,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError: something is missing, or is no such thing.
        """
        rest = dict(values)
        rest.pop("format_version", None)
        description = cls(
            graph=str(rest.pop("graph")),
            architecture=ModelConfig.from_dict(rest.pop("architecture")),
            class_names=tuple(rest.pop("class_names")),
            side=int(rest.pop("input")["side"]),
            outputs=dict(rest.pop("outputs")),
            metadata=rest,  # whatever is left
        )
        # What is read only when it is needed raises here where it is no such thing.
        _ = description.data, description.temperature, description.least_probability, description.thresholds
        return description


def as_metadata(description: Description) -> str:
    """The text that goes into an .onnx file, before `checksum.seal`."""
    return json.dumps({"checksum": NO_CHECKSUM, **description.to_dict()}, ensure_ascii=False)


def read_sealed(file: Path) -> tuple[bytes, Description]:
    """The content of an .onnx file that `mge export` wrote, and what it says about itself.

    Raises:
        ModelFolderError: it is missing, damaged, changed, from a newer MGE, or none of ours.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelFolderError(
            f"{file} cannot be read: {error.strerror or error}; give a file of mge export"
        ) from error
    text = _find_metadata(raw)
    if text is None:
        raise ModelFolderError(f"{file} is no ONNX file that mge export wrote, or a damaged one; {EXPORT_AGAIN}")
    try:
        values = unseal(raw, text=text, file=file, newest=FORMAT_VERSION, remedy=EXPORT_AGAIN)
        return raw, Description.from_dict(values)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, ModelFolderError):
            raise
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise ModelFolderError(f"{file} is damaged: {reason}; {EXPORT_AGAIN}") from error


def _find_metadata(raw: bytes) -> bytes | None:
    """Our text in a serialised ModelProto, where an entry is its key and then its value, each after its length."""
    start = raw.rfind(b"\x0a" + bytes([len(KEY)]) + KEY.encode() + b"\x12")
    if start < 0:
        return None
    place = start + 2 + len(KEY) + 1
    length = shift = 0
    for byte in raw[place : place + 5]:
        place += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return raw[place : place + length]
