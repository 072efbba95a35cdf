"""Admission control: a limited number of photos at a time."""

from collections import Counter
from typing import Self

from mge.serving.limits import MAX_HELD_BYTES, RETRY_SECONDS, Limits, Refusal

RETRY = {"Retry-After": str(RETRY_SECONDS)}


class Admission:
    """Counter of the photos and bytes in flight; used by the event loop's thread only."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.photos = 0
        self.held_bytes = 0
        self.by_client: Counter[str] = Counter()

    def enter(self, client: str) -> "Place":
        """Reserve a place for a request of one photo.

        Raises:
            Refusal: there is none left: 503, or 429 if this client has used up its share.
        """
        place = Place(self, client)
        place.take(1)
        return place


class Place:
    """The resources reserved by a request. As a context manager it releases all of them at its end."""

    def __init__(self, admission: Admission, client: str) -> None:
        self.admission, self.client = admission, client
        self.photos = 0
        self.held_bytes = 0

    def take(self, photos: int) -> None:
        """Reserve places for more photos.

        Raises:
            Refusal: there are not enough left.
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
        """Reserve memory for more bytes.

        Raises:
            Refusal: there is not enough left.
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
