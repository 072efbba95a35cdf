"""Description inside an exported graph: its classes, preprocessing, checksum. Imports no torch.

An .onnx file contains this as JSON text in its metadata, so that the file alone is sufficient; `preprocessing.json`
beside it has the same content for other programs. ONNX Runtime silently loads a file with a flipped bit: hence the
checksum.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal, Self

from mge.config import DataConfig, ModelConfig
from mge.config.previous_names import rename_options
from mge.errors import ModelFolderError
from mge.storage.checksum import NO_CHECKSUM, unseal
from mge.storage.fitted_parameters import read_least_probability, read_preprocessing, read_temperature, read_thresholds

Format = Literal["onnx", "torch-export", "openvino"]  # of a graph; `mge export` also writes networks for timm

FORMAT_VERSION = 2  # of 1, some options of the architecture have other names
DESCRIPTION = "preprocessing.json"
KEY = "mge"  # of the text in the metadata of an .onnx file
INPUT = "images"
EXPORT_AGAIN = "export it again (mge export RUN) or copy it again from the source"


@dataclasses.dataclass(frozen=True)
class Description:
    """Description of an exported graph.

    Args:
        graph: Its content: the whole `mixture`, or a part of a cascade.
        architecture: Architecture of the mixture.
        class_names: Names of the classes, in the order of the logits.
        side: Side in pixels of its input images.
        outputs: Descriptions of its outputs, by name.
        metadata: The other content of model.json: preprocessing, calibration, cascade, provenance.
    """

    graph: str
    architecture: ModelConfig
    class_names: tuple[str, ...]
    side: int
    outputs: dict[str, str]
    metadata: dict[str, Any]

    @property
    def data(self) -> DataConfig:
        """Options for resizing and cropping photos."""
        return read_preprocessing(self.metadata)

    @property
    def temperature(self) -> float:
        """Softmax temperature, which the graph applies itself."""
        return read_temperature(self.metadata)

    @property
    def least_probability(self) -> float | None:
        """Probability below which a photo is unknown; None: there is no rejection. The graph does not apply it."""
        return read_least_probability(self.metadata)

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """Top-2 margin at which each expert but the last exits early; None: there is no early exit."""
        return read_thresholds(self.metadata)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON-able values."""
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
        """Parse the result of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: an entry is missing or invalid.
        """
        rest = dict(values)
        rest.pop("format_version", None)
        description = cls(
            graph=str(rest.pop("graph")),
            architecture=ModelConfig.from_dict(rename_options(rest.pop("architecture"))),
            class_names=tuple(rest.pop("class_names")),
            side=int(rest.pop("input")["side"]),
            outputs=dict(rest.pop("outputs")),
            metadata=rest,  # whatever is left
        )
        # Properties that are read on demand raise here if they are invalid.
        _ = description.data, description.temperature, description.least_probability, description.thresholds
        return description


def as_metadata(description: Description) -> str:
    """Return the text for the metadata of an .onnx file, before `checksum.seal`."""
    return json.dumps({"checksum": NO_CHECKSUM, **description.to_dict()}, ensure_ascii=False)


def read_sealed(file: Path) -> tuple[bytes, Description]:
    """Read an .onnx file written by `mge export`, and its description.

    Raises:
        ModelFolderError: it is missing, damaged, modified, from a newer version, or from another program.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ModelFolderError(
            f"{file} cannot be read: {error.strerror or error}; give a file of mge export"
        ) from error
    text = _find_metadata(raw)
    if text is None:
        raise ModelFolderError(f"{file} is not an ONNX file of mge export, or is damaged; {EXPORT_AGAIN}")
    try:
        values = unseal(raw, text=text, file=file, newest=FORMAT_VERSION, remedy=EXPORT_AGAIN)
        return raw, Description.from_dict(values)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, ModelFolderError):
            raise
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise ModelFolderError(f"{file} is damaged: {reason}; {EXPORT_AGAIN}") from error


def _find_metadata(raw: bytes) -> bytes | None:
    """Find our text in a serialised ModelProto, whose entries are key and value, each after its length."""
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
