"""What the server takes on, and how it refuses the rest."""

import dataclasses

from mge.config import check_ranges

MAX_CONNECTIONS = 800  # a process may often have 1024 files open
# Of a body that is refused: most clients read no answer before they have sent all of it.
MAX_DRAINED_BYTES = 256_000_000
MAX_HELD_BYTES = 256_000_000  # of all bodies that wait to be decoded
RETRY_SECONDS = 1


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much at a time, and for how long.

    Args:
        queue: Photos that are read, waiting or being classified at a time, of all clients together.
        per_client: Of one client's address; 0 is no limit of its own.
        batch_size: Photos that the mixture looks at together.
        batch_seconds: For how long a batch waits for photos that are being decoded.
        max_bytes: Of the body of a request.
        max_photos: Photos in a request.
        header_seconds: For the header of a request to arrive.
        body_seconds: For its body to arrive.
        deadline: Seconds from the end of the body to the answer.
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
    """A request that gets no answer, with the reason.

    Args:
        status: The status code of HTTP.
        reason: One line for the person who asked.
        headers: Further headers of the response.
    """

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, dict(headers or {})
