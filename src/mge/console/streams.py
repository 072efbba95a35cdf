"""Standard output and error of the command line, which may be closed, full, or limited in encoding."""

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

BROKEN_PIPE = 141  # the shells' exit code for a closed pipe
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # errors of a full disk


def prepare_streams() -> None:
    """Make standard output and error accept any text.

    A character that the terminal's encoding lacks, as in the name of a class, is escaped instead of raising an error
    after all the work. Output to a closed stream is discarded.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115  (till the end)
        elif isinstance(stream, io.TextIOWrapper) and (
            stream.errors == "strict" or "utf" not in stream.encoding.lower()
        ):
            stream.reconfigure(errors="backslashreplace")


def end(stream: TextIO) -> None:
    """Flush a stream, ignoring errors, since another error is reported already."""
    try:
        stream.flush()
    except OSError:
        silence(stream)


def tell(line: str) -> None:
    """Write a last line to standard error, ignoring errors."""
    with contextlib.suppress(OSError):  # the exit code reports it, too
        sys.stderr.write(line)
    end(sys.stderr)


def full_stream(error: OSError) -> str | None:
    """Return a message about the full stream that an error is from, which is silenced from now on; None: from neither.

    Args:
        error: The error.
    """
    if error.errno not in FULL or error.filename is not None:
        return None
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            stream.write("\n")  # raises the same error again, if it is this one
            stream.flush()
        except OSError as again:
            silence(stream)
            return f"{name} was not written completely: {again.strerror}; free some space, or redirect it elsewhere"
    return None


def silence(stream: TextIO) -> None:
    """Redirect a stream to the null device, so that its buffered output is no error when the process ends."""
    with contextlib.suppress(OSError, ValueError):  # it may have no file descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
