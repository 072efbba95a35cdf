"""Each benchmark in the layout in which its archive unpacks."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from mge.config import DataConfig
from mge.data.records import PhotoSet
from mge.data.sources import read_photos
from mge.errors import DataError
from tests import archives

OFFICIAL = DataConfig(val_fraction=0)  # nothing held out


class Case(NamedTuple):
    """What a test writes, and what must be read from it."""

    write: Callable[[Path], None]
    title: str  # name and source
    counts: tuple[int, int, int]
    class_names: tuple[str, ...]
    photo: str  # of which the next two lines speak
    label: str
    box: tuple[float, float, float, float] | None
    needed: tuple[str, ...]  # without any of these it cannot be read
    home: str = "."  # where those lie, below the folder that the test writes to


CUB_FILES = ("images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt", "bounding_boxes.txt")
CAR_NAMES = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012")
DATA = "fgvc-aircraft-2013b/data"

CASES = {
    "cub": Case(
        archives.write_cub, "CUB-200-2011, text files of the archive", (4, 0, 2),
        ("001.Black_footed_Albatross", "002.Laysan_Albatross"),
        "images/002.Laysan_Albatross/Laysan_Albatross_0002_2.jpg", "002.Laysan_Albatross", (5, 2, 10, 6),
        (*CUB_FILES, "images"), "CUB_200_2011",
    ),
    "nabirds": Case(
        archives.write_nabirds, "NABirds, text files of the archive", (6, 0, 3),
        ("Osprey", "Common Eider (Adult male)", "Common Eider (Female/juvenile)"),
        "images/0314/0000000421dc4d0cbfe14cae3c85c829.jpg", "Common Eider (Adult male)", (4, 1, 7, 6),
        (*CUB_FILES, "hierarchy.txt", "images"), "nabirds",
    ),
    "cars with a devkit": Case(
        archives.write_cars_devkit, "Stanford Cars, cars_train, cars_test, devkit", (3, 0, 2), CAR_NAMES,
        "cars_train/00002.jpg", CAR_NAMES[1], (1, 1, 6, 8),
        ("cars_train", "cars_test", "devkit/cars_meta.mat", "devkit/cars_train_annos.mat",
         "cars_test_annos_withlabels.mat"),
    ),
    "cars with one file": Case(
        archives.write_cars_one_file, "Stanford Cars, cars_annos.mat, car_ims", (3, 0, 2), CAR_NAMES,
        "car_ims/000004.jpg", CAR_NAMES[1], (3, 1, 8, 8), ("cars_annos.mat", "car_ims"),
    ),
    "aircraft": Case(
        archives.write_aircraft, "FGVC-Aircraft, by variant", (3, 3, 3), ("737-200", "737-300", "A310"),
        "images/0000012.jpg", "737-300", (2, 0, 12, 8),
        ("images", "variants.txt", "images_box.txt", "images_variant_train.txt", "images_variant_val.txt",
         "images_variant_test.txt", "images_family_val.txt", "images_manufacturer_test.txt"), DATA,
    ),
    "dogs": Case(
        archives.write_dogs, "Stanford Dogs, Images, lists, Annotation", (4, 0, 2),
        ("n02085620-Chihuahua", "n02085782-Japanese_spaniel"),
        "Images/n02085620-Chihuahua/n02085620_8.jpg", "n02085620-Chihuahua", (1, 1, 10, 8),
        ("Images", "Annotation", "lists/train_list.mat", "lists/test_list.mat"),
    ),
    "flowers": Case(
        archives.write_flowers, "Oxford Flowers-102, jpg, imagelabels.mat, setid.mat", (2, 2, 2),
        ("pink primrose", "hard-leaved pocket orchid"),
        "jpg/image_00003.jpg", "hard-leaved pocket orchid", None, ("jpg", "imagelabels.mat", "setid.mat"),
    ),
    "pets": Case(
        archives.write_pets, "Oxford-IIIT Pets, images, annotations", (4, 0, 2), ("Abyssinian", "american_bulldog"),
        "images/american_bulldog_1.jpg", "american_bulldog", (4, 0, 9, 8),
        ("images", "annotations/trainval.txt", "annotations/test.txt", "annotations/xmls"),
    ),
    "food": Case(
        archives.write_food, "Food-101, images, meta", (4, 0, 2), ("apple_pie", "baby_back_ribs"),
        "images/baby_back_ribs/1014775.jpg", "baby_back_ribs", None,
        ("images", "meta/train.txt", "meta/test.txt", "meta/classes.txt"), "food-101",
    ),
    "inaturalist": Case(
        archives.write_inaturalist, "inat, COCO-like JSON, val*.json for testing", (4, 0, 2),
        ("Prunella collaris", "Prunella vulgaris"),
        "train/00000_Animalia/0.jpg", "Prunella collaris", (1.5, 2, 5.5, 7), ("train.json",),
    ),
}  # fmt: skip


def write(case: Case, folder: Path) -> Path:
    home = folder / "inat"
    home.mkdir()
    case.write(home)
    return home


def by_path(photos: PhotoSet, end: str) -> object:
    (record,) = [record for record in photos.records if record.path.as_posix().endswith(f"/{end}")]
    assert record.path.is_file()
    return record.label, record.box_xyxy


@pytest.mark.parametrize("name", CASES)
def test_an_archive_is_known_by_its_files_and_read_with_its_own_splits(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    photos = read_photos(write(case, tmp_path), config=OFFICIAL)
    assert f"{photos.name}, {photos.source}" == case.title
    assert tuple(len(photos.split(split)) for split in ("train", "val", "test")) == case.counts
    assert photos.class_names == case.class_names
    assert by_path(photos, case.photo) == (case.label, case.box)


MISSING = [(name, needed) for name, case in CASES.items() for needed in case.needed]


@pytest.mark.parametrize(("name", "needed"), MISSING)
def test_a_half_unpacked_archive_names_what_is_missing_and_what_to_do(name: str, needed: str, tmp_path: Path) -> None:
    home = write(CASES[name], tmp_path)
    place = home / CASES[name].home / needed
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    said = {"train.json": "train*.json"}.get(needed, needed)
    with pytest.raises(DataError, match=f"^.* lacks the (file|folder) {re.escape(said)}.*; .*unpack .*$"):
        read_photos(home, config=OFFICIAL)


@pytest.mark.parametrize("name", CASES)
def test_a_photo_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    home = write(case, tmp_path)
    (path,) = home.rglob(case.photo)
    path.unlink()
    with pytest.raises(DataError, match=f"{path.stem}.*does not exist below .*unpack"):
        read_photos(home, config=OFFICIAL)


@pytest.mark.parametrize(
    ("name", "inner"),
    [("cub", "CUB_200_2011"), ("nabirds", "nabirds"), ("aircraft", "fgvc-aircraft-2013b"), ("aircraft", DATA),
     ("food", "food-101")],
)  # fmt: skip
def test_the_folder_of_an_archive_does_as_well_as_the_one_around_it(name: str, inner: str, tmp_path: Path) -> None:
    outer = write(CASES[name], tmp_path)
    around, inside = (read_photos(folder, config=OFFICIAL) for folder in (outer, outer / inner))
    assert around == inside


@pytest.mark.parametrize(
    ("name", "folder"),
    [("cars with a devkit", "stanford_cars"), ("dogs", "stanford_dogs"), ("flowers", "flowers-102"),
     ("pets", "oxford-iiit-pet")],
)  # fmt: skip
def test_archives_without_a_folder_of_their_own_are_found_in_the_one_that_torchvision_makes(
    name: str, folder: str, tmp_path: Path
) -> None:
    case = CASES[name]
    (tmp_path / folder).mkdir()
    case.write(tmp_path / folder)
    assert len(read_photos(tmp_path, config=OFFICIAL).records) == sum(case.counts)


@pytest.mark.parametrize(
    "name", [*dict.fromkeys(name.split()[0] for name in CASES), "aircraft-family", "aircraft-manufacturer"]
)
def test_a_named_format_says_what_it_misses_where_it_finds_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the (file|folder)"):
        read_photos(tmp_path, config=OFFICIAL, format=name)


def test_a_format_overrides_what_is_recognized(tmp_path: Path) -> None:
    archives.write_cub(tmp_path)
    photos = read_photos(tmp_path / "CUB_200_2011" / "images", config=OFFICIAL, format="folder")
    assert photos.source.startswith("class folders")


def test_class_folders_with_a_stray_file_stay_class_folders(tmp_path: Path) -> None:
    for label in ("robin", "wren"):
        for number in range(3):
            archives.write_jpeg(tmp_path / label / f"{number}.jpg")
    for stray in ("classes.txt", "images.txt", "hierarchy.txt", "train.json", "val.json", "meta.txt"):
        (tmp_path / stray).write_text('{"robin": 1}')
    assert read_photos(tmp_path, config=OFFICIAL).source.startswith("class folders")


def test_where_an_archive_has_no_validation_photos_some_are_held_out_and_it_is_said(tmp_path: Path) -> None:
    archives.write_cub(tmp_path)
    photos = read_photos(tmp_path, config=DataConfig(val_fraction=0.5))
    assert [len(photos.split(split)) for split in ("train", "val", "test")] == [2, 2, 2]
    assert photos.held_out == ("val",)
    archives.write_flowers(tmp_path / "flowers")
    assert read_photos(tmp_path / "flowers", config=DataConfig()).held_out == ()


def test_nabirds_has_its_hierarchy_and_no_name_twice(tmp_path: Path) -> None:
    archives.write_nabirds(tmp_path)
    assert read_photos(tmp_path, config=OFFICIAL).parents == {
        "Osprey": "Osprey (class 1)",
        "Osprey (class 1)": "Birds",
        "Common Eider (Adult male)": "Common Eider",
        "Common Eider (Female/juvenile)": "Common Eider",
        "Common Eider": "Ducks, Geese, and Swans",
        "Ducks, Geese, and Swans": "Birds",
    }


def test_a_hierarchy_that_runs_in_circles_is_refused(tmp_path: Path) -> None:
    archives.write_nabirds(tmp_path)
    with (tmp_path / "nabirds" / "hierarchy.txt").open("a") as file:
        file.write("0 3\n")
    with pytest.raises(DataError, match=r"hierarchy\.txt has a cycle: 0 > 2 > 3 > 0"):
        read_photos(tmp_path, config=OFFICIAL)


def test_aircraft_come_by_family_and_manufacturer_too(tmp_path: Path) -> None:
    archives.write_aircraft(tmp_path)
    variants, families, makers = (
        read_photos(tmp_path, config=OFFICIAL, format=name)
        for name in ("aircraft", "aircraft-family", "aircraft-manufacturer")
    )
    assert families.class_names == ("A310", "Boeing 737")
    assert makers.class_names == ("Airbus", "Boeing")
    assert len(variants.records) == len(families.records) == len(makers.records) == 9
    assert variants.parents == {
        "737-200": "Boeing 737", "737-300": "Boeing 737", "Boeing 737": "Boeing",
        "A310": "A310 (family)", "A310 (family)": "Airbus",
    }  # fmt: skip
    assert families.parents == {"A310": "Airbus", "Boeing 737": "Boeing"}
    assert makers.parents == {}


def test_pets_have_their_species_above_them_and_heads_only_where_somebody_drew_them(tmp_path: Path) -> None:
    archives.write_pets(tmp_path)
    photos = read_photos(tmp_path, config=OFFICIAL)
    assert photos.parents == {"Abyssinian": "cat", "american_bulldog": "dog"}
    assert by_path(photos, "american_bulldog_2.jpg") == ("american_bulldog", None)
    assert all(record.box_xyxy is None for record in photos.split("test"))


def test_lists_of_dogs_may_lie_beside_the_photos(tmp_path: Path) -> None:
    archives.write_dogs(tmp_path)
    for file in (tmp_path / "lists").iterdir():
        file.rename(tmp_path / file.name)
    (tmp_path / "lists").rmdir()
    assert len(read_photos(tmp_path, config=OFFICIAL).records) == 6


def test_labels_of_test_cars_may_lie_in_the_devkit(tmp_path: Path) -> None:
    archives.write_cars_devkit(tmp_path)
    name = "cars_test_annos_withlabels.mat"
    (tmp_path / name).rename(tmp_path / "devkit" / name)
    assert len(read_photos(tmp_path, config=OFFICIAL).split("test")) == 2


WRONG = [
    ("cub", "CUB_200_2011/images.txt", "1 ../../x.jpg", r"image 1 names '\.\./\.\./x\.jpg', which is not a file below"),
    ("cub", "CUB_200_2011/images.txt", "1 /etc/passwd", "image 1 names '/etc/passwd', which is not a file below"),
    ("cub", "CUB_200_2011/images.txt", "1", "line 1 is '1'; expected: image id, path"),
    ("cub", "CUB_200_2011/image_class_labels.txt", "2 1", r"image_class_labels\.txt has no line for '1'"),
    ("cub", "CUB_200_2011/image_class_labels.txt", "1 7\n2 1", "gives 1 the class 7, which classes.txt does not name"),
    ("cub", "CUB_200_2011/train_test_split.txt", "1 yes\n2 1", "has 'yes' for 1; accepted: 1"),
    ("cub", "CUB_200_2011/bounding_boxes.txt", "1 5 5 0 4\n2 1 1 1 1", "image 1 has the box .* which is empty"),
    ("cub", "CUB_200_2011/classes.txt", "1 wren\n2 wren", "has two classes called 'wren'"),
    ("nabirds", "nabirds/hierarchy.txt", "295 77", r"hierarchy\.txt names the class 77"),
    ("aircraft", f"{DATA}/images_variant_val.txt", "0000001 Concorde", "the variant 'Concorde'"),
    ("pets", "annotations/test.txt", "Abyssinian_3 2 1 1\namerican_bulldog_3 2 2 1", "has the class id 2"),
    ("pets", "annotations/test.txt", "Abyssinian_3 1 2 1", "has the species 2"),
    ("food", "food-101/meta/test.txt", "gruel/1", "line 1 has the dish 'gruel'"),
    ("dogs", "Annotation/n02085620-Chihuahua/n02085620_7", "<!DOCTYPE a><a/>", "declares a document type"),
]


@pytest.mark.parametrize(("name", "place", "content", "match"), WRONG)
def test_files_that_make_no_sense_are_refused_with_the_place(
    name: str, place: str, content: str, match: str, tmp_path: Path
) -> None:
    home = write(CASES[name], tmp_path)
    (home / place).write_text(content)
    with pytest.raises(DataError, match=match):
        read_photos(home, config=OFFICIAL)


def test_numbers_of_cars_may_be_stored_with_a_fraction_of_nothing(tmp_path: Path) -> None:
    archives.write_cars_one_file(tmp_path)
    row = {"relative_im_path": "car_ims/000001.jpg", "bbox_x1": 1.0, "bbox_y1": 2.0, "bbox_x2": 5.0, "bbox_y2": 8.0,
           "class": 2.0, "test": 0.0}  # fmt: skip
    variables = {"annotations": archives.structs([row] * 2), "class_names": archives.cells(CAR_NAMES)}
    archives.write_mat(tmp_path / "cars_annos.mat", variables)
    photos = read_photos(tmp_path, config=OFFICIAL, is_for_training=False)
    assert [record.label for record in photos.records] == [CAR_NAMES[1]]  # the same row twice


def test_a_car_or_flower_of_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    archives.write_cars_devkit(tmp_path / "cars")
    archives.write_mat(tmp_path / "cars" / "devkit" / "cars_meta.mat", {"class_names": archives.cells(["a Hummer"])})
    with pytest.raises(DataError, match=r"photo 00002\.jpg has the class 2; accepted: 1 to 1"):
        read_photos(tmp_path / "cars", config=OFFICIAL)
    archives.write_flowers(tmp_path / "flowers")
    archives.write_mat(tmp_path / "flowers" / "imagelabels.mat", {"labels": [[103, 1, 1]]})
    with pytest.raises(DataError, match="gives photo 1 the class 103; accepted: 1 to 102"):
        read_photos(tmp_path / "flowers", config=OFFICIAL)
    archives.write_mat(tmp_path / "flowers" / "imagelabels.mat", {"labels": [[1]]})
    with pytest.raises(DataError, match="trnid has photo 2; accepted: 1 to 1"):
        read_photos(tmp_path / "flowers", config=OFFICIAL)
