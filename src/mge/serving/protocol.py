"""HTTP with deadlines: uvicorn alone waits without end for a header, and for a client that does not read."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REASON = b'{"error": "the header did not arrive in time; send it again"}'
TOO_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(REASON), REASON)
)


class DeadlineProtocol(H11Protocol):
    """One connection, which is closed if a header, or reading a response, takes too long."""

    header_seconds = 10.0
    send_seconds = 30.0
    header_timer: asyncio.TimerHandle | None = None
    send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timer for a new connection."""
        super().connection_made(transport)
        self._watch_header()

    def data_received(self, data: bytes) -> None:
        """Handle received data, and update the header timer."""
        super().data_received(data)
        self._watch_header()

    def on_response_complete(self) -> None:
        """Restart the header timer, since the client may send another request."""
        super().on_response_complete()
        self._watch_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers of a closed connection."""
        super().connection_lost(exc)
        for timer in (self.header_timer, self.send_timer):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """Start the send timer, since the client reads more slowly than it is answered."""
        super().pause_writing()
        self.send_timer = self.loop.call_later(self.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the send timer, since the client reads again."""
        super().resume_writing()
        if self.send_timer is not None:
            self.send_timer.cancel()

    def _watch_header(self) -> None:
        """Run a timer while a header is due."""
        if self.conn.their_state is h11.IDLE:
            self.header_timer = self.header_timer or self.loop.call_later(self.header_seconds, self._give_up)
        elif self.header_timer is not None:
            self.header_timer.cancel()
            self.header_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            if self.conn.trailing_data[0]:
                self.transport.write(TOO_LATE)
            self.transport.close()


def protocol_with(*, header_seconds: float) -> type[DeadlineProtocol]:
    """Return the protocol class of a server, which creates an instance for each connection."""
    return type("DeadlineProtocol", (DeadlineProtocol,), {"header_seconds": header_seconds})
