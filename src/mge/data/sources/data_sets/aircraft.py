"""FGVC-Aircraft, at its three levels: variant, family, manufacturer.

The photos are used as they are, with the banner of 20 pixels at the bottom that names the photographer, like in
torchvision and most publications. To remove it, crop the files.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Literal

from mge.data.records import SPLITS, PhotoSet, Record
from mge.data.sources.archive import Archive, Layout, distinct_names
from mge.data.sources.boxes import box_from_edges
from mge.data.sources.source import archive_source
from mge.errors import DataError

Level = Literal["variant", "family", "manufacturer"]

NAMES: dict[Level, str] = {"variant": "variants.txt", "family": "families.txt", "manufacturer": "manufacturers.txt"}
LEVELS = tuple(NAMES)
AIRCRAFT = Layout(
    "FGVC-Aircraft",
    ("data", "fgvc-aircraft-2013b/data"),
    ("images_box.txt", "images_variant_train.txt"),
    "unpack fgvc-aircraft-2013b.tar.gz again",
)


def read_aircraft(data: Path, *, level: Level = "variant") -> PhotoSet:
    """Read FGVC-Aircraft; above variants, which most publications use as the classes, are families and manufacturers.

    Args:
        data: The archive's folder, or the one around it.
        level: Level of the classes.

    Raises:
        DataError: a file is missing, or two files contradict each other.
    """
    archive = AIRCRAFT.open(data)
    names = [line for _, line in archive.lines(NAMES[level])]
    boxes = archive.table("images_box.txt", columns=("image", "x1", "y1", "x2", "y2"))
    photos = archive.files_in("images")
    records = []
    for split in SPLITS:
        labels = archive.table(f"images_{level}_{split}.txt", columns=("image", level))
        for image, (label,) in labels.rows.items():
            where = f"{labels.file}, image {image}"
            if label not in names:
                raise DataError(f"{where} has the {level} {label!r}, which {NAMES[level]} does not name")
            box = box_from_edges(boxes.row(image), first_pixel=1, where=f"{boxes.file}, image {image}")
            records.append(Record(photos.find(f"{image}.jpg", where=where), label, split, box))
    return archive.photo_set(f"by {level}", names, records, parents=_parents(archive, level))


def _parents(archive: Archive, level: Level) -> dict[str, str]:
    """Derive the hierarchy from the labels that a photo has at each level.

    A coarser class with the name of a finer one (the family `A310` of the variant `A310`) gets its level appended to
    the name. A class whose photos have several classes above them has no parent.
    """
    levels = LEVELS[LEVELS.index(level) :]
    labels = {each: _labels(archive, each) for each in levels}
    names = distinct_names(
        ((each, name), name, each) for each in levels for name in dict.fromkeys(labels[each].values())
    )
    parents: dict[str, str] = {}
    for finer, coarser in pairwise(levels):
        above = defaultdict(set)
        for image, name in labels[finer].items():
            above[name].add(labels[coarser].get(image))
        for name, candidates in above.items():
            parent = next(iter(candidates))
            if len(candidates) == 1 and parent is not None:
                parents[names[finer, name]] = names[coarser, parent]
    return parents


def _labels(archive: Archive, level: Level) -> Mapping[str, str]:
    """Return the label of each photo at a level."""
    tables = [archive.table(f"images_{level}_{split}.txt", columns=("image", level)) for split in SPLITS]
    return {image: label for table in tables for image, (label,) in table.rows.items()}


SOURCES = {
    "aircraft": archive_source(AIRCRAFT, read_aircraft),
    **{
        f"aircraft-{level}": archive_source(
            AIRCRAFT, functools.partial(read_aircraft, level=level), wants=f"--format aircraft-{level}"
        )
        for level in LEVELS[1:]  # by their names only: aircraft comes first
    },
}
