"""Who may come in: as many photos at a time as the server has places for."""

from collections import Counter
from typing import Self

from mge.serving.limits import MAX_HELD_BYTES, RETRY_SECONDS, Limits, Refusal

RETRY = {"Retry-After": str(RETRY_SECONDS)}


class Admission:
    """Counts photos and bytes that the server has taken on; it is used by the event loop's thread only."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.photos = 0
        self.held_bytes = 0
        self.by_client: Counter[str] = Counter()

    def enter(self, client: str) -> "Place":
        """A place for a request of one photo.

        Raises:
            Refusal: there is none left: 503, or 429 where this client has its share already.
        """
        place = Place(self, client)
        place.take(1)
        return place


class Place:
    """What a request takes up. Used as a context: at its end all is given back."""

    def __init__(self, admission: Admission, client: str) -> None:
        self.admission, self.client = admission, client
        self.photos = 0
        self.held_bytes = 0

    def take(self, photos: int) -> None:
        """Takes room for more photos.

        Raises:
            Refusal: there is not enough of it left.
        """
        admission, limits = self.admission, self.admission.limits
        if admission.photos + photos > limits.queue:
            raise Refusal(503, f"the server is busy with {admission.photos} photos; try again in a moment", RETRY)
        if limits.per_client and admission.by_client[self.client] + photos > limits.per_client:
            raise Refusal(
                429, f"too many photos in flight; accepted per client: {limits.per_client}; wait for the results", RETRY
            )
        admission.photos += photos
        admission.by_client[self.client] += photos
        self.photos += photos

    def hold(self, num_bytes: int) -> None:
        """Takes room for more bytes.

        Raises:
            Refusal: there is not enough of it left.
        """
        if self.admission.held_bytes + num_bytes > MAX_HELD_BYTES:
            raise Refusal(503, "the server cannot hold more uploads; try again in a moment", RETRY)
        self.admission.held_bytes += num_bytes
        self.held_bytes += num_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        admission = self.admission
        admission.photos -= self.photos
        admission.held_bytes -= self.held_bytes
        admission.by_client[self.client] -= self.photos
        if not admission.by_client[self.client]:
            del admission.by_client[self.client]
        self.photos = self.held_bytes = 0
