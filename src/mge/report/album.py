"""A folder of explained photos: one picture each, and pages to look through them."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mge.errors import StorageError
from mge.report.explanation_card import draw_card, draw_parts
from mge.report.figures import Explanation
from mge.report.gallery import Entry, make_entry, write_gallery
from mge.report.png import save_picture

NUM_WAITING = 32  # explanations that wait to be drawn at most: they hold pictures


class Album:
    """Draws explanations beside what makes them, and writes them in order.

    Args:
        folder: Where the pictures go.
        keeps_pages: Whether pages are wanted as well.
    """

    def __init__(self, folder: Path, *, keeps_pages: bool) -> None:
        self.folder, self.keeps_pages = folder, keeps_pages
        self.pictures: list[Path] = []
        self._entries: list[Entry | None] = []
        self._taken: set[str] = set()
        self._waiting: deque[Future[Entry | None]] = deque()
        self._pool = ThreadPoolExecutor()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} is no folder to write to: {error.strerror or error}; give another") from error

    def add(self, explanation: Explanation) -> None:
        """Takes one more explanation.

        Raises:
            StorageError: a picture could not be written.
        """
        file = self.folder / f"{self._free_name(Path(explanation.path).stem)}.png"
        self.pictures.append(file)
        self._waiting.append(self._pool.submit(self._draw, explanation, file))
        while len(self._waiting) > NUM_WAITING:
            self._entries.append(self._waiting.popleft().result())

    def finish(self, *, title: str) -> Path | None:
        """Waits for all pictures and writes the pages.

        Returns:
            What to open: the first page, or the only picture; None where there is nothing.

        Raises:
            StorageError: something could not be written.
        """
        self._entries += [future.result() for future in self._waiting]
        self._pool.shutdown()
        entries = [entry for entry in self._entries if entry is not None]
        if entries:
            return write_gallery(entries, self.folder, title=title)
        return self.pictures[0] if self.pictures else None

    def _draw(self, explanation: Explanation, file: Path) -> Entry | None:
        parts = draw_parts(explanation)
        save_picture(draw_card(explanation, parts), file)
        return make_entry(explanation, parts, file=file.name) if self.keeps_pages else None

    def _free_name(self, stem: str) -> str:
        """The photo's name, and a number where photos of different folders share it."""
        name, number = stem, 1
        while name in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name)
        return name
