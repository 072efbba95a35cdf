"""What can be asked, and how it is answered."""

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import generate_latest

from mge.errors import DataError
from mge.serving.batcher import ModelFailedError
from mge.serving.documentation import BUSY, FRONT, KEY, PHOTO_BODY, PHOTOS_BODY, REFUSALS, TEXT
from mge.serving.intake import Intake, Visit
from mge.serving.limits import Refusal
from mge.serving.prometheus import Metrics
from mge.serving.schemas import ExplanationResponse, Health, Model, Parameters, PredictionsResponse
from mge.serving.service import Service
from mge.serving.uploads import Upload, read_uploads


@dataclasses.dataclass(frozen=True)
class ServerState:
    """What the routes of one application work with."""

    service: Service[Any]  # of whatever its own backend prepares
    intake: Intake
    metrics: Metrics
    about: Model


def server_of(request: Request) -> ServerState:
    """The server that a request came to."""
    return cast(ServerState, request.app.state.server)


async def admitted(request: Request) -> AsyncIterator[Visit]:
    """The visit of a request that brings photos; its place is given back before the answer is sent."""
    async with server_of(request).intake.visit(request) as visit:
        yield visit


def check_key(request: Request) -> None:
    """Refuses a request that does not show the key."""
    server_of(request).intake.check_key(request)


LOG = logging.getLogger("mge.serving")
Admitted = Annotated[Visit, Depends(admitted, scope="function")]
Asked = Annotated[Parameters, Query()]

guarded = APIRouter()  # asks for the key, where there is one
open_to_all = APIRouter()


@guarded.post("/predict", response_model=PredictionsResponse, responses=REFUSALS, openapi_extra=PHOTOS_BODY)
async def predict(visit: Admitted, asked: Asked) -> Response:
    """Classifies one photo or several.

    A photo among several that cannot be read has an `error` in its entry; where none can be read, the status is 422.
    """
    return await visit.finish(_predict(visit, top=asked.top))


@guarded.post("/explain", response_model=ExplanationResponse, responses=REFUSALS, openapi_extra=PHOTO_BODY)
async def explain(visit: Admitted, asked: Asked) -> Response:
    """Classifies one photo, and shows what each expert saw of it and where it looked."""
    return await visit.finish(_explain(visit, top=asked.top))


@guarded.get("/metrics", response_class=Response, responses={**TEXT, **KEY, **FRONT}, dependencies=[Depends(check_key)])
async def metrics(request: Request) -> Response:
    """Counters and times, as Prometheus reads them."""
    text = generate_latest(server_of(request).metrics.registry)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@open_to_all.head("/health", include_in_schema=False)
@open_to_all.get("/health", response_model=Health, responses=FRONT)
async def health() -> Response:
    """The process is alive: for who restarts it otherwise. Answers also when every place is taken."""
    return JSONResponse({"status": "alive"})


@open_to_all.head("/ready", include_in_schema=False)
@open_to_all.get("/ready", response_model=Health, responses={**BUSY, **FRONT})
async def ready(request: Request) -> Response:
    """The mixture works: for who sends requests somewhere else otherwise."""
    service = server_of(request).service
    if not service.batcher.is_healthy:
        try:
            await service.check()  # it may have been the photos
        except ModelFailedError as error:
            raise Refusal(503, "the mixture does not work; the server's log says why") from error
    return JSONResponse({"status": "ready"})


@open_to_all.get("/model", response_model=Model, responses=FRONT)
async def model(request: Request) -> Response:
    """What is being served, and what it takes."""
    return JSONResponse(server_of(request).about.model_dump())


async def _predict(visit: Visit, *, top: int) -> Response:
    server = server_of(visit.request)
    uploads = await _uploads(visit, max_photos=server.about.max_photos)
    answers = (_classify(server, upload, top=top) for upload in uploads)
    results = [_settled(result) for result in await asyncio.gather(*answers, return_exceptions=True)]
    failures = [result for result in results if isinstance(result, Refusal)]
    if len(failures) == len(results):
        raise max(failures, key=lambda failure: failure.status)
    return JSONResponse(
        {
            "predictions": [
                {"name": upload.name, "error": result.reason} if isinstance(result, Refusal) else result
                for upload, result in zip(uploads, results, strict=True)
            ]
        }
    )


async def _classify(server: ServerState, upload: Upload, *, top: int) -> dict[str, Any] | Refusal:
    """The answer about a photo, or why there is none: one bad photo is no reason to leave the others."""
    try:
        return await server.service.classify(upload, top=top)
    except (DataError, ModelFailedError) as error:
        return _refusal(error, server)


def _settled(result: dict[str, Any] | Refusal | BaseException) -> dict[str, Any] | Refusal:
    """The answer about a photo; of a mistake of ours its log, so that the other photos are answered all the same."""
    if isinstance(result, dict | Refusal):
        return result
    LOG.error("the server made a mistake with a photo", exc_info=result)
    return Refusal(500, "the server made a mistake; its log says which")


async def _explain(visit: Visit, *, top: int) -> Response:
    server = server_of(visit.request)
    (upload,) = await _uploads(visit, max_photos=1)
    try:
        return JSONResponse(await server.service.explain(upload, top=top))
    except (DataError, ModelFailedError) as error:
        raise _refusal(error, server) from error


def _refusal(error: DataError | ModelFailedError, server: ServerState) -> Refusal:
    if isinstance(error, DataError):
        server.metrics.unreadable.inc()
        return Refusal(422, str(error))
    return Refusal(500, str(error))


async def _uploads(visit: Visit, *, max_photos: int) -> list[Upload]:
    content_type = visit.request.headers.get("content-type", "")
    read = server_of(visit.request).service.in_thread
    uploads = await read(lambda: read_uploads(visit.body, content_type=content_type, max_photos=max_photos))
    visit.place.take(len(uploads) - 1)
    return uploads
