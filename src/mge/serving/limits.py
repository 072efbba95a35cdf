"""Limits of the server's load, and the refusal of requests beyond them."""

import dataclasses

from mge.config import check_ranges

MAX_CONNECTIONS = 800  # a process may often have 1024 files open
# Of a refused body: most clients read no response before they have sent all of it.
MAX_DRAINED_BYTES = 256_000_000
MAX_HELD_BYTES = 256_000_000  # of all bodies that wait to be decoded
RETRY_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of concurrency, size and time.

    Args:
        queue: Photos in flight (read, waiting or being classified), of all clients together.
        per_client: Photos in flight per client address; 0: no separate limit.
        batch_size: Largest number of photos in a batch.
        batch_seconds: Longest time that a batch waits for photos that are being decoded.
        max_bytes: Bytes of the body of a request.
        max_photos: Photos in a request.
        header_seconds: Time limit for the header of a request.
        body_seconds: Time limit for its body.
        deadline: Seconds from the end of the body to the response.
        decoders: Threads that decode photos.
    """

    queue: int = 64
    per_client: int = 0
    batch_size: int = 8
    batch_seconds: float = 0.005
    max_bytes: int = 20_000_000
    max_photos: int = 16
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    deadline: float = 30.0
    decoders: int = 2

    def __post_init__(self) -> None:
        check_ranges(self, "queue", "batch_size", "max_bytes", "max_photos", "decoders", at_least=1)
        check_ranges(self, "per_client", "batch_seconds", at_least=0)
        check_ranges(self, "header_seconds", "body_seconds", "deadline", at_least=0.01)


class Refusal(Exception):
    """Refusal of a request, with the reason.

    Args:
        status: The HTTP status code.
        reason: One line for the client.
        headers: Additional headers of the response.
    """

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})
