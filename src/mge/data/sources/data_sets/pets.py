"""Oxford-IIIT Pets: photos in one folder, lists of the splits, and boxes around some heads as XML."""

from pathlib import Path

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import Layout
from mge.data.sources.boxes import largest, read_voc_boxes
from mge.data.sources.source import archive_source
from mge.errors import DataError

LISTS: dict[Split, str] = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}
SPECIES = {"1": "cat", "2": "dog"}
PETS = Layout(
    "Oxford-IIIT Pets",
    ("oxford-iiit-pet",),
    (*LISTS.values(), "images/Abyssinian_1.jpg"),
    "unpack images.tar.gz and annotations.tar.gz here",
)


def read_pets(data: Path) -> PhotoSet:
    """Read Oxford-IIIT Pets: breeds from the names of the photos (`Abyssinian_1.jpg`), with their species above them.

    The boxes are those of the animals' heads, which the archive has for most photos of `trainval` and for no others.

    Raises:
        DataError: a file is missing, or two lines contradict each other.
    """
    archive = PETS.open(data)
    photos, heads = archive.files_in("images"), archive.files_in("annotations/xmls")
    names: dict[int, str] = {}
    parents: dict[str, str] = {}
    records = []
    for split, place in LISTS.items():
        table = archive.table(place, columns=("image", "class id", "species (1 cat, 2 dog)", "number of the breed"))
        for image, (number, species, _) in table.rows.items():
            where = f"{table.file}, image {image}"
            label = image.rsplit("_", 1)[0]
            if not number.isdecimal() or names.setdefault(int(number), label) != label:
                raise DataError(f"{where} has the class id {number}; expected a number that no other breed has")
            if species not in SPECIES or parents.setdefault(label, SPECIES[species]) != SPECIES[species]:
                raise DataError(f"{where} has the species {species}; expected 1 (cat) or 2 (dog), for the whole breed")
            path = photos.find(f"{image}.jpg", where=where)
            head = heads.look_up(f"{image}.xml", where=where)
            box = largest(read_voc_boxes(head, first_pixel=1)) if head else None
            records.append(Record(path, label, split, box))
    return archive.photo_set("images, annotations", [names[number] for number in sorted(names)], records,
                             parents=parents)  # fmt: skip


SOURCES = {"pets": archive_source(PETS, read_pets)}
