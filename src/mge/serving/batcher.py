"""Dynamic batching of photos from different requests."""

import asyncio
import dataclasses
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Generic

from mge.inference.prediction import Answer
from mge.serving.backend import Backend, P

LOG = logging.getLogger("mge.serving")
FAILURES_IN_A_ROW = 3  # consecutive failures of the mixture after which the server is not ready


class ModelFailedError(Exception):
    """The mixture failed on a photo: the server's fault, not the client's."""


@dataclasses.dataclass(eq=False)
class _Waiting(Generic[P]):
    """A photo in the queue, with the future that its request waits for."""

    prepared: P
    answer: asyncio.Future[Answer]


class Batcher(Generic[P]):
    """Batches photos for a mixture, on its own thread; one batch at a time, first come, first served.

    A batch waits only for announced photos, and never long. A photo whose request was cancelled in the queue is left
    out. If a batch fails, its photos are run one by one: only the one that causes the error fails.

    Args:
        backend: The mixture.
        batch_size: Largest number of photos in a batch.
        batch_seconds: Longest time that a batch waits for announced photos.
        on_batch: Called with the number of photos of each batch that was computed.
    """

    def __init__(
        self, backend: Backend[P], *, batch_size: int, batch_seconds: float,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.backend, self.batch_size, self.batch_seconds = backend, batch_size, batch_seconds
        self.on_batch = on_batch
        self.failures_in_a_row = 0
        self._queue: asyncio.Queue[_Waiting[P]] = asyncio.Queue()  # bounded by admission control
        self._announced = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mge-model")

    @property
    def is_healthy(self) -> bool:
        """True unless the mixture failed on several photos in a row."""
        return self.failures_in_a_row < FAILURES_IN_A_ROW

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Process photos while the context is open."""
        work = asyncio.create_task(self._work())
        try:
            yield
        finally:
            work.cancel()
            await asyncio.wait({work})
            self._thread.shutdown()

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Announce a photo while the context is open, so that a batch may wait for it."""
        self._announced += 1
        try:
            yield
        finally:
            self._announced -= 1

    async def answer(self, prepared: P) -> Answer:
        """Run the mixture on a photo.

        Raises:
            ModelFailedError: it failed on this photo.
        """
        waiting = _Waiting(prepared, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return await waiting.answer

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            await self._answer_batch(batch)

    async def _next_batch(self) -> list[_Waiting[P]]:
        batch = [await self._queue.get()]
        latest = asyncio.get_running_loop().time() + self.batch_seconds
        while len(batch) < self.batch_size and (self._announced or not self._queue.empty()):
            try:
                async with asyncio.timeout_at(latest):
                    batch.append(await self._queue.get())
            except TimeoutError:
                break
        return [waiting for waiting in batch if not waiting.answer.done()]

    async def _answer_batch(self, batch: list[_Waiting[P]]) -> None:
        if not batch:
            return
        answers = await self._compute(batch)
        if isinstance(answers, BaseException):
            if len(batch) > 1:
                for waiting in batch:
                    await self._answer_batch([waiting] if not waiting.answer.done() else [])
            else:
                self._fail(batch[0], answers)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not math.isfinite(answer.prediction.probability):
                self._fail(waiting, ArithmeticError("probabilities are not finite"))
                continue
            self.failures_in_a_row = 0
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _compute(self, batch: list[_Waiting[P]]) -> list[Answer] | BaseException:
        """Return the outputs, or any exception of the mixture, which must not affect the photos of others."""
        self.on_batch(len(batch))
        job = self._thread.submit(lambda: list(self.backend.answer([waiting.prepared for waiting in batch])))
        done = asyncio.wrap_future(job)
        await asyncio.wait({done})
        return done.exception() or done.result()

    def _fail(self, waiting: _Waiting[P], error: BaseException) -> None:
        self.failures_in_a_row += 1
        LOG.error("the model failed on a photo", exc_info=error)
        if not waiting.answer.done():
            waiting.answer.set_exception(ModelFailedError("the model failed on this photo"))
