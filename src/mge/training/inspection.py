"""Looking at photos before they are used, and remembering what was seen."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import track

from mge.data.looks import Look, look_at
from mge.data.records import Record
from mge.storage.remembered import Remembered


def inspect(records: Sequence[Record], *, with_hashes: bool, is_quiet: bool = False) -> list[Look]:
    """The looks at photos: those that are remembered, and new ones for what is new or changed.

    Broken photos are looked at each time: a newer decoder may read them, and they are few.

    Args:
        records: The photos.
        with_hashes: Whether hashes and sizes are wanted, too.
        is_quiet: Show no progress.
    """
    remembered = Remembered(record.path for record in records if record.read is None)
    looks: dict[int, Look] = {}
    for number, record in enumerate(records):
        row = remembered.get(record.path) if record.read is None else None
        if row is not None and (not with_hashes or Look._make(row).digest):
            looks[number] = Look._make(row)
    new = [number for number in range(len(records)) if number not in looks]
    seen = look_at([records[number] for number in new], with_hashes=with_hashes)
    try:
        for number, look in zip(new, _with_progress(seen, total=len(new), is_quiet=is_quiet), strict=True):
            looks[number] = look
    finally:  # what was seen before a Ctrl-C, too
        found = {number: looks[number] for number in new if number in looks and not looks[number].error}
        if found:
            remembered.keep({records[n].path: list(look) for n, look in found.items() if records[n].read is None})
    return [looks[number] for number in range(len(records))]


def _with_progress(looks: Iterable[Look], *, total: int, is_quiet: bool) -> Iterable[Look]:
    """A bar with the time left, where a person watches."""
    console = Console(stderr=True)
    is_hidden = is_quiet or not console.is_terminal
    return track(looks, "reading photos", total=total, console=console, transient=True, disable=is_hidden)
