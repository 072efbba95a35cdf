"""Small benchmarks, written in the exact layout in which their archives unpack."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

SIZE = (12, 8)


def write_jpeg(file: Path) -> None:
    """The smallest photo that will do; readers of archives do not open it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (120, 90, 60)).save(file, "JPEG")


def write_lines(file: Path, lines: Sequence[str]) -> None:
    """A text file as the archives have them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_mat(file: Path, variables: Mapping[str, Any]) -> None:
    """A compressed .mat file, as MATLAB saves it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(file, dict(variables), do_compression=True)


def cells(texts: Sequence[str], *, column: bool = False) -> np.ndarray:
    """MATLAB's cell array: a row, or a column."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(-1, 1) if column else array.reshape(1, -1)


def structs(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """MATLAB's array of structures."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for number, row in enumerate(rows):
        array[0, number] = tuple(row.values())
    return array


def voc_xml(*boxes: tuple[int, int, int, int]) -> str:
    """A PASCAL VOC annotation."""
    objects = "".join(
        f"\n\t<object>\n\t\t<name>thing</name>\n\t\t<bndbox>\n\t\t\t<xmin>{x1}</xmin>\n\t\t\t<ymin>{y1}</ymin>"
        f"\n\t\t\t<xmax>{x2}</xmax>\n\t\t\t<ymax>{y2}</ymax>\n\t\t</bndbox>\n\t</object>"
        for x1, y1, x2, y2 in boxes
    )
    width, height = SIZE
    return f"<annotation>\n\t<size><width>{width}</width><height>{height}</height></size>{objects}\n</annotation>\n"


def write_cub(folder: Path) -> None:
    """Two birds with two training photos and one test photo each."""
    home = folder / "CUB_200_2011"
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    photos = [f"{name}/{name[4:]}_{number:04d}_{number}.jpg" for name in names for number in (1, 2, 3)]
    for photo in photos:
        write_jpeg(home / "images" / photo)
    ids = range(1, 7)
    write_lines(home / "images.txt", [f"{i} {photo}" for i, photo in zip(ids, photos, strict=True)])
    write_lines(home / "image_class_labels.txt", [f"{i} {1 if i <= 3 else 2}" for i in ids])
    write_lines(home / "train_test_split.txt", [f"{i} {0 if i % 3 == 0 else 1}" for i in ids])
    write_lines(home / "bounding_boxes.txt", [f"{i} {i}.0 2.0 5.0 4.0" for i in ids])
    write_lines(home / "classes.txt", [f"{i} {name}" for i, name in enumerate(names, start=1)])
    write_lines(folder / "attributes.txt", ["1 has_bill_shape::curved_(up_or_down)"])


def write_nabirds(folder: Path) -> None:
    """An osprey whose family is called Osprey too, and the two sexes of a duck."""
    home = folder / "nabirds"
    classes = {0: "Birds", 1: "Osprey", 2: "Ducks, Geese, and Swans", 3: "Common Eider", 295: "Osprey",
               314: "Common Eider (Adult male)", 315: "Common Eider (Female/juvenile)", 400: "Unseen Bird"}  # fmt: skip
    write_lines(home / "classes.txt", [f"{key} {name}" for key, name in classes.items()])
    write_lines(home / "hierarchy.txt", ["1 0", "2 0", "3 2", "295 1", "314 3", "315 3", "400 0"])
    rows = []
    for number, label in enumerate([295, 295, 295, 314, 314, 314, 315, 315, 315]):
        image = f"0000{number:04x}-21dc-4d0c-bfe1-4cae3c85c829"
        photo = f"{label:04d}/{image.replace('-', '')}.jpg"
        write_jpeg(home / "images" / photo)
        rows.append((image, photo, label, int(number % 3 < 2)))
    write_lines(home / "images.txt", [f"{image} {photo}" for image, photo, _, _ in rows])
    write_lines(home / "image_class_labels.txt", [f"{image} {label}" for image, _, label, _ in rows])
    write_lines(home / "train_test_split.txt", [f"{image} {split}" for image, _, _, split in rows])
    write_lines(home / "bounding_boxes.txt", [f"{row[0]} {number} 1 3 5" for number, row in enumerate(rows)])
    write_lines(home / "sizes.txt", [f"{image} 12 8" for image, *_ in rows])
    write_lines(home / "photographers.txt", [f"{image} A. Person" for image, *_ in rows])


CAR_NAMES = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]


def _car(number: int, label: int) -> dict[str, Any]:
    return {"bbox_x1": number, "bbox_y1": 2, "bbox_x2": number + 4, "bbox_y2": 8, "class": label}


def write_cars_devkit(folder: Path) -> None:
    """Three training and two test photos, boxes from 1."""
    for split, labels, place in (
        ("train", [1, 2, 1], "devkit/cars_train_annos.mat"),
        ("test", [2, 1], "cars_test_annos_withlabels.mat"),
    ):
        rows = []
        for number, label in enumerate(labels, start=1):
            write_jpeg(folder / f"cars_{split}" / f"{number:05d}.jpg")
            rows.append({**_car(number, label), "fname": f"{number:05d}.jpg"})
        write_mat(folder / place, {"annotations": structs(rows)})
    write_mat(folder / "devkit" / "cars_meta.mat", {"class_names": cells(CAR_NAMES)})
    unlabelled = [{"bbox_x1": 1, "bbox_y1": 1, "bbox_x2": 2, "bbox_y2": 2, "fname": "00001.jpg"}] * 2
    write_mat(folder / "devkit" / "cars_test_annos.mat", {"annotations": structs(unlabelled)})


def write_cars_one_file(folder: Path) -> None:
    """The same five photos in one folder, with one file that has the flag `test`."""
    rows = []
    for number, (label, is_test) in enumerate([(1, 0), (2, 0), (1, 0), (2, 1), (1, 1)], start=1):
        name = f"car_ims/{number:06d}.jpg"
        write_jpeg(folder / name)
        rows.append({"relative_im_path": name, **_car(number, label), "test": is_test})
    write_mat(folder / "cars_annos.mat", {"annotations": structs(rows), "class_names": cells(CAR_NAMES)})


def write_aircraft(folder: Path) -> None:
    """Three variants of two makers; a variant and its family are both called A310."""
    home = folder / "fgvc-aircraft-2013b" / "data"
    lineages = [("737-200", "Boeing 737", "Boeing"), ("737-300", "Boeing 737", "Boeing"), ("A310", "A310", "Airbus")]
    levels = {"variant": "variants", "family": "families", "manufacturer": "manufacturers"}
    for position, (level, plural) in enumerate(levels.items()):
        write_lines(home / f"{plural}.txt", sorted({lineage[position] for lineage in lineages}))
        for start, split in enumerate(("train", "val", "test")):
            lines = [f"{10 * number + start:07d} {lineage[position]}" for number, lineage in enumerate(lineages)]
            write_lines(home / f"images_{level}_{split}.txt", lines)
    images = [f"{10 * number + start:07d}" for number in range(3) for start in range(3)]
    for image in images:
        write_jpeg(home / "images" / f"{image}.jpg")
    write_lines(home / "images_box.txt", [f"{image} 3 1 {10 + int(image) % 10} 8" for image in images])
    write_lines(folder / "fgvc-aircraft-2013b" / "README.md", ["# FGVC-Aircraft Benchmark"])


def write_dogs(folder: Path) -> None:
    """Two breeds; one photo shows two dogs."""
    breeds = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel"]
    for split, numbers in (("train", (7, 8)), ("test", (10074,))):
        names = [f"{breed}/{breed[:9]}_{number}" for breed in breeds for number in numbers]
        for number, name in enumerate(names):
            write_jpeg(folder / "Images" / f"{name}.jpg")
            boxes = [(0, 0, 3, 3)] * (name.endswith("_8")) + [(number, 1, 10, 8)]
            write_lines(folder / "Annotation" / name, [voc_xml(*boxes)])
        labels = np.array([[float(1 + breeds.index(name.split("/")[0]))] for name in names])
        write_mat(
            folder / "lists" / f"{split}_list.mat",
            {
                "file_list": cells([f"{name}.jpg" for name in names], column=True),
                "annotation_list": cells(names, column=True),
                "labels": labels,
            },
        )


def write_flowers(folder: Path) -> None:
    """Photos 1 to 6 of the classes 2, 1, 2, 1, 2, 1: two for each split."""
    for number in range(1, 7):
        write_jpeg(folder / "jpg" / f"image_{number:05d}.jpg")
    write_mat(folder / "imagelabels.mat", {"labels": np.array([[2, 1, 2, 1, 2, 1]], dtype=np.uint8)})
    ids = {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[6, 5]]}
    write_mat(folder / "setid.mat", {name: np.array(value, dtype=np.uint16) for name, value in ids.items()})


def write_pets(folder: Path) -> None:
    """A cat and a dog; heads have boxes in most of the training photos."""
    breeds = [("Abyssinian", 1, 1, 1), ("american_bulldog", 2, 2, 1)]
    for split, numbers in (("trainval", (1, 2)), ("test", (3,))):
        rows = [(f"{name}_{number}", *rest) for name, *rest in breeds for number in numbers]
        for image, *_ in rows:
            write_jpeg(folder / "images" / f"{image}.jpg")
        write_lines(folder / "annotations" / f"{split}.txt", [" ".join(map(str, row)) for row in rows])
    for number, image in enumerate(("Abyssinian_1", "Abyssinian_2", "american_bulldog_1")):
        write_lines(folder / "annotations" / "xmls" / f"{image}.xml", [voc_xml((3 + number, 1, 9, 8))])
    write_lines(folder / "annotations" / "list.txt", ["#Image CLASS-ID SPECIES BREED ID"])


def write_food(folder: Path) -> None:
    """Two dishes with two training photos and a test photo each."""
    home = folder / "food-101"
    dishes = ["apple_pie", "baby_back_ribs"]
    lists = {"train": (1005649, 1014775), "test": (1011328,)}
    for split, numbers in lists.items():
        names = {dish: [f"{dish}/{number}" for number in numbers] for dish in dishes}
        for name in (name for dish in dishes for name in names[dish]):
            write_jpeg(home / "images" / f"{name}.jpg")
        write_lines(home / "meta" / f"{split}.txt", [name for dish in dishes for name in names[dish]])
        (home / "meta" / f"{split}.json").write_text(json.dumps(names))
    write_lines(home / "meta" / "classes.txt", dishes)
    write_lines(home / "meta" / "labels.txt", ["Apple pie", "Baby back ribs"])


INATURALIST_CATEGORIES = [
    {"id": 0, "name": "Prunella collaris", "supercategory": "Birds", "kingdom": "Animalia", "phylum": "Chordata",
     "class": "Aves", "order": "Passeriformes", "family": "Prunellidae", "genus": "Prunella"},
    {"id": 1, "name": "Prunella vulgaris", "supercategory": "Plants", "kingdom": "Plantae", "phylum": "Tracheophyta",
     "class": "Magnoliopsida", "order": "Lamiales", "family": "Lamiaceae", "genus": "Prunella"},
    {"id": 2, "name": "Nobody saw it", "supercategory": "Fungi"},
]  # fmt: skip


def write_inaturalist(folder: Path) -> None:
    """As of 2021: two species whose genera have the same name, a box for one of the photos."""
    image_id = 0
    for split, count in (("train", 2), ("val", 1)):
        images, annotations = [], []
        for category in (0, 1):
            for number in range(count):
                name = f"{split}/0000{category}_Animalia/{image_id}.jpg"
                write_jpeg(folder / name)
                images.append({"id": image_id, "width": 12, "height": 8, "file_name": name})
                annotations.append({"id": image_id, "image_id": image_id, "category_id": category})
                if category == number == 0:
                    annotations[-1]["bbox"] = [1.5, 2, 4, 5]  # type: ignore[assignment]
                image_id += 1
        content = {"info": {"year": 2021}, "images": images, "categories": INATURALIST_CATEGORIES,
                   "annotations": annotations, "licenses": []}  # fmt: skip
        (folder / f"{split}.json").write_text(json.dumps(content))
    (folder / "train_locations.json").write_text(json.dumps([{"id": 0, "lat": 1.0}]))
