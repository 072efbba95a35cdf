"""Stopping between two steps at the request of the system, the scheduler or the user."""

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


AT_ONCE = (signal.SIGINT, signal.SIGTERM)  # a second one of these ends the process
# A second SIGTERM counts only after this: launchers forward signals that our process group has already received.
ECHO_SECONDS = 1.0
T = TypeVar("T")


class _StopRequested(BaseException):
    """A signal received while waiting for photos."""


class StopRequest:
    """Handler of the first signal, so that the current step can finish; a second Ctrl-C or SIGTERM ends at once.

    SIGHUP stays ignored under nohup: the run must outlive its terminal.
    """

    def __init__(self) -> None:
        self._received = 0
        self._received_at = 0.0
        self._waits = False
        self._process = os.getpid()  # child processes inherit these handlers
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
        """Agree with all processes on the action after this step, so that none continues while another stops.

        Args:
            fabric: Lightning Fabric with all processes.
            is_due: Whether a checkpoint is due by this process's clock.

        Returns:
            The number of the signal that any of them received, 0 for none; and whether a checkpoint is due on any.
        """
        if fabric.world_size == 1:
            return self._received, is_due
        said = torch.tensor([self._received, int(is_due)], dtype=torch.float32, device=fabric.device)
        number, due = fabric.all_reduce(said, reduce_op="max").tolist()  # type: ignore[union-attr]
        return int(number), bool(due)

    def next_of(self, items: Iterator[T], *, may_stop: bool) -> T | None:
        """Return the next item; None at their end, or if a signal is received while waiting for it.

        Args:
            items: Items that may never come: photos that other processes read.
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
        """End the process, whatever it waits for; the last checkpoint is from before."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if time.monotonic() - self._received_at < ECHO_SECONDS:
            return
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(128 + number)
