"""Stopping between two steps when the system, the scheduler or the user asks for it."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Self, TypeVar

import torch
from lightning_fabric import Fabric

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # SLURM announces a requeue with SIGUSR1


AT_ONCE = (signal.SIGINT, signal.SIGTERM)  # what a second one of ends the process
# A second SIGTERM counts after this: whoever starts us passes on what our whole group has got already.
ECHO_SECONDS = 1.0
T = TypeVar("T")


class _StopRequested(BaseException):
    """A signal came while photos were waited for."""


class StopRequest:
    """Remembers the first signal, so that the step that is running can finish. A second Ctrl-C or SIGTERM ends at once.

    SIGHUP stays ignored where nohup has it so: the run shall outlive its terminal.
    """

    def __init__(self) -> None:
        self._received = 0
        self._received_at = 0.0
        self._waits = False
        self._process = os.getpid()  # those that are started later have these handlers, too
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        is_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        watched = [number for number in WATCHED if not (is_nohup and number == signal.SIGHUP)]
        try:
            self._previous = {number: signal.signal(number, self._remember) for number in watched}
        except ValueError:  # not the main thread, where Python takes no signals: the caller's own handlers stay
            self._previous = {}
        return self

    def __exit__(self, *details: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def agreed(self, fabric: Fabric, *, is_due: bool = False) -> tuple[int, bool]:
        """What all processes do after this step, so that none goes on while another stops.

        Args:
            fabric: The processes.
            is_due: Whether it is time for a checkpoint by this process's clock.

        Returns:
            The number of the signal that any of them received, 0 for none; and whether a checkpoint is due on any.
        """
        if fabric.world_size == 1:
            return self._received, is_due
        said = torch.tensor([self._received, int(is_due)], dtype=torch.float32, device=fabric.device)
        number, due = fabric.all_reduce(said, reduce_op="max").tolist()  # type: ignore[union-attr]
        return int(number), bool(due)

    def next_of(self, items: Iterator[T], *, may_stop: bool) -> T | None:
        """The next item; None at their end, or where a signal comes while it is waited for.

        Args:
            items: What may never come: photos that other processes read.
            may_stop: Whether a checkpoint can be written now.
        """
        try:
            self._waits = may_stop
            return None if may_stop and self._received else next(items, None)
        except _StopRequested:
            return None
        finally:
            self._waits = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        if self._received and number in AT_ONCE:
            self._end(number)
        elif not self._received:
            self._received, self._received_at = number, time.monotonic()
        if self._waits:
            raise _StopRequested

    def _end(self, number: int) -> None:
        """Ends the process, whatever it waits for; the last checkpoint is from before."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if time.monotonic() - self._received_at < ECHO_SECONDS:
            return
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(128 + number)
