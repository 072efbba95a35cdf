"""The other processes that train the same mixture: waiting for them, but not for ever."""

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

CONNECTION = ("gloo", "NCCL", "monitoredBarrier", "pair closure")  # in errors that torch raises over other processes


class ProcessGroupGuard:
    """The processes that train together, as each of them sees the rest.

    A process that reads from a dead disk, say, never comes to the next step, and those that wait for it would wait for
    half an hour and then not know for whom. So they meet before each step, in a way that tells who is missing, and
    in a step every wait ends after some patience.

    Args:
        fabric: Lightning Fabric, launched.
        patience: Seconds that each waits for the others.
        run: What is gone on with if one of them is lost.
    """

    def __init__(self, fabric: Fabric, *, patience: float, run: Run) -> None:
        self.fabric, self.run = fabric, run
        self.patience = datetime.timedelta(seconds=patience)
        self._group: distributed.ProcessGroup | None = None

    def __enter__(self) -> Self:
        if self.fabric.world_size > 1:
            group = distributed.new_group(backend="gloo")  # the only one that can tell who is missing
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
        """Waits until all processes have come to this point.

        Args:
            where: What a person calls the point.

        Raises:
            LostProcessError: one has not come in time.
        """
        if self._group is None:
            return
        try:
            distributed.monitored_barrier(self._group, timeout=self.patience, wait_all_ranks=True)
        except RuntimeError as error:
            raise self._lost(f"before {where}", str(error)) from error

    @contextlib.contextmanager
    def extended_timeout(self) -> Iterator[None]:
        """Lets the processes wait for each other as long as it takes."""
        if self._group is not None:
            distributed.set_timeout(PREPARATION)
        yield
        if self._group is not None:
            distributed.set_timeout(self.patience)

    def share_buffers(self, module: nn.Module) -> None:
        """Gives all processes the first one's statistics of batch norm, which are those that are stored."""
        if self._group is not None:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def _lost(self, where: str, reason: str) -> LostProcessError:
        rank, world = self.fabric.global_rank, self.fabric.world_size
        return LostProcessError(
            f"process {rank} of {world} lost another one {where}: {' '.join(reason.split())}; look at what that one "
            f"wrote, and go on with: {self.run.whole.resume_command}"
        )
