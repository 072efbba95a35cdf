"""Speed of a long job, and the time it still takes."""

import time


class Pace:
    """Speed of a job, measured from the end of its first piece, which may include preparation.

    Args:
        total: Amount of work.
        done: Amount done before.
    """

    def __init__(self, *, total: float, done: float = 0.0) -> None:
        self.total, self.done = total, done
        self._first: tuple[float, float] | None = None  # time and work done at the end of the first piece
        self._now = 0.0
        self.pieces = 0

    def advance(self, amount: float) -> None:
        """Advance by so much."""
        self._now = time.monotonic()
        self.done += amount
        self.pieces += 1
        if self._first is None:
            self._first = self._now, self.done

    @property
    def rate(self) -> float | None:
        """Amount per second; None before the second piece."""
        if self._first is None or self.done <= self._first[1]:
            return None
        return (self.done - self._first[1]) / max(self._now - self._first[0], 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the end; None before the second piece."""
        return None if self.rate is None else max(0.0, self.total - self.done) / self.rate


def describe_seconds(seconds: float) -> str:
    """Describe a duration, as `90 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
