"""Checks of a request before routing: its host, and the framing of its body."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Self

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HERE = ("127.0.0.1", "::1", "localhost")
EVERY = "*"
HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::\d{0,5})?")
MAX_SHOWN = 100  # characters of a name repeated in an error


class Hosts:
    """Host names by which a server may be addressed.

    A web page of evil.example can have its name resolved to 127.0.0.1 and then read the responses of a server there
    (DNS rebinding); the browser still sends the page's name as Host. A page cannot be at an address that it does not
    own.

    Args:
        names: Names and addresses, without ports; `*` is every name.
        every_address: Whether any IP address is accepted.
    """

    def __init__(self, names: Iterable[str], *, every_address: bool = False) -> None:
        self.names = frozenset(_normal(name) for name in names if name)
        self.every_address = every_address

    @classmethod
    def of_server(cls, host: str, *, address: str, allowed: Iterable[str] = ()) -> Self:
        """Return the names of a server that listens at an address.

        At a loopback address these are its own names. Elsewhere, where other machines are expected as clients, every
        name is accepted, unless some are given.

        Args:
            host: Configured host.
            address: Address of the socket.
            allowed: Additional names.
        """
        further = [name for name in allowed if name.strip()]
        is_here = ipaddress.ip_address(address).is_loopback
        if not is_here and not further:
            further = [EVERY]
        return cls([host, address, *HERE, *further], every_address=not is_here)

    def accept(self, header: str) -> bool:
        """Return whether a request with this Host is meant for the server."""
        found = HOST.fullmatch(header.strip())
        if found is None:
            return False
        name = _normal(found[1])
        return EVERY in self.names or name in self.names or (self.every_address and _address(name) is not None)


def _normal(name: str) -> str:
    """Normalise a name or address for comparison."""
    name = name.strip().strip("[]").lower().removesuffix(".")
    address = _address(name)
    return name if address is None else str(address)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Front:
    """Middleware that refuses requests for other hosts, or with an ambiguous body.

    Args:
        app: Application that handles the others.
        hosts: Names of the server.
    """

    def __init__(self, app: ASGIApp, *, hosts: Hosts) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))) is not None:
            status, reason = refusal
            await JSONResponse({"error": reason}, status_code=status, headers={"Connection": "close"})(
                scope, receive, send
            )
            return
        await self.app(scope, receive, send)

    def _refusal(self, headers: Headers) -> tuple[int, str] | None:
        if "transfer-encoding" in headers and "content-length" in headers:  # RFC 9112, 6.1: request smuggling
            return 400, "the request has Transfer-Encoding and Content-Length; send one of them"
        host = headers.get("host")
        if host is None or self.hosts.accept(host):  # every browser sends it; old programs may not
            return None
        return 421, (
            f"Host {host[:MAX_SHOWN]!r} is not allowed; accepted: {', '.join(sorted(self.hosts.names))}; add names "
            "with mge serve --allow-host"
        )
