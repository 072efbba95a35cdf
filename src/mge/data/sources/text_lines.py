"""Text files that list photos: their lines, and the values of their rows.

Parsed by the standard library's csv; pandas was tried on the same lists and guessed the delimiter of half of them
wrong.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from mge.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MARK = re.compile(r'"?sep=(.)"?[ \t]*\r?$', re.IGNORECASE)  # Excel's own first line
UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file, without their ends.

    A line feed, a carriage return or both end a line. Other characters that Python's `splitlines` splits at may occur
    in the name of a photo or of a class.

    Raises:
        DataError: it is not text in UTF-8 or UTF-16.
    """
    return [line.rstrip("\r\n") for line in io.StringIO(_read(file), newline=None)]


def read_values(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file, each with the number of its last line; rows without any value are skipped.

    The values are separated by commas, semicolons, tabs or bars: by that which splits the first line most, or which a
    first line `sep=;` names.

    Raises:
        DataError: it is not text, a quote opens or closes in the middle of a value, or never closes, or a row has more
            values than the first.
    """
    text = _read(file)
    first = next((line.rstrip("\r\n") for line in io.StringIO(text, newline=None) if line.strip()), "")
    mark = MARK.fullmatch(first)
    delimiter = mark[1] if mark else max(DELIMITERS, key=lambda each: _count_values(first, each))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    width = 0
    try:
        for values in reader:
            if not any(value.strip() for value in values) or (
                mark and not width and MARK.fullmatch(delimiter.join(values))
            ):
                continue
            width = width or len(values)
            if any(value.strip() for value in values[width:]):
                raise DataError(
                    f"{file}, line {reader.line_num} has {len(values)} values for {width} columns; quote values that "
                    f"contain a {DELIMITERS.get(delimiter, delimiter)}"
                )
            yield reader.line_num, values
    except csv.Error as error:
        raise DataError(f"{file}, line {reader.line_num} cannot be read: {error}; is a quote missing?") from error


def _count_values(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), []))
    except csv.Error:  # such as a value of more than 131,072 characters, which the reader of all lines reports
        return 0


def _read(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-16" if content.startswith(UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not text in UTF-8: {error.reason} at byte {error.start}; save it as UTF-8, which Excel calls "
            "'CSV UTF-8'"
        ) from error
