"""The server as an application: routes, page, errors, figures."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

import mge
from mge.serving.admission import Admission
from mge.serving.backend import Backend, P
from mge.serving.documentation import ABOUT
from mge.serving.front import EVERY, Front, Hosts
from mge.serving.intake import Intake
from mge.serving.limits import Limits, Refusal
from mge.serving.prometheus import Measured, Metrics
from mge.serving.routes import ServerState, guarded, open_to_all
from mge.serving.schemas import Model
from mge.serving.service import Service

WEB = Path(__file__).parents[1] / "web"
PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
CLIENT_HAS_GONE = 499  # nginx's number for it; nobody but the figures sees it


class App(FastAPI):
    """An application whose answers are all counted, also those to bugs, which FastAPI gives outside of middleware."""

    def build_middleware_stack(self) -> ASGIApp:
        """Called once, before the first request."""
        paths = frozenset([*self.openapi()["paths"], *PAGE])
        front = Front(super().build_middleware_stack(), hosts=self.state.hosts)
        return Measured(front, metrics=self.state.server.metrics, paths=paths)


def create_app(
    backend: Backend[P], *, limits: Limits | None = None, api_key: str = "", name: str = "mixture",
    hosts: Hosts | None = None,
) -> FastAPI:  # fmt: skip
    """A server for a mixture, to be run by uvicorn or mounted in another application.

    Args:
        backend: The mixture.
        limits: How much is taken on at a time.
        api_key: What requests for answers and figures have to show; empty: nothing.
        name: What the page calls the model.
        hosts: The names by which the server may be addressed. None: every name.
    """
    limits = limits or Limits()
    metrics, admission = Metrics(), Admission(limits)
    metrics.photos.set_function(lambda: admission.photos)
    service = Service(backend, limits, on_batch=metrics.batches.observe)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            await service.check()  # a mixture that does not work is found out before anyone asks
            yield

    app = App(title="MGE", version=mge.__version__, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = ServerState(
        service, Intake(limits, admission=admission, api_key=api_key), metrics, _describe(backend, limits, name)
    )
    app.state.hosts = hosts or Hosts([EVERY])
    documented_key = [Depends(APIKeyHeader(name="X-API-Key", auto_error=False))]
    app.include_router(guarded, dependencies=documented_key if api_key else [])
    app.include_router(open_to_all)
    _add_page(app)
    _add_errors(app)
    return app


def _describe(backend: Backend[P], limits: Limits, name: str) -> Model:
    ever_room = min(limits.queue, limits.per_client or limits.queue)
    return Model(
        name=name, version=mge.__version__, classes=list(backend.class_names), view_px=backend.side,
        max_bytes=limits.max_bytes, max_photos=min(limits.max_photos, ever_room),
    )  # fmt: skip


def _add_page(app: FastAPI) -> None:
    """The page: a few files, which are read once."""
    for path, (file, media_type) in PAGE.items():
        content = (WEB / file).read_bytes()

        async def page(_: Request, content: bytes = content, media_type: str = media_type) -> Response:
            return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

        app.router.add_route(path, page, methods=["GET"], include_in_schema=False)


def _add_errors(app: FastAPI) -> None:
    """Every error is one line of JSON, and says nothing of the server's inside."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> Response:
        return JSONResponse({"error": error.reason}, status_code=error.status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def misused(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse({"error": f"{name}: {first['msg']}; /openapi.json says what is accepted"}, status_code=422)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        reason = f"{request.method} {request.url.path}: {error.detail}; /openapi.json says what there is"
        return JSONResponse({"error": reason}, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_HAS_GONE)

    @app.exception_handler(500)
    async def broken(_: Request, __: Exception) -> Response:
        return JSONResponse({"error": "the server made a mistake; its log says which"}, status_code=500)
