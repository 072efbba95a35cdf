"""Text files that say which photos there are: their lines, and their values between commas."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mge.errors import DataError


def read_lines(file: Path) -> list[str]:
    """The lines of a text file, without their ends.

    A line feed, a carriage return or both end a line. Other signs that Python's `splitlines` takes for an end may stand
    in the name of a photo or of a class.

    Raises:
        DataError: it is no text in UTF-8.
    """
    return [line.rstrip("\r\n") for line in io.StringIO(_read(file), newline=None)]


def read_values(file: Path, *, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of the line that it ends in; blank lines are none.

    Raises:
        DataError: it is no text in UTF-8, or a quote opens or closes in the middle of a value, or never closes.
    """
    reader = csv.reader(io.StringIO(_read(file), newline=""), delimiter=delimiter, strict=True)
    try:
        for values in reader:
            if values:
                yield reader.line_num, values
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num} cannot be read: {error}; is a quote missing?") from error


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not text in UTF-8: {error.reason} at byte {error.start}") from error
