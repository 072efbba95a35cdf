"""Standard output and error of the command line: they may be closed, full, or know few letters."""

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

BROKEN_PIPE = 141  # the exit code where the reader of standard output has seen enough, as shells have it
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what a disk says that takes no more


def prepare_streams() -> None:
    """Make standard output and error take any text.

    A letter that the terminal's encoding does not have, as in the name of a class, becomes an escape with its number,
    and is no error after all the work. Where a stream is closed, what would go there goes nowhere.
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
    """Write what a stream still holds, if it takes that: something else is said already."""
    try:
        stream.flush()
    except OSError:
        silence(stream)


def tell(line: str) -> None:
    """Write a last line to standard error, if that takes one."""
    with contextlib.suppress(OSError):  # the exit code says it, too
        sys.stderr.write(line)
    end(sys.stderr)


def full_stream(error: OSError) -> str | None:
    """Return one line about the stream that an error is from, which takes nothing more from now on; None: from neither.

    Args:
        error: What was raised while something was done.
    """
    if error.errno not in FULL or error.filename is not None:
        return None
    for name, stream in (("standard output", sys.stdout), ("standard error", sys.stderr)):
        try:
            stream.write("\n")  # it says the same again, if it is this one
            stream.flush()
        except OSError as again:
            silence(stream)
            return f"{name} was not written completely: {again.strerror}; free some space, or redirect it elsewhere"
    return None


def silence(stream: TextIO) -> None:
    """Let a stream go nowhere, so that what it still holds is no error when the process ends."""
    with contextlib.suppress(OSError, ValueError):  # it may have no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
