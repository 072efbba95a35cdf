"""Oxford Flowers-102: numbered photos, and two .mat files with their labels and splits."""

from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import Layout
from mge.data.sources.matlab import read_numbers
from mge.data.sources.source import archive_source
from mge.errors import DataError

SPLITS: dict[Split, str] = {"train": "trnid", "val": "valid", "test": "tstid"}
FLOWERS = Layout(
    "Oxford Flowers-102",
    ("flowers-102",),
    ("imagelabels.mat", "setid.mat", "jpg/image_00001.jpg"),
    "unpack 102flowers.tgz here and put imagelabels.mat and setid.mat beside its folder jpg",
)


def read_flowers(data: Path) -> PhotoSet:
    """Read Oxford Flowers-102; the archive has no class names, so they come from torchvision.

    Raises:
        DataError: a file is missing, or two files contradict each other.
    """
    archive = FLOWERS.open(data)
    label_file, split_file = archive.file("imagelabels.mat"), archive.file("setid.mat")
    from torchvision.datasets import Flowers102  # noqa: PLC0415  (takes seconds, and only these names need it)

    names: list[str] = Flowers102.classes
    labels, photos = read_numbers(label_file, "labels"), archive.files_in("jpg")
    records = []
    for split, variable in SPLITS.items():
        for number in read_numbers(split_file, variable):
            where = f"{split_file}, {variable}"
            if number not in range(1, len(labels) + 1):
                raise DataError(f"{where} has photo {number}; accepted: 1 to {len(labels)}, as {label_file} has labels")
            label = labels[number - 1]
            if label not in range(1, len(names) + 1):
                raise DataError(f"{label_file} gives photo {number} the class {label}; accepted: 1 to {len(names)}")
            path = photos.find(f"image_{number:05d}.jpg", where=where)
            records.append(Record(path, names[label - 1], split))
    return archive.photo_set("jpg, imagelabels.mat, setid.mat", names, records)


SOURCES = {"flowers": archive_source(FLOWERS, read_flowers)}
