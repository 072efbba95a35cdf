"""Stanford Cars, in both layouts in circulation: with a devkit for each split, and with one file for all photos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import Archive, Layout, ListedFiles
from mge.data.sources.boxes import box_from_edges
from mge.data.sources.matlab import read_structs, read_texts
from mge.data.sources.source import archive_source
from mge.errors import DataError

BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
TEST_LABELS = "cars_test_annos_withlabels.mat"
CARS = Layout(
    "Stanford Cars",
    ("stanford_cars",),
    (
        "devkit/cars_meta.mat",
        "devkit/cars_train_annos.mat",
        "cars_annos.mat",
        "cars_train/00001.jpg",
        "car_ims/000001.jpg",
    ),
    f"unpack cars_train.tgz, cars_test.tgz and car_devkit.tgz here and put {TEST_LABELS} beside them (the devkit's own "
    "cars_test_annos.mat has no labels), or unpack car_ims.tgz and put cars_annos.mat beside it",
)


def read_cars(data: Path) -> PhotoSet:
    """Read Stanford Cars.

    Raises:
        DataError: a file is missing, or refers to classes or photos that do not exist.
    """
    archive = CARS.open(data)
    folder = archive.folder
    has_one_file = (folder / "cars_annos.mat").is_file() or (folder / "car_ims").is_dir()
    return _read_one_file(archive) if has_one_file and not (folder / "devkit").is_dir() else _read_devkit(archive)


def _read_devkit(archive: Archive) -> PhotoSet:
    names = read_texts(archive.file("devkit/cars_meta.mat"), "class_names")
    places: dict[Split, tuple[str, ...]] = {
        "train": ("devkit/cars_train_annos.mat",),
        "test": (TEST_LABELS, f"devkit/{TEST_LABELS}"),
    }
    records = []
    for split, candidates in places.items():
        file, photos = archive.file(*candidates), archive.files_in(f"cars_{split}")
        for annotation in read_structs(file, "annotations", fields=("fname", "class", *BOX)):
            records.append(_record(annotation, annotation["fname"], split, names=names, photos=photos, file=file))
    return archive.photo_set("cars_train, cars_test, devkit", names, records)


def _read_one_file(archive: Archive) -> PhotoSet:
    file = archive.file("cars_annos.mat")
    names = read_texts(file, "class_names")
    archive.files_in("car_ims")  # raises if it is missing
    photos = ListedFiles(archive.folder, advice=archive.advice)
    records = []
    for annotation in read_structs(file, "annotations", fields=("relative_im_path", "class", "test", *BOX)):
        split: Split = "test" if annotation["test"] else "train"
        name = annotation["relative_im_path"]
        records.append(_record(annotation, name, split, names=names, photos=photos, file=file))
    return archive.photo_set("cars_annos.mat, car_ims", names, records)


def _record(
    annotation: Mapping[str, Any], name: str, split: Split, *, names: list[str], photos: ListedFiles, file: Path
) -> Record:
    """Return the photo of one annotation, whose class and pixels are counted from 1."""
    where = f"{file}, photo {name}"
    number = annotation["class"]
    if number not in range(1, len(names) + 1):
        raise DataError(f"{where} has the class {number!r}; accepted: 1 to {len(names)}")
    box = box_from_edges([annotation[edge] for edge in BOX], first_pixel=1, where=where)
    return Record(photos.find(str(name), where=where), names[int(number) - 1], split, box)


SOURCES = {"cars": archive_source(CARS, read_cars)}
