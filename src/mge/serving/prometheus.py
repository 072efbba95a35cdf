"""Prometheus metrics, and the security headers of every response."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Metrics:
    """Metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter("mge_requests", "Requests answered", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "mge_request_seconds", "Request latency in seconds", ["path"], registry=self.registry,
            buckets=SECONDS,
        )  # fmt: skip
        self.photos = Gauge("mge_photos", "Photos in flight", registry=self.registry)
        self.batches = Histogram(
            "mge_batch_photos", "Photos per batch", registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )  # fmt: skip
        self.unreadable = Counter("mge_unreadable_photos", "Photos that could not be read", registry=self.registry)


class Measured:
    """Middleware that counts and times requests, and adds security headers to the responses.

    Args:
        app: The application.
        metrics: The metrics to update.
        paths: Paths that are counted by their own name.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        path = scope["path"] if scope["path"] in self.paths else "other"

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                self.metrics.requests.labels(path, str(message["status"])).inc()
                self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
            await send(message)

        await self.app(scope, receive, send_counted)
