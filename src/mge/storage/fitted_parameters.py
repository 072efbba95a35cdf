"""Preprocessing and fitted inference parameters of a model, read from model.json. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from mge.config import DataConfig
from mge.errors import ModelFolderError


def read_preprocessing(metadata: Mapping[str, Any]) -> DataConfig:
    """Read the options for resizing and cropping photos.

    Raises:
        ModelFolderError: they are not an object.
        ConfigError: an option is unknown, or has an invalid value.
    """
    return DataConfig.from_dict(_read_part(metadata, "preprocessing"))


def read_temperature(metadata: Mapping[str, Any]) -> float:
    """Read the softmax temperature; 1 if none was fitted.

    Raises:
        ModelFolderError: it is not a number.
    """
    temperature = _read_number(metadata, "calibration", "temperature")
    return 1.0 if temperature is None else temperature


def read_least_probability(metadata: Mapping[str, Any]) -> float | None:
    """Read the probability below which a photo is unknown; None: there is no rejection.

    Raises:
        ModelFolderError: it is not a number.
    """
    return _read_number(metadata, "rejection", "threshold")


def read_thresholds(metadata: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Read the top-2 margin at which each expert but the last exits early; None: there is no early exit.

    Raises:
        ModelFolderError: they are not a list of numbers.
    """
    values = _read(metadata, "cascade", "leads")
    if values is None:
        return None
    if not (isinstance(values, list) and all(isinstance(value, float | int) for value in values)):
        raise ModelFolderError(f"leads of cascade in model.json are {_short(values)}; expected a list of numbers")
    return tuple(values)


def _read_number(metadata: Mapping[str, Any], name: str, key: str) -> float | None:
    value = _read(metadata, name, key)
    if not isinstance(value, float | int | None):
        raise ModelFolderError(f"{key} of {name} in model.json is {_short(value)}; expected a number")
    return None if value is None else float(value)


def _read(metadata: Mapping[str, Any], name: str, key: str) -> Any:  # noqa: ANN401  (whatever was written)
    """Return a value of one part of the metadata; None if there is no such part."""
    return _read_part(metadata, name).get(key)


def _read_part(metadata: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = metadata.get(name, {})
    if not isinstance(part, dict):
        raise ModelFolderError(f"{name} in model.json is {_short(part)}; expected an object")
    return part


def _short(value: object) -> str:
    return repr(str(value)[:50])
