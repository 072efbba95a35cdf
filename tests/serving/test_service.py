import asyncio
import gc
import threading
import weakref

from mge.serving.limits import Limits
from mge.serving.service import Service
from tests.serving.backends import Colors


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
