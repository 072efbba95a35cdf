"""Food-101: one folder per dish, and lists of the splits."""

from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import Layout
from mge.data.sources.source import archive_source
from mge.errors import DataError

LISTS: dict[Split, str] = {"train": "meta/train.txt", "test": "meta/test.txt"}
FOOD = Layout("Food-101", ("food-101",), tuple(LISTS.values()), "unpack food-101.tar.gz again")


def read_food(data: Path) -> PhotoSet:
    """Read Food-101; its classes have the names of the folders, `apple_pie`.

    Raises:
        DataError: a file is missing, or a list names a dish that classes.txt does not.
    """
    archive = FOOD.open(data)
    names = [line for _, line in archive.lines("meta/classes.txt")]
    photos = archive.files_in("images")
    records = []
    for split, place in LISTS.items():
        for where, name in archive.lines(place):
            label = name.split("/")[0]
            if label not in names:
                raise DataError(f"{where} has the dish {label!r}, which meta/classes.txt does not name")
            records.append(Record(photos.find(f"{name}.jpg", where=where), label, split))
    return archive.photo_set("images, meta", names, records)


SOURCES = {"food": archive_source(FOOD, read_food)}
