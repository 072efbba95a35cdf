"""MATLAB's .mat files: cell arrays of text, arrays of numbers, arrays of structures."""

import json
import signal
import zlib
from concurrent.futures import ProcessPoolExecutor, process
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from mge.errors import DataError, first_line

# Of a file with its decompressed variables, of which real ones have some millions; of reading it, real ones take one.
MAX_BYTES, SECONDS = 256_000_000, 120
# Exceptions of scipy for files with flipped or missing bytes.
DAMAGES: tuple[type[Exception], ...] = (scipy.io.matlab.MatReadError, zlib.error, MemoryError, ValueError, TypeError)
DAMAGES += (LookupError, NameError, OSError, ArithmeticError, AttributeError, NotImplementedError)


def read_texts(file: Path, variable: str) -> list[str]:
    """Read a cell array of text; DataError if there is none of this name."""
    values = _read(file, variable)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{file} has non-text values in {variable!r}; expected a cell array of strings")
    return values


def read_numbers(file: Path, variable: str) -> list[int]:
    """Read an array of integers; DataError if there is none of this name."""
    values = _read(file, variable)
    if not all(isinstance(value, int | float) and value % 1 == 0 for value in values):
        raise DataError(f"{file} has values other than integers in {variable!r}")
    return [int(value) for value in values]


def read_structs(file: Path, variable: str, *, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read an array of structures with at least these fields; DataError if there is none of this name."""
    values = _read(file, variable)
    for number, value in enumerate(values, start=1):
        if missing := [field for field in fields if not isinstance(value, dict) or field not in value]:
            raise DataError(f"{file} lacks {missing[0]!r} in {variable}({number}); expected: {', '.join(fields)}")
    return values


def _read(file: Path, variable: str) -> list[Any]:
    found = _read_apart(file, variable)
    if "value" not in found:
        reason = f"cannot be read as a .mat file: {found['error']}" if found else f"has no variable {variable!r}"
        raise DataError(f"{file} {reason}; download it again")
    return list(found["value"])


def _read_apart(file: Path, variable: str) -> dict[str, Any]:
    """Run `read_variable` in a child process.

    scipy's reader crashes its process on some damaged files (1.17: SIGSEGV if four bytes are missing before a size).
    """
    try:
        with ProcessPoolExecutor(1, get_context("fork"), initializer=signal.alarm, initargs=(SECONDS,)) as child:
            return child.submit(read_variable, file, variable).result()
    except process.BrokenProcessPool:
        return {"error": f"scipy's reader crashed on it, or did not finish within {SECONDS} seconds"}


def read_variable(file: Path, variable: str) -> dict[str, Any]:
    """Return the variable under `value`; nothing if there is none of this name, and `error` if the file is damaged."""
    try:
        if _expanded_bytes(file) > MAX_BYTES:
            return {"error": f"it expands to more than {MAX_BYTES:,} bytes"}
        variables = scipy.io.loadmat(file, simplify_cells=True, variable_names=[variable])
        return {"value": as_plain(np.ravel(variables[variable]))} if variable in variables else {}
    except DAMAGES as error:
        return {"error": first_line(error)}


def as_plain(value: object) -> Any:  # noqa: ANN401  (whatever a file holds)
    """Convert a value to JSON types; None if that is impossible, as for MATLAB's own objects."""
    return json.loads(json.dumps(value, default=lambda part: part.tolist() if hasattr(part, "tolist") else None))


def _expanded_bytes(file: Path) -> int:
    """Return the size of a file with its decompressed variables, counted until a little above `MAX_BYTES`."""
    content = np.memmap(file, mode="r")
    place, total = 128, content.size  # after the header, whose last bytes say the order of bytes
    while place + 8 <= content.size and total <= MAX_BYTES:
        kind, size = content[place : place + 8].view(">u4" if bytes(content[126:128]) == b"MI" else "<u4").tolist()
        if kind == 15:  # compressed
            total += len(zlib.decompressobj().decompress(content[place + 8 : place + 8 + size].data, MAX_BYTES + 1))
        place += 8 + size
    return total
