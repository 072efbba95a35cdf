"""MATLAB's .mat files: cell arrays of text, arrays of numbers, arrays of structures."""

import json
import multiprocessing
import struct
import zlib
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError

from mge.errors import DataError, first_line

MAX_BYTES = 256_000_000  # of a file, and of its decompressed variables; real ones have some millions
HEADER_BYTES = 128
COMPRESSED = 15  # type of an element of a file of version 5
SECONDS = 120  # time limit for reading a file; real ones take one second
# Exceptions of scipy for files with flipped or missing bytes.
DAMAGES = (
    MatReadError, zlib.error, ValueError, TypeError, LookupError, NameError, OSError, ArithmeticError, AttributeError,
    NotImplementedError, MemoryError, struct.error,
)  # fmt: skip


def read_texts(file: Path, variable: str) -> list[str]:
    """Read a cell array of text.

    Raises:
        DataError: there is none of this name.
    """
    values = _read(file, variable)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{file} has non-text values in {variable!r}; expected a cell array of strings")
    return values


def read_numbers(file: Path, variable: str) -> list[int]:
    """Read an array of integers.

    Raises:
        DataError: there is none of this name.
    """
    values = _read(file, variable)
    try:
        numbers = [int(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        numbers = []
    if numbers != values:
        raise DataError(f"{file} has values other than integers in {variable!r}")
    return numbers


def read_structs(file: Path, variable: str, *, fields: Sequence[str]) -> list[Mapping[str, Any]]:
    """Read an array of structures that have at least these fields.

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
        raise DataError(f"{file} is empty, or expands to more than {MAX_BYTES:,} bytes; expected an annotation file")
    found = _read_apart(file, variable)
    if "error" in found:
        raise DataError(f"{file} cannot be read as a .mat file: {found['error']}; download it again")
    if "value" not in found:
        raise DataError(f"{file} has no variable {variable!r}; download it again")
    value = found["value"]
    return value if isinstance(value, list) else [value]  # a list with one item is returned as that item


def _read_apart(file: Path, variable: str) -> dict[str, Any]:
    """Run `read_variable` in a child process.

    scipy's reader crashes its process on some damaged files (1.17: SIGSEGV if four bytes are missing before a size).
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    reader = context.Process(target=_send_variable, args=(sender, file, variable), daemon=True)
    reader.start()
    sender.close()
    try:
        if not receiver.poll(SECONDS):
            return {"error": f"reading it did not finish within {SECONDS} seconds"}
        answer: dict[str, Any] = json.loads(receiver.recv_bytes())
    except EOFError:
        return {"error": "scipy's reader crashed on it"}
    finally:
        reader.kill()
        reader.join()
        receiver.close()
    return answer


def _send_variable(sender: Connection, file: Path, variable: str) -> None:
    sender.send_bytes(json.dumps(read_variable(file, variable)).encode())


def read_variable(file: Path, variable: str) -> dict[str, Any]:
    """Return the variable under `value`; nothing if there is none of this name, and `error` if the file is damaged."""
    try:
        variables = scipy.io.loadmat(file, simplify_cells=True, variable_names=[variable])
    except DAMAGES as error:
        return {"error": first_line(error)}
    if variable not in variables:
        return {}
    value = variables[variable]
    return {"value": as_plain(value.ravel() if isinstance(value, np.ndarray) else value)}


def as_plain(value: Any) -> Any:  # noqa: ANN401  (whatever a file holds)
    """Convert a value to JSON types; None if that is impossible, as for MATLAB's own objects."""
    if isinstance(value, np.ndarray | np.generic):
        return as_plain(value.tolist())
    if isinstance(value, dict):
        return {str(name): as_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(part) for part in value]
    return value if isinstance(value, str | int | float) else None


def _inflated_bytes(content: bytes) -> int:
    """Return the size of a file's decompressed variables, counted until a little above `MAX_BYTES`."""
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
        pass  # a damaged file: reading it reports the error
    return total
