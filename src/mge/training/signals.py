"""Stopping between two steps when the system, the scheduler or the user asks for it."""

import signal
from types import FrameType, TracebackType
from typing import Self

import torch
from lightning_fabric import Fabric

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # SLURM announces a requeue with SIGUSR1


class StopRequest:
    """Remembers the first signal, so that the step that is running can finish. A second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self._received = 0
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        try:
            self._former = {number: signal.signal(number, self._remember) for number in WATCHED}
        except ValueError:  # not the main thread, where Python takes no signals: the caller's own handlers stay
            self._former = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def agreed(self, fabric: Fabric) -> int:
        """The number of the signal that any process received, the same on all of them; 0 for none."""
        if fabric.world_size == 1:
            return self._received
        highest = torch.tensor(float(self._received), device=fabric.device)
        return int(fabric.all_reduce(highest, reduce_op="max").item())  # type: ignore[union-attr]

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = self._received or number
