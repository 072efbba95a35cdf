"""MATLAB's .mat files: cell arrays of text, arrays of numbers, arrays of structures."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import scipy.io
from scipy.io.matlab import MatReadError

from mge.errors import DataError

MAX_BYTES = 256_000_000  # of a file, and of what its compressed variables unfold into; real ones have some millions
HEADER_BYTES = 128
COMPRESSED = 15  # type of an element of a file of version 5
# What scipy raises for files with flipped or missing bytes.
DAMAGES = (
    MatReadError, zlib.error, ValueError, TypeError, LookupError, NameError, OSError, ArithmeticError, AttributeError,
    NotImplementedError, MemoryError, struct.error,
)  # fmt: skip


def read_texts(file: Path, variable: str) -> list[str]:
    """A cell array of text.

    Raises:
        DataError: there is none of this name.
    """
    values = _read(file, variable)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{file} has something else than text in {variable!r}; expected a cell array of text")
    return values


def read_numbers(file: Path, variable: str) -> list[int]:
    """An array of whole numbers.

    Raises:
        DataError: there is none of this name.
    """
    values = _read(file, variable)
    try:
        numbers = [int(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if numbers != values:
        raise DataError(f"{file} has something else than whole numbers in {variable!r}")
    return numbers


def read_structs(file: Path, variable: str, *, fields: Sequence[str]) -> list[Mapping[str, Any]]:
    """An array of structures that have at least these fields.

    Raises:
        DataError: there is none of this name, or a field is missing.
    """
    values = _read(file, variable)
    for number, value in enumerate(values, start=1):
        missing = [field for field in fields if not isinstance(value, dict) or field not in value]
        if missing:
            raise DataError(f"{file} lacks {missing[0]!r} in {variable}({number}); expected: {', '.join(fields)}")
    return values


def _read(file: Path, variable: str) -> list[Any]:
    content = file.read_bytes() if file.stat().st_size <= MAX_BYTES else b""
    if not content or _inflated_bytes(content) > MAX_BYTES:
        raise DataError(f"{file} is empty, or unfolds into more than {MAX_BYTES:,} bytes; expected an annotation file")
    try:
        variables = scipy.io.loadmat(file, simplify_cells=True, variable_names=[variable])
    except DAMAGES as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{file} cannot be read as a .mat file: {reason}; download it again") from error
    if variable not in variables:
        raise DataError(f"{file} has no variable {variable!r}; download it again")
    value = variables[variable]
    if isinstance(value, list):
        return value
    # An array of one comes as what is in it.
    return list(value.ravel()) if hasattr(value, "ravel") else [value]


def _inflated_bytes(content: bytes) -> int:
    """How large the compressed variables of a file are, counted no further than a little above `MAX_BYTES`."""
    order = ">" if content[HEADER_BYTES - 2 : HEADER_BYTES] == b"MI" else "<"
    place, total = HEADER_BYTES, 0
    while place + 8 <= len(content) and total <= MAX_BYTES:
        kind, size = struct.unpack_from(f"{order}II", content, place)
        place += 8
        if kind == COMPRESSED:
            total += _inflated(content[place : place + size])
        place += size
    return total


def _inflated(packed: bytes) -> int:
    inflater, total = zlib.decompressobj(), 0
    try:
        while packed and total <= MAX_BYTES:
            total += len(inflater.decompress(packed, 1_000_000))
            packed = inflater.unconsumed_tail
    except zlib.error:
        pass  # a damaged file: reading it says so
    return total
