"""CUB-200-2011 and NABirds: text files with one row per photo, and photos in one folder per class."""

import graphlib
from collections.abc import Mapping
from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import Archive, Layout, distinct_names
from mge.data.sources.boxes import box_from_size
from mge.data.sources.source import Source, archive_source
from mge.errors import DataError

MARKS = ("image_class_labels.txt", "train_test_split.txt")
CUB = Layout("CUB-200-2011", ("CUB_200_2011",), MARKS, "unpack CUB_200_2011.tgz again")
NABIRDS = Layout("NABirds", ("nabirds",), MARKS, "unpack nabirds.tar.gz again")
ONLY_IN_NABIRDS = ("hierarchy.txt", "photographers.txt", "sizes.txt")
IS_TRAINING: dict[str, Split] = {"1": "train", "0": "test"}


def is_nabirds(data: Path) -> bool:
    """Return whether this is NABirds, whose other files have the names of CUB's."""
    home = NABIRDS.find(data)
    return home is not None and any((home / name).is_file() for name in ONLY_IN_NABIRDS)


def read_cub(data: Path) -> PhotoSet:
    """Read CUB-200-2011; its classes have the names of classes.txt, `001.Black_footed_Albatross`.

    Raises:
        DataError: a file is missing, or two files contradict each other.
    """
    archive = CUB.open(data)
    names = {key: name for key, (name,) in archive.table("classes.txt", columns=("class id", "name")).rows.items()}
    return archive.photo_set("text files of the archive", names.values(), _read_records(archive, names))


def read_nabirds(data: Path) -> PhotoSet:
    """Read NABirds with its hierarchy.

    Coarser classes with the name of a finer one get their number appended to the name.

    Raises:
        DataError: a file is missing, two files contradict each other, or the hierarchy has a cycle.
    """
    archive = NABIRDS.open(data)
    names = {key: name for key, (name,) in archive.table("classes.txt", columns=("class id", "name")).rows.items()}
    labels = archive.table("image_class_labels.txt", columns=("image id", "class id"))
    used = {label for (label,) in labels.rows.values()}
    finest_first = sorted(names.items(), key=lambda item: item[0] not in used)
    names = distinct_names((key, name, f"class {key}") for key, name in finest_first)
    hierarchy = archive.table("hierarchy.txt", columns=("class id", "id of the coarser class"))
    parents = _ancestors(used, {child: parent for child, (parent,) in hierarchy.rows.items()}, file=hierarchy.file)
    unnamed = [key for key in (*parents, *parents.values()) if key not in names]
    if unnamed:
        raise DataError(f"{hierarchy.file} names the class {unnamed[0]}, which classes.txt does not; {archive.advice}")
    records = _read_records(archive, names)
    return archive.photo_set(
        "text files of the archive", names.values(), records,
        parents={names[child]: names[parent] for child, parent in parents.items()},
    )  # fmt: skip


def _read_records(archive: Archive, names: Mapping[str, str]) -> list[Record]:
    """Read the photos of images.txt in its order, with their rows of the files beside it."""
    images = archive.table("images.txt", columns=("image id", "path"))
    labels = archive.table("image_class_labels.txt", columns=("image id", "class id"))
    splits = archive.table("train_test_split.txt", columns=("image id", "1 for training or 0 for testing"))
    boxes = archive.table("bounding_boxes.txt", columns=("image id", "x", "y", "width", "height"))
    photos = archive.files_in("images")
    records = []
    for image, (name,) in images.rows.items():
        (label,), (is_training,) = labels.row(image), splits.row(image)
        if label not in names:
            raise DataError(f"{labels.file} gives {image} the class {label}, which classes.txt does not name")
        if is_training not in IS_TRAINING:
            raise DataError(f"{splits.file} has {is_training!r} for {image}; accepted: 1 (training), 0 (testing)")
        path = photos.find(name, where=f"{images.file}, image {image}")
        box = box_from_size(boxes.row(image), where=f"{boxes.file}, image {image}")
        records.append(Record(path, names[label], IS_TRAINING[is_training], box))
    return records


def _ancestors(used: set[str], up: Mapping[str, str], *, file: Path) -> dict[str, str]:
    """Return the part of a hierarchy that lies above the classes in use."""
    parents: dict[str, str] = {}
    for child in sorted(used):
        while child in up and child not in parents:
            parents[child] = up[child]
            child = up[child]
    try:
        graphlib.TopologicalSorter({child: [parent] for child, parent in parents.items()}).prepare()
    except graphlib.CycleError as error:
        raise DataError(f"{file} has a cycle: {' > '.join(error.args[1])}; expected a tree") from error
    return parents


SOURCES = {
    # Before cub, whose files it has and more.
    "nabirds": Source(is_nabirds, read_nabirds, "hierarchy.txt, sizes.txt or photographers.txt beside CUB's files"),
    "cub": archive_source(CUB, read_cub),
}
