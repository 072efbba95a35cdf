"""Stanford Dogs: one folder per breed, lists of the splits as .mat files, boxes as XML."""

from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import Layout
from mge.data.sources.boxes import largest, read_voc_boxes
from mge.data.sources.matlab import read_numbers, read_texts
from mge.data.sources.source import archive_source
from mge.errors import DataError

SPLITS: tuple[Split, ...] = ("train", "test")
DOGS = Layout(
    "Stanford Dogs",
    ("stanford_dogs",),
    ("lists/train_list.mat", "lists/test_list.mat", "train_list.mat", "test_list.mat", "Images/n02085620-Chihuahua"),
    "unpack images.tar, annotation.tar and lists.tar here",
)


def read_dogs(data: Path) -> PhotoSet:
    """Read Stanford Dogs; its classes have the names of the folders, `n02085620-Chihuahua`.

    If a photo shows several dogs, the box is that of the largest.

    Raises:
        DataError: a file is missing, or two files contradict each other.
    """
    archive = DOGS.open(data)
    photos, annotations = archive.files_in("Images"), archive.files_in("Annotation")
    names: dict[int, str] = {}
    records = []
    for split in SPLITS:
        file = archive.file(f"lists/{split}_list.mat", f"{split}_list.mat")
        columns = (read_texts(file, "file_list"), read_texts(file, "annotation_list"), read_numbers(file, "labels"))
        if len({len(column) for column in columns}) > 1:
            raise DataError(f"{file} has file_list, annotation_list and labels of different lengths; {archive.advice}")
        for name, annotation, number in zip(*columns, strict=True):
            where = f"{file}, photo {name}"
            label = name.split("/")[0]
            if names.setdefault(number, label) != label:
                raise DataError(f"{where} has the label {number}, which {names[number]!r} has too")
            path = photos.find(name, where=where)
            boxes = read_voc_boxes(annotations.find(annotation, where=where), first_pixel=0)
            records.append(Record(path, label, split, largest(boxes)))
    return archive.photo_set("Images, lists, Annotation", [names[number] for number in sorted(names)], records)


SOURCES = {"dogs": archive_source(DOGS, read_dogs)}
