"""A folder of explained photos: one picture each, and pages to look through them."""

from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mge.errors import StorageError
from mge.report.explanation_card import draw_card, draw_parts
from mge.report.figures import Explanation
from mge.report.gallery import GalleryEntry, make_entry, write_page
from mge.report.picture_file import save_picture

NUM_WAITING = 32  # explanations that wait to be drawn at most: they hold pictures
PER_PAGE = 100  # photos: about 6 MB


class GalleryWriter:
    """Draws explanations beside what makes them, and writes them in order: each page when it is full.

    Args:
        folder: Where the pictures go.
        title: Of the pages.
        num_photos: How many will come, or are passed over. Of several there are pages as well: `index.html`, and
            `index-2.html` and so on where one would be too heavy.
    """

    def __init__(self, folder: Path, *, title: str, num_photos: int) -> None:
        self.folder, self.title, self.keeps_pages = folder, title, num_photos > 1
        self.pictures: list[Path] = []
        self._pages = ["index.html", *(f"index-{page + 1}.html" for page in range(1, -(-num_photos // PER_PAGE)))]
        self._num_written = 0
        # Of the page that comes next; None for a photo that is passed over.
        self._entries: list[GalleryEntry | None] = []
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = defaultdict(lambda: 1)  # the last that was given to photos of the same name
        self._waiting: deque[Future[GalleryEntry | None]] = deque()
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
        self._wait_for(self._pool.submit(self._draw, explanation, file))

    def pass_over(self) -> None:
        """Leaves out the photo that would come next."""
        self._wait_for(self._pool.submit(lambda: None))

    def finish(self) -> Path | None:
        """Waits for all pictures and writes the last page.

        Returns:
            What to open: the first page, or the only picture; None where there is nothing.

        Raises:
            StorageError: something could not be written.
        """
        while self._waiting:
            self._take()
        self._pool.shutdown()
        if not self.pictures:
            return None
        if self._entries and self.keeps_pages:
            self._write_page()
        return self.folder / self._pages[0] if self.keeps_pages else self.pictures[0]

    def _wait_for(self, drawn: Future[GalleryEntry | None]) -> None:
        self._waiting.append(drawn)
        while len(self._waiting) > NUM_WAITING:
            self._take()

    def _take(self) -> None:
        """Takes what was drawn first, and writes the page that it fills."""
        self._entries.append(self._waiting.popleft().result())
        if len(self._entries) == PER_PAGE:
            self._write_page()

    def _write_page(self) -> None:
        entries = [entry for entry in self._entries if entry is not None]
        write_page(entries, self.folder, title=self.title, names=self._pages, number=self._num_written)
        self._num_written += 1
        self._entries = []

    def _draw(self, explanation: Explanation, file: Path) -> GalleryEntry | None:
        parts = draw_parts(explanation)
        save_picture(draw_card(explanation, parts), file)
        return make_entry(explanation, parts, file=file.name) if self.keeps_pages else None

    def _free_name(self, stem: str) -> str:
        """The photo's name, and a number where photos of different folders share it."""
        name = stem
        while name in self._taken:
            self._numbers[stem] += 1
            name = f"{stem}-{self._numbers[stem]}"
        self._taken.add(name)
        return name
