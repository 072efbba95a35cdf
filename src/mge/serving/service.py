"""From the bytes of a photo to the response."""

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Generic, TypeVar

from PIL import Image

from mge.data.photo import open_photo
from mge.inference.prediction import Answer, Prediction
from mge.serving.backend import Backend, P
from mge.serving.batcher import Batcher
from mge.serving.limits import Limits
from mge.serving.pictures import as_data_url, cut_view, draw_attention, shrink_to_show
from mge.serving.uploads import Upload

T = TypeVar("T")
LEFT_OUT = ("path", "probabilities", "class_names")  # fields of a Prediction that are not returned


class Service(Generic[P]):
    """Decodes photos in a few threads and runs the mixture on them in batches.

    Args:
        backend: The mixture.
        limits: Number of threads, and batch size.
        on_batch: Called with the number of photos of each batch.
    """

    def __init__(self, backend: Backend[P], limits: Limits, *, on_batch: Callable[[int], None]) -> None:
        self.backend = backend
        self.batcher = Batcher(
            backend, batch_size=limits.batch_size, batch_seconds=limits.batch_seconds, on_batch=on_batch
        )
        self._decoders = ThreadPoolExecutor(limits.decoders, thread_name_prefix="mge-decoder")
        self._free_decoders = asyncio.Semaphore(limits.decoders)
        self._large = threading.Lock()  # two of the most expensive photos at once would take more than 1 GiB

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Process photos while the context is open."""
        try:
            async with self.batcher.running():
                yield
        finally:
            self._decoders.shutdown()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work with bytes or pixels in a thread, so that it does not block the event loop.

        Work waits here and not in the executor's queue, where cancelled work would keep its bytes until its turn.
        """
        await self._free_decoders.acquire()
        loop, job = asyncio.get_running_loop(), self._decoders.submit(work)
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free_decoders.release))
        return await asyncio.wrap_future(job)

    async def classify(self, upload: Upload, *, top: int) -> dict[str, Any]:
        """Classify a photo, and return the prediction as JSON-able values.

        Raises:
            DataError: it cannot be read.
            ModelFailedError: the mixture failed on it.
        """
        with self.batcher.announced():
            prepared = await self.in_thread(lambda: self._prepare(upload))
        answer = await self.batcher.answer(prepared)
        return _as_json(answer.prediction, name=upload.name, top=top)

    async def explain(self, upload: Upload, *, top: int) -> dict[str, Any]:
        """Classify a photo, and return the prediction with pictures of views and attention.

        Raises:
            DataError: it cannot be read.
            ModelFailedError: the mixture failed on it.
        """
        with self.batcher.announced():
            prepared, shown, size = await self.in_thread(lambda: self._prepare_to_explain(upload))
        answer = await self.batcher.answer(prepared)
        pictures = await self.in_thread(lambda: _explanation(answer, shown, size))
        return {**_as_json(answer.prediction, name=upload.name, top=top), **pictures}

    async def check(self) -> None:
        """Run the mixture on a grey picture as a self-test.

        Raises:
            ModelFailedError: it does not work.
        """
        gray = Image.new("RGB", (64, 64), "grey")
        await self.batcher.answer(await self.in_thread(lambda: self.backend.prepare(gray)))

    def _prepare(self, upload: Upload) -> P:
        with self._opened(upload) as photo:
            return self.backend.prepare(photo)

    def _prepare_to_explain(self, upload: Upload) -> tuple[P, Image.Image, tuple[int, int]]:
        with self._opened(upload) as photo:
            return self.backend.prepare(photo), shrink_to_show(photo), photo.size

    @contextmanager
    def _opened(self, upload: Upload) -> Iterator[Image.Image]:
        """Open a photo; a large one while no other large one is open."""
        with ExitStack() as held:
            yield open_photo(
                upload.content,
                name=upload.name or "the uploaded photo",
                on_large=lambda: held.enter_context(self._large),
            )


def _as_json(prediction: Prediction, *, name: str, top: int) -> dict[str, Any]:
    fields = {field.name: getattr(prediction, field.name) for field in dataclasses.fields(prediction)}
    said = {field: value for field, value in fields.items() if field not in LEFT_OUT}
    likeliest = [{"label": label, "probability": probability} for label, probability in prediction.top(top)]
    return {"name": name, **said, "top": likeliest}


def _explanation(answer: Answer, shown: Image.Image, size: tuple[int, int]) -> dict[str, Any]:
    prediction = answer.prediction
    experts = [
        {
            "label": label,
            "gate_prob": share,
            "box_xyxy": box,
            "view": as_data_url(cut_view(shown, box, photo_size=size), form="jpeg"),
            "attention": as_data_url(draw_attention(attention), form="png"),
        }
        for label, share, box, attention in zip(
            prediction.expert_labels, prediction.gate_probs, prediction.boxes_xyxy, answer.attention, strict=False
        )  # with early exit, later experts may not have run
    ]
    return {"width": size[0], "height": size[1], "photo": as_data_url(shown, form="jpeg"), "experts": experts}
