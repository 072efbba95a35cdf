"""Process-group guard: waits for the other processes of a distributed training, with a timeout."""

import contextlib
import datetime
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from lightning_fabric import Fabric
from torch import distributed, nn

from mge.errors import LostProcessError
from mge.inference.devices import PREPARATION
from mge.storage.run_folder import Run

CONNECTION = ("gloo", "NCCL", "monitoredBarrier", "pair closure")  # in torch's errors about other processes


class ProcessGroupGuard:
    """The processes of a distributed training, as seen by one of them.

    A process that hangs (reading from a dead disk, say) never reaches the next step, and the waiting ones would time
    out after half an hour without knowing the cause. So they meet at a barrier before each step that reports which rank
    is missing, and within a step every collective has a timeout.

    Args:
        fabric: Lightning Fabric, launched.
        patience: Seconds that each waits for the others.
        run: The run to resume if one of them is lost.
    """

    def __init__(self, fabric: Fabric, *, patience: float, run: Run) -> None:
        self.fabric, self.run = fabric, run
        self.patience = datetime.timedelta(seconds=patience)
        self._group: distributed.ProcessGroup | None = None

    def __enter__(self) -> Self:
        if self.fabric.world_size > 1:
            group = distributed.new_group(backend="gloo")  # the only backend that reports which rank is missing
            assert isinstance(group, distributed.ProcessGroup), "all processes are in it"
            self._group = group
            distributed.set_timeout(self.patience)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group is None:
            return
        if error is None:
            distributed.set_timeout(PREPARATION)
        elif isinstance(error, RuntimeError) and any(word in str(error) for word in CONNECTION):
            raise self._lost("in a step", str(error)) from error

    def barrier(self, where: str) -> None:
        """Wait until all processes have reached this point.

        Args:
            where: Description of the point for messages.

        Raises:
            LostProcessError: a process has not arrived in time.
        """
        if self._group is None:
            return
        try:
            distributed.monitored_barrier(self._group, timeout=self.patience, wait_all_ranks=True)
        except RuntimeError as error:
            raise self._lost(f"before {where}", str(error)) from error

    @contextlib.contextmanager
    def extended_timeout(self) -> Iterator[None]:
        """Extend the timeout of the processes to that of the preparation."""
        if self._group is not None:
            distributed.set_timeout(PREPARATION)
        yield
        if self._group is not None:
            distributed.set_timeout(self.patience)

    def share_buffers(self, module: nn.Module) -> None:
        """Broadcast the first process's batch norm statistics, which are those that are stored."""
        if self._group is not None:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def _lost(self, where: str, reason: str) -> LostProcessError:
        rank, world = self.fabric.global_rank, self.fabric.world_size
        return LostProcessError(
            f"process {rank} of {world}: another process did not respond {where}: {' '.join(reason.split())}; check "
            f"its output, then resume with: {self.run.whole.resume_command}"
        )
