"""A real server on loopback, in a thread of the test."""

import http.client
import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from mge.serving.app import create_app
from mge.serving.backend import Backend
from mge.serving.limits import Limits
from mge.serving.server import build_server, listen

TIMEOUT = 30


@contextmanager
def served(backend: Backend[Any], limits: Limits | None = None, **options: Any) -> Iterator[int]:  # noqa: ANN401
    """The port of a server that runs while the context is open."""
    limits = limits or Limits()
    opened, started = listen("127.0.0.1", 0), threading.Event()
    app = create_app(backend, limits=limits, **options)
    server = build_server(app, limits=limits, on_start=started.set)
    thread = threading.Thread(target=lambda: server.run(sockets=[opened]))
    thread.start()
    assert started.wait(TIMEOUT)
    try:
        yield opened.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def picture(red: int, green: int, blue: int, *, size: tuple[int, int] = (60, 40)) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, (red, green, blue)).save(file, "PNG")
    return file.getvalue()


def post(
    port: int,
    body: bytes | Iterable[bytes],
    *,
    path: str = "/predict",
    kind: str = "image/png",
    **headers: str,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, content and headers of the answer to a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("POST", path, body=body, headers={"Content-Type": kind, **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read()), dict(response.getheaders())
    finally:
        connection.close()


def get(port: int, path: str) -> tuple[int, str]:
    """Status and text of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def figure(port: int, name: str) -> float:
    """The value of one line of /metrics."""
    lines = get(port, "/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def wait_until(is_so: Callable[[], bool]) -> None:
    """Returns when something has come true."""
    latest = time.monotonic() + TIMEOUT
    while not is_so():
        assert time.monotonic() < latest, "it did not come true"
        time.sleep(0.01)
