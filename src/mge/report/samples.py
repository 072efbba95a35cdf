"""The pictures of `mge check`: samples of each class, and copies side by side."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from mge.data.check.findings import Copies, Findings
from mge.data.check.scan import PhotoScan
from mge.data.photo import open_photo
from mge.data.records import PhotoSet, Record, spread_out
from mge.report.check_report import worst_first
from mge.report.grid import Strip, draw_contact_sheet

SAMPLES, COPIES = "samples.png", "copies.png"
MAX_CLASSES, NUM_SAMPLES, SAMPLE_SIDE = 200, 4, 72
MAX_COPIES, NUM_IN_GROUP, COPY_SIDE = 60, 3, 128


def draw_findings(folder: Path, photos: PhotoSet, scans: Sequence[PhotoScan], findings: Findings) -> list[Path]:
    """Draws samples of the classes, and the copies where there are any.

    Args:
        folder: Where the pictures go.
        photos: The photos.
        scans: What was seen of each: broken ones are not drawn.
        findings: What was found.

    Returns:
        The files that were written.
    """
    readable = [record for record, scan in zip(photos.records, scans, strict=True) if not scan.error]
    written = []
    if readable:
        strips = list(_sample_strips(photos.class_names, readable))
        of = f" of {len(photos.class_names)}" if len(photos.class_names) > len(strips) else ""
        title = f"{photos.name}: {len(strips)}{of} classes, with the number of their photos"
        draw_contact_sheet(strips, folder / SAMPLES, side=SAMPLE_SIDE, title=title)
        written.append(folder / SAMPLES)
    copies = worst_first((*findings.exact, *findings.near))
    if copies:
        records = {str(record.path): record for record in readable}
        strips = [_copies_strip(found, records) for found in copies[:MAX_COPIES]]
        title = f"{photos.name}: copies, {len(strips)} of {len(copies)} groups, the worst first"
        draw_contact_sheet(strips, folder / COPIES, side=COPY_SIDE, title=title)
        written.append(folder / COPIES)
    return written


def _sample_strips(class_names: Sequence[str], records: Sequence[Record]) -> Iterator[Strip]:
    """Photos of each class, spread over what it has; of very many classes a share, spread over all of them."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_label[record.label].append(record)
    names = spread_out([name for name in class_names if by_label[name]], count=MAX_CLASSES)
    for name in names:
        chosen = spread_out(by_label[name], count=NUM_SAMPLES)
        yield Strip(f"{name} ({len(by_label[name])})", _open_small(chosen, side=SAMPLE_SIDE))


def _copies_strip(copies: Copies, records: dict[str, Record]) -> Strip:
    shown = copies.photos[:NUM_IN_GROUP]
    captions = dict.fromkeys(f"{photo.label}, {photo.split}" for photo in shown)
    return Strip(" | ".join(captions), _open_small([records[photo.path] for photo in shown], side=COPY_SIDE))


def _open_small(records: Sequence[Record], *, side: int) -> list[Image.Image]:
    def open_one(record: Record) -> Image.Image:
        photo = open_photo(record.content, at_least_px=2 * side)
        photo.thumbnail((side, side))
        return photo

    with ThreadPoolExecutor() as pool:
        return list(pool.map(open_one, records))
