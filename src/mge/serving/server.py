"""Running of the application: socket, signals, and a graceful shutdown."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from mge.errors import ConfigError
from mge.serving.limits import MAX_CONNECTIONS, Limits
from mge.serving.protocol import protocol_with

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """A server that finishes requests in flight at the first signal, and exits at once at the second.

    Args:
        config: Uvicorn's configuration.
        on_start: Called once the server accepts requests.
    """

    def __init__(self, config: uvicorn.Config, *, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        self.on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop the server on signals while the context is open; uvicorn's own would kill the process afterwards."""
        if threading.current_thread() is not threading.main_thread():  # Python handles signals only there
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully; at the second signal at once."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the address cannot be used.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind)
    except (OSError, OverflowError) as error:
        raise _cannot_listen(host, port, error) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(MAX_CONNECTIONS)
    except OSError as error:
        opened.close()
        raise _cannot_listen(host, port, error) from error
    return opened


def _cannot_listen(host: str, port: int, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else error
    return ConfigError(f"host {host!r}, port {port} cannot be used: {reason}; give another --host or --port")


# Libraries that would log each odd request are limited to errors.
QUIET = ("python_multipart", "uvicorn", "asyncio")


def build_server(app: FastAPI, *, limits: Limits, on_start: Callable[[], None] = lambda: None) -> Server:
    """Build a server for an application; `run(sockets=[...])` serves until a signal, or `should_exit`, stops it."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    config = uvicorn.Config(
        app, http=protocol_with(header_seconds=limits.header_seconds), ws="none", lifespan="on", loop="asyncio",
        log_config=None, access_log=False, proxy_headers=False, server_header=False,
        limit_concurrency=MAX_CONNECTIONS, backlog=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.body_seconds + limits.deadline) + 1,
    )  # fmt: skip
    return Server(config, on_start=on_start)
