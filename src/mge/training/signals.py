"""Stopping between two steps when the system, the scheduler or the user asks for it."""

import signal
from types import FrameType
from typing import Self

import torch
from lightning_fabric import Fabric

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)  # SLURM announces a requeue with SIGUSR1


class StopRequest:
    """Remembers the first signal, so that the step that is running can finish. A second Ctrl-C stops at once.

    SIGHUP stays ignored where nohup has it so: the run shall outlive its terminal.
    """

    def __init__(self) -> None:
        self._received = 0
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        is_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        watched = [number for number in WATCHED if not (is_nohup and number == signal.SIGHUP)]
        try:
            self._former = {number: signal.signal(number, self._remember) for number in watched}
        except ValueError:  # not the main thread, where Python takes no signals: the caller's own handlers stay
            self._former = {}
        return self

    def __exit__(self, *details: object) -> None:
        for number, handler in self._former.items():
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

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = self._received or number
