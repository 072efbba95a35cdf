import asyncio
import gc
import io
import struct
import threading
import weakref
import zlib
from pathlib import Path

import pytest
from PIL import Image

from mge.errors import DataError
from mge.inference.prediction import Photo
from mge.serving.limits import Limits
from mge.serving.service import Service
from mge.serving.uploads import Upload
from tests.image_files import chunk
from tests.serving.backends import Colors, Prepared


class Body:
    """Stands for the bytes of a photo: it can be seen whether somebody still holds it."""


def test_who_gives_up_while_all_decoders_are_busy_leaves_no_bytes_behind() -> None:
    async def ask() -> list[Body | None]:
        service = Service(Colors(), Limits(decoders=1), on_batch=lambda _: None)
        go_on = threading.Event()
        busy = asyncio.create_task(service.in_thread(go_on.wait))
        await asyncio.sleep(0.01)
        bodies = [Body() for _ in range(20)]
        seen = [weakref.ref(body) for body in bodies]
        waiting = [asyncio.create_task(service.in_thread(lambda body=body: body)) for body in bodies]  # type: ignore[misc]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        del bodies, waiting, task
        await asyncio.sleep(0)  # the loop itself forgets them one turn later
        gc.collect()
        left = [body() for body in seen]
        go_on.set()
        assert await busy
        assert await service.in_thread(lambda: "next") == "next"
        return left

    assert asyncio.run(ask()) == [None] * 20


def test_no_more_is_decoded_at_a_time_than_there_are_decoders() -> None:
    at_once, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.01)
        with lock:
            at_once -= 1

    async def ask() -> None:
        service = Service(Colors(), Limits(decoders=2), on_batch=lambda _: None)
        await asyncio.gather(*(service.in_thread(work) for _ in range(12)))

    asyncio.run(ask())
    assert most == 2


def bilevel(width: int, height: int) -> bytes:
    """A PNG of one bit a pixel."""
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG", compress_level=1)
    return file.getvalue()


@pytest.mark.parametrize("way", ["classify", "explain"])
def test_large_photos_are_open_one_at_a_time_and_small_ones_beside_them(way: str) -> None:
    small_was_opened, two_are_open = threading.Event(), threading.Event()
    num_open = []

    class Slow(Colors):
        def prepare(self, photo: Photo) -> Prepared:
            assert isinstance(photo, Image.Image)
            if photo.width < 1000:
                small_was_opened.set()
                return Prepared((1.0, 2.0, 3.0), photo.size)
            num_open.append(1)
            if len(num_open) == 2:
                two_are_open.set()
            assert small_was_opened.wait(20)
            two_are_open.wait(2)  # stays open for so long that the other one would come if it could
            num_open.pop()
            return Prepared((1.0, 2.0, 3.0), photo.size)

    async def ask() -> None:
        service = Service(Slow(), Limits(decoders=3), on_batch=lambda _: None)
        large, small = Upload("large.png", bilevel(5000, 4100)), Upload("small.png", bilevel(60, 40))
        async with service.running():
            await asyncio.gather(*(getattr(service, way)(each, top=1) for each in (large, large, small)))

    asyncio.run(ask())
    assert not two_are_open.is_set()


def test_a_large_photo_that_is_broken_lets_the_next_one_in() -> None:
    whole = bilevel(5000, 4100)

    async def ask() -> list[str]:
        service = Service(Colors(), Limits(), on_batch=lambda _: None)
        done = []
        for content in (whole[: len(whole) // 2], whole[: len(whole) // 2]):
            with pytest.raises(DataError, match="cannot be read"):
                await asyncio.wait_for(service.classify(Upload("half.png", content), top=1), 20)
            done.append("refused")
        return done

    assert asyncio.run(ask()) == ["refused"] * 2


def png_of_zeros(width: int, height: int, *, depth: int, color: int, channels: int, is_interlaced: bool) -> bytes:
    """A PNG that unpacks into hundreds of megabytes of zeros."""
    packer = zlib.compressobj(1)
    steps = [(8, 8, 0, 0), (8, 8, 4, 0), (4, 8, 0, 4), (4, 4, 2, 0), (2, 4, 0, 2), (2, 2, 1, 0), (1, 2, 0, 1)]
    data = []
    for step_x, step_y, x, y in steps if is_interlaced else [(1, 1, 0, 0)]:
        row = bytes(1 + -(-(width - x) // step_x) * channels * depth // 8)
        data += [packer.compress(row) for _ in range(y, height, step_y)]
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, is_interlaced)
    pixels = b"".join(data) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def peak() -> int:
    """The most bytes that were resident since `/proc/self/clear_refs` was told to forget."""
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["classify", "explain"])
def test_the_most_expensive_photos_at_once_take_less_than_a_gibibyte(way: str) -> None:
    kinds = {"RGBA, interlaced": (8300, 8300, 8, 6, 4, True), "16 bit with alpha": (8300, 8300, 16, 4, 2, False),
             "16 bit RGBA": (5900, 5900, 16, 6, 4, False)}  # fmt: skip
    uploads = [
        Upload(name, png_of_zeros(w, h, depth=depth, color=color, channels=channels, is_interlaced=is_interlaced))
        for name, (w, h, depth, color, channels, is_interlaced) in kinds.items()
    ]

    class Shrinks(Colors):
        def prepare(self, photo: Photo) -> Prepared:
            assert isinstance(photo, Image.Image)
            return super().prepare(photo.resize((64, 64)))

    async def ask() -> None:
        service = Service(Shrinks(), Limits(), on_batch=lambda _: None)
        async with service.running():
            await asyncio.gather(*(getattr(service, way)(each, top=1) for each in uploads))

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    asyncio.run(ask())
    assert peak() - before < 2**30
