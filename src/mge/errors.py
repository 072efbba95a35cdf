"""Errors whose cause the user can fix.

Each message is one line: what is wrong, the value received, what is accepted, what to do next. The command line prints
it and exits with 2. Any other exception is a bug and keeps its traceback.
"""

from functools import partial
from typing import Self


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name if there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class MgeError(Exception):
    """Base class of every error that a user can fix."""

    exit_code = 2


class ConfigError(MgeError, ValueError):
    """Invalid value of an option, or contradictory options."""


class DataError(MgeError, ValueError):
    """Photos, labels or splits that are unsuitable for training or evaluation."""


class ModelFolderError(MgeError, ValueError):
    """A missing, damaged or newer model or run folder."""


class ExportError(MgeError, ArithmeticError):
    """An exported graph that differs from its model; nothing was written."""

    exit_code = 3


class MissingExtraError(MgeError, ImportError):
    """A missing optional dependency."""


class DivergedError(MgeError, ArithmeticError):
    """A loss that is no longer finite; the last checkpoint is from before."""

    exit_code = 3


class LostProcessError(MgeError, RuntimeError):
    """A process of a distributed training that died or hangs; the run can be resumed."""

    exit_code = 75


class OutOfMemoryError(MgeError, MemoryError):
    """Exhausted memory of the machine or of the accelerator."""

    exit_code = 71


class StorageError(MgeError, OSError):
    """A file that cannot be written: the disk is full, or the folder is gone or read-only."""

    exit_code = 74


class InUseError(StorageError):
    """A run or model that another process is writing to; nothing was changed."""

    exit_code = 75


class Interrupted(MgeError):
    """A signal that stopped the run; a checkpoint was written and the run can be resumed.

    Args:
        message: Message with the command that resumes the run.
        signal_number: The signal that was received.
    """

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[partial[Self], tuple[str]]:  # pickled for the parent process
        return partial(type(self), signal_number=self.exit_code - 128), (str(self),)
