"""What MGE raises when its user can mend the cause.

Each message is one line: what is wrong, the value received, what is accepted, what to do next. The command line prints
it and exits with 2. Any other exception is a bug and keeps its traceback.
"""

from functools import partial
from typing import Self


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class MgeError(Exception):
    """The parent of every error that a user can mend."""

    exit_code = 2


class ConfigError(MgeError, ValueError):
    """An option has a value that it cannot take, or two options contradict each other."""


class DataError(MgeError, ValueError):
    """The photos, the labels or the splits are not what training or evaluation needs."""


class ModelFolderError(MgeError, ValueError):
    """A model or run folder is missing, damaged, or written by a newer version."""


class ExportError(MgeError, ArithmeticError):
    """An exported graph does not answer as its model does; nothing was written."""

    exit_code = 3


class MissingExtraError(MgeError, ImportError):
    """An optional dependency is needed and not installed."""


class DivergedError(MgeError, ArithmeticError):
    """The loss is not a number any more; the last checkpoint is from before."""

    exit_code = 3


class LostProcessError(MgeError, RuntimeError):
    """Another of the processes that train together is gone, or hangs; the run can be resumed."""

    exit_code = 75


class OutOfMemoryError(MgeError, MemoryError):
    """Memory ran out, of the machine or of the accelerator."""

    exit_code = 71


class StorageError(MgeError, OSError):
    """A file cannot be written: the disk is full, or the folder is gone or read-only."""

    exit_code = 74


class InUseError(StorageError):
    """Another process is writing to the run or the model; nothing was changed."""

    exit_code = 75


class Interrupted(MgeError):
    """A signal asked the run to stop; a checkpoint was written and the run can be resumed.

    Args:
        message: How to go on.
        signal_number: The signal that was received.
    """

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[partial[Self], tuple[str]]:  # to the process that started this one
        return partial(type(self), signal_number=self.exit_code - 128), (str(self),)
