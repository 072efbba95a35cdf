import asyncio
import dataclasses

import numpy as np

from mge.inference.prediction import Answer
from mge.serving.batcher import Batcher, ModelFailedError
from tests.serving.backends import Colors, Prepared

BLUE, RED = Prepared((0.0, 0.0, 200.0), (4, 4)), Prepared((250.0, 0.0, 0.0), (4, 4))


def gray(value: float) -> Prepared:
    return Prepared((value, 100.0, 100.0), (4, 4))


def batcher_of(backend: Colors, *, batch_size: int = 8, batch_seconds: float = 0.05) -> Batcher[Prepared]:
    return Batcher(backend, batch_size=batch_size, batch_seconds=batch_seconds)


async def ask_together(batcher: Batcher[Prepared], photos: list[Prepared]) -> list[Answer | BaseException]:
    async with batcher.running():
        return await asyncio.gather(*map(batcher.answer, photos), return_exceptions=True)


def test_each_photo_gets_its_own_answer_whatever_batch_it_fell_in() -> None:
    backend = Colors()
    answers = asyncio.run(ask_together(batcher_of(backend), [gray(value) for value in range(21)]))
    reds = [answer.prediction.probabilities[2] for answer in answers if isinstance(answer, Answer)]
    np.testing.assert_allclose(reds, [(value + 1) / (value + 1 + 202) for value in range(21)])
    assert max(backend.batches) == 8
    assert sum(backend.batches) == 21


def test_a_batch_does_not_wait_when_nobody_is_announced() -> None:
    async def ask() -> float:
        async with (batcher := batcher_of(Colors(), batch_seconds=5)).running():
            started = asyncio.get_running_loop().time()
            await batcher.answer(BLUE)
            return asyncio.get_running_loop().time() - started

    assert asyncio.run(ask()) < 1


def test_a_batch_waits_for_who_is_announced_and_not_for_ever() -> None:
    async def ask(backend: Colors) -> None:
        async with (batcher := batcher_of(backend, batch_seconds=0.2)).running():
            with batcher.announced():
                first = asyncio.create_task(batcher.answer(BLUE))
                await asyncio.sleep(0.02)
                second = asyncio.create_task(batcher.answer(RED))
                await asyncio.gather(first, second)

    backend = Colors()
    asyncio.run(ask(backend))
    assert backend.batches == [2]


def test_a_photo_whose_request_has_gone_is_not_computed() -> None:
    async def ask(backend: Colors) -> None:
        backend.gate.clear()
        async with (batcher := batcher_of(backend, batch_size=1)).running():
            first = asyncio.create_task(batcher.answer(BLUE))
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(batcher.answer(RED)) for _ in range(5)]
            await asyncio.sleep(0.05)
            for other in others[:4]:
                other.cancel()
            backend.gate.set()
            await asyncio.gather(first, others[4])

    backend = Colors()
    asyncio.run(ask(backend))
    assert backend.batches == [1, 1]


def test_a_photo_that_makes_the_mixture_fail_fails_alone() -> None:
    backend = Colors(poison=240)
    answers = asyncio.run(ask_together(batcher_of(backend), [BLUE, RED, gray(7)]))
    assert [type(answer) for answer in answers] == [Answer, ModelFailedError, Answer]
    assert backend.batches == [3, 1, 1, 1]


def test_an_answer_that_is_no_number_fails_alone() -> None:
    class Odd(Colors):
        def answer(self, prepared: list[Prepared]) -> list[Answer]:
            answers = super().answer(prepared)
            broken = dataclasses.replace(answers[1].prediction, probability=float("nan"))
            answers[1] = Answer(broken, answers[1].attention)
            return answers

    answers = asyncio.run(ask_together(batcher_of(Odd()), [BLUE, RED, gray(7)]))
    assert [type(answer) for answer in answers] == [Answer, ModelFailedError, Answer]


def test_three_failures_in_a_row_are_no_health_and_an_answer_is() -> None:
    async def ask() -> list[bool]:
        health = []
        async with (batcher := batcher_of(Colors(poison=240))).running():
            for photo in (RED, RED, BLUE, RED, RED, RED, BLUE):
                await asyncio.gather(batcher.answer(photo), return_exceptions=True)
                health.append(batcher.is_healthy)
        return health

    assert asyncio.run(ask()) == [True, True, True, True, True, False, True]
