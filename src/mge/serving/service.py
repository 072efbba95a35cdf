"""From the bytes of a photo to what is answered about it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
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
LEFT_OUT = ("path", "probabilities", "class_names")  # fields of a Prediction that an answer does not repeat


class Service(Generic[P]):
    """Decodes photos on a few threads and has the mixture answer them in batches.

    Args:
        backend: The mixture.
        limits: How many threads, and how large a batch.
        on_batch: Called with the number of photos of each batch.
    """

    def __init__(self, backend: Backend[P], limits: Limits, *, on_batch: Callable[[int], None]) -> None:
        self.backend = backend
        self.batcher = Batcher(
            backend, batch_size=limits.batch_size, batch_seconds=limits.batch_seconds, on_batch=on_batch
        )
        self._decoders = ThreadPoolExecutor(limits.decoders, thread_name_prefix="mge-decoder")
        self._free_decoders = asyncio.Semaphore(limits.decoders)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While it is open, photos are answered."""
        try:
            async with self.batcher.running():
                yield
        finally:
            self._decoders.shutdown()

    async def in_thread(self, work: Callable[[], T]) -> T:
        """The result of some work with bytes or pixels, which must not stop the event loop.

        Work waits here and not in the queue of the threads: what is cancelled there keeps its bytes until its turn.
        """
        await self._free_decoders.acquire()
        loop, job = asyncio.get_running_loop(), self._decoders.submit(work)
        job.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free_decoders.release))
        return await asyncio.wrap_future(job)

    async def classify(self, upload: Upload, *, top: int) -> dict[str, Any]:
        """The answer about a photo, as JSON has it.

        Raises:
            DataError: it cannot be read.
            ModelFailedError: the mixture failed on it.
        """
        with self.batcher.announced():
            prepared = await self.in_thread(lambda: self.backend.prepare(_open(upload)))
        answer = await self.batcher.answer(prepared)
        return _as_json(answer.prediction, name=upload.name, top=top)

    async def explain(self, upload: Upload, *, top: int) -> dict[str, Any]:
        """The answer about a photo with pictures of what led to it.

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
        """Asks the mixture about a grey picture.

        Raises:
            ModelFailedError: it does not work.
        """
        gray = Image.new("RGB", (64, 64), "grey")
        await self.batcher.answer(await self.in_thread(lambda: self.backend.prepare(gray)))

    def _prepare_to_explain(self, upload: Upload) -> tuple[P, Image.Image, tuple[int, int]]:
        photo = _open(upload)
        return self.backend.prepare(photo), shrink_to_show(photo), photo.size


def _open(upload: Upload) -> Image.Image:
    return open_photo(upload.content, name=upload.name or "the uploaded photo")


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
        )  # a cascade's later experts may not have looked
    ]
    return {"width": size[0], "height": size[1], "photo": as_data_url(shown, form="jpeg"), "experts": experts}
