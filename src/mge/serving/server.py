"""Running the application: a socket, signals, an end that leaves nobody without an answer."""

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
    """A server that finishes what it took on when it is told to stop, and stops at once when it is told again.

    Args:
        config: Uvicorn's.
        on_start: Called when it answers.
    """

    def __init__(self, config: uvicorn.Config, *, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self.on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen."""
        await super().startup(sockets)
        self.on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While it is open, signals stop the server; uvicorn's own would kill the process with them afterwards."""
        if threading.current_thread() is not threading.main_thread():  # Python takes signals nowhere else
            yield
            return
        previous = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stops; the second time at once."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: it cannot be had.
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
    return ConfigError(f"host {host!r}, port {port} cannot be listened to: {reason}; give another --host or --port")


# Of libraries that would write a line for each odd request, only what is broken is heard.
QUIET = ("python_multipart", "uvicorn", "asyncio")


def build_server(app: FastAPI, *, limits: Limits, on_start: Callable[[], None] = lambda: None) -> Server:
    """A server for an application; `run(sockets=[...])` serves until a signal, or `should_exit`, stops it."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    config = uvicorn.Config(
        app, http=protocol_with(header_seconds=limits.header_seconds), ws="none", lifespan="on", loop="asyncio",
        log_config=None, access_log=False, proxy_headers=False, server_header=False,
        limit_concurrency=MAX_CONNECTIONS, backlog=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.body_seconds + limits.deadline) + 1,
    )  # fmt: skip
    return Server(config, on_start=on_start)
