"""What validation photos chose for a model, read out of what model.json says beside the architecture. No torch."""

from collections.abc import Mapping
from typing import Any

from mge.errors import ModelFolderError


def read_temperature(metadata: Mapping[str, Any]) -> float:
    """What logits are divided by for probabilities to mean what they say; 1 where nothing was chosen.

    Raises:
        ModelFolderError: it is no number.
    """
    temperature = _read_number(metadata, "calibration", "temperature")
    return 1.0 if temperature is None else temperature


def read_least_probability(metadata: Mapping[str, Any]) -> float | None:
    """Below it a photo is called unknown; None: no photo is.

    Raises:
        ModelFolderError: it is no number.
    """
    return _read_number(metadata, "rejection", "threshold")


def read_thresholds(metadata: Mapping[str, Any]) -> tuple[float, ...] | None:
    """How sure each expert but the last must be for the later ones not to look; None: there is no cascade.

    Raises:
        ModelFolderError: they are no list of numbers.
    """
    values = _read(metadata, "cascade", "thresholds")
    if values is None:
        return None
    if not (isinstance(values, list) and all(isinstance(value, float | int) for value in values)):
        raise ModelFolderError(f"thresholds of cascade in model.json are {_short(values)}; expected a list of numbers")
    return tuple(values)


def _read_number(metadata: Mapping[str, Any], name: str, key: str) -> float | None:
    value = _read(metadata, name, key)
    if not isinstance(value, float | int | None):
        raise ModelFolderError(f"{key} of {name} in model.json is {_short(value)}; expected a number")
    return value


def _read(metadata: Mapping[str, Any], name: str, key: str) -> Any:  # noqa: ANN401  (whatever was written)
    """What one part of the metadata says; None where there is no such part."""
    part = metadata.get(name, {})
    if not isinstance(part, dict):
        raise ModelFolderError(f"{name} in model.json is {_short(part)}; expected an object")
    return part.get(key)


def _short(value: object) -> str:
    return repr(str(value)[:50])
