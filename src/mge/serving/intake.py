"""Intake of requests: check of the key, admission, reading the body within a deadline, and detection of disconnects."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

from starlette.requests import ClientDisconnect, Request

from mge.serving.admission import Admission, Place
from mge.serving.limits import MAX_DRAINED_BYTES, Limits, Refusal

T = TypeVar("T")
CLOSE = {"Connection": "close"}  # after an incompletely read body, the connection cannot be reused


class Visit(NamedTuple):
    """An admitted request."""

    request: Request
    body: bytes
    place: Place
    deadline: float

    async def finish(self, work: Coroutine[None, None, T]) -> T:
        """Return the result of some work, which is cancelled when the client disconnects or the deadline expires.

        Raises:
            Refusal: 504, it took too long.
            ClientDisconnect: the client has disconnected.
        """
        working = asyncio.create_task(work)
        gone = asyncio.create_task(_gone(self.request))
        try:
            await asyncio.wait({working, gone}, timeout=self.deadline, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if gone.done():
                raise ClientDisconnect
            raise Refusal(504, f"no result within {self.deadline:g} seconds; try again later")
        finally:
            working.cancel()
            gone.cancel()
            await asyncio.wait({working, gone})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Intake:
    """Admission of requests.

    Args:
        limits: Limits of the load.
        admission: Counter of the photos in flight.
        api_key: Key that a request must have; empty: none.
    """

    def __init__(self, limits: Limits, *, admission: Admission, api_key: str = "") -> None:
        self.limits, self.admission, self.api_key = limits, admission, api_key

    @asynccontextmanager
    async def visit(self, request: Request) -> AsyncIterator[Visit]:
        """Admit a request while the context is open.

        Raises:
            Refusal: it is not admitted.
        """
        with await self._enter(request) as place:
            body = await self._read_body(request, place)
            yield Visit(request, body, place, self.limits.deadline)

    def check_key(self, request: Request) -> None:
        """Raise Refusal 401 unless the request has the key, if one is required."""
        authorization = request.headers.get("authorization", "")
        scheme, _, token = authorization.partition(" ")
        said = request.headers.get("x-api-key") or (token if scheme.lower() == "bearer" else authorization)
        if self.api_key and not hmac.compare_digest(said.encode(), self.api_key.encode()):
            raise Refusal(
                401,
                "the API key is missing or invalid; send it in the X-API-Key header",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _enter(self, request: Request) -> Place:
        try:
            self.check_key(request)
            self._check_header(request)
            return self.admission.enter(request.client.host if request.client else "")
        except Refusal as refusal:
            if not await self._drain(request):
                refusal.headers.update(CLOSE)
            raise

    def _check_header(self, request: Request) -> None:
        if _declared_bytes(request) > self.limits.max_bytes:
            raise self._too_large()
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "the body is compressed; accepted: uncompressed requests, without Content-Encoding")

    async def _read_body(self, request: Request, place: Place) -> bytes:
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size <= self.limits.max_bytes:
                        place.hold(len(chunk))
                        chunks.append(chunk)
                        continue
                    chunks.clear()
                    if size > self.limits.max_bytes + MAX_DRAINED_BYTES:
                        break
        except TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {self.limits.body_seconds:g} seconds; send it again", CLOSE
            ) from None
        except Refusal as refusal:
            refusal.headers.update(CLOSE)
            raise
        if size > self.limits.max_bytes:
            raise self._too_large()
        return b"".join(chunks)

    async def _drain(self, request: Request) -> bool:
        """Read and discard a body, within limits: most clients read a response only after they have sent everything.

        Returns:
            Whether it was read to its end.
        """
        if request.headers.get("expect", "").lower() == "100-continue" or _declared_bytes(request) > MAX_DRAINED_BYTES:
            return False
        size = 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > MAX_DRAINED_BYTES:
                        return False
        except TimeoutError:
            return False
        return True

    def _too_large(self) -> Refusal:
        return Refusal(413, f"the body is too large; accepted: up to {self.limits.max_bytes / 1e6:g} MB", CLOSE)


def _declared_bytes(request: Request) -> int:
    said = request.headers.get("content-length", "0")
    return int(said) if said.isascii() and said.isdigit() else 0
