"""COCO-like JSON: iNaturalist's competitions, camera traps, and the exports of annotation tools.

A single file is the whole data set. Of train*.json and val*.json the photos of val*.json are the test photos here,
unless a test*.json has labels too: the competitions did not publish the labels of their own test photos, and
publications report results on val. Validation photos are then held out of the training photos.
"""

import dataclasses
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mge.data.records import SPLITS, PhotoSet, Record, Split
from mge.data.sources.archive import ListedFiles
from mge.data.sources.boxes import box_from_size, largest
from mge.data.sources.paths import ListedPhotos
from mge.data.sources.taxonomy import name_categories, read_id
from mge.errors import DataError

FIRST_KEY = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"(info|images|annotations|categories|licenses|type)"')
NO_IMAGES = re.compile(rb'"images"\s*:\s*\[\s*\]')
ADVICE = "unpack the archives of the photos and of the JSON files here"

Row = Mapping[str, Any]


def is_coco(data: Path) -> bool:
    """Return whether this is such a JSON file, or a folder with one in it."""
    return bool(_coco_files(data, "*.json")) if data.is_dir() else begins_as_coco(data)


def begins_as_coco(file: Path) -> bool:
    """Return whether a file begins like COCO with photos; reading all of a gigabyte to be sure would take long."""
    if file.suffix.lower() != ".json" or not file.is_file():
        return False
    with file.open("rb") as stream:
        start = stream.read(1000)
    return FIRST_KEY.match(start) is not None and NO_IMAGES.search(start) is None


def read_coco(data: Path) -> PhotoSet:
    """Read a JSON file, or those of a folder. Photos without an annotation are left out.

    Raises:
        DataError: a split has several files, or one lacks required entries.
    """
    if data.is_file():
        return read_files({data: None}, name=data.stem, source="COCO-like JSON")
    files: dict[Path, Split | None] = {}
    for split in SPLITS:
        files |= dict.fromkeys(_coco_files(data, f"{split}*.json", at_most=1), split)
    if not files:
        return read_files(
            dict.fromkeys(_coco_files(data, "*.json", at_most=1, at_least=1)), name=data.resolve().name,
            source="COCO-like JSON",
        )  # fmt: skip
    if "train" not in files.values():
        raise DataError(f"{str(data)!r} lacks the file train*.json with images, annotations, categories; {ADVICE}")
    labelled = {file: split for file, split in files.items() if split != "test" or _read_json(file).get("annotations")}
    if "test" not in labelled.values():
        labelled = {file: "test" if split == "val" else split for file, split in labelled.items()}
    if len(labelled) == 1:
        photos = read_files(dict.fromkeys(labelled), name=data.resolve().name, source="COCO-like JSON")
        note = f"{data} has no val*.json or test*.json with labels: test photos are held out of train*.json"
        return dataclasses.replace(photos, notes=(*photos.notes, note))
    source = "COCO-like JSON" + ", val*.json for testing" * (len(labelled) == 2 and "val" in files.values())
    return read_files(labelled, name=data.resolve().name, source=source)


def read_files(files: Mapping[Path, Split | None], *, name: str, source: str) -> PhotoSet:
    """Read JSON files whose photos lie beside them.

    A categories.json beside them names the classes if it exists: in train2018.json the names are numbers.

    Args:
        files: The split of each file.
        name: Name of the data.
        source: Description of their origin.

    Raises:
        DataError: one lacks required entries, or they contradict each other.
    """
    contents = {file: _read_json(file) for file in files}
    annotations = {
        file: _rows(content, "annotations", fields=("image_id", "category_id"), file=file)
        for file, content in contents.items()
    }
    used = {read_id(row["category_id"]) for rows in annotations.values() for row in rows}
    names, parents = name_categories([row for row in _categories(contents) if read_id(row["id"]) in used])
    unnamed = used - set(names)
    if unnamed:
        raise DataError(f"{_spell(files)} does not name the category {min(unnamed)}, which an annotation has")
    records = [
        record
        for file, content in contents.items()
        for record in _records(content, annotations[file], files[file], names=names, file=file)
    ]
    if not records:
        raise DataError(f"{_spell(files)} has no photo with an annotation; give the file that contains the labels")
    return PhotoSet(name, source, tuple(names.values()), tuple(records), parents)


def _coco_files(folder: Path, pattern: str, *, at_least: int = 0, at_most: int | None = None) -> list[Path]:
    """Return the matching files with such JSON: train2018_locations.json, which may lie beside them, has none."""
    files = sorted(file for file in folder.glob(pattern) if begins_as_coco(file))
    if len(files) < at_least:
        raise DataError(f"{str(folder)!r} lacks the file {pattern} with images, annotations, categories; {ADVICE}")
    if at_most is not None and len(files) > at_most:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{str(folder)!r} has {names}; keep one {pattern} in it, and move the others elsewhere")
    return files


def _read_json(file: Path) -> Any:  # noqa: ANN401  (content of a file, checked by `_rows`)
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {error}; download it again") from error


def _rows(content: object, name: str, *, fields: Sequence[str], file: Path) -> list[Row]:
    """Return the rows under a name, after checking that they have the fields."""
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{file} has no list of {name}; expected COCO-like JSON with images, annotations, categories")
    for number, row in enumerate(rows):
        known = isinstance(row, dict)
        missing = [field for field in fields if not known or not isinstance(row.get(field), int | str | float)]
        if missing:
            raise DataError(f"{file} has no {missing[0]} in {name}[{number}]; expected: {', '.join(fields)}")
    return rows


def _categories(contents: Mapping[Path, object]) -> list[Row]:
    """Return the categories of all files, each once."""
    named = [file.parent / "categories.json" for file in contents if (file.parent / "categories.json").is_file()]
    sources = {named[0]: {"categories": _read_json(named[0])}} if named else contents
    categories: dict[str, Row] = {}
    for file, content in sources.items():
        for row in _rows(content, "categories", fields=("id", "name"), file=file):
            first = categories.setdefault(read_id(row["id"]), row)
            if first["name"] != row["name"]:
                raise DataError(f"{file} calls category {row['id']} {row['name']!r}, and another {first['name']!r}")
    return list(categories.values())


def _records(
    content: object, annotations: list[Row], split: Split | None, *, names: Mapping[str, str], file: Path
) -> list[Record]:
    """Return the photos of one file, each with its class, the largest of its boxes, and a camera trap's sequence."""
    labels: dict[str, str] = {}
    boxes = defaultdict(list)
    for row in annotations:
        image, label = read_id(row["image_id"]), names[read_id(row["category_id"])]
        if labels.setdefault(image, label) != label:
            raise DataError(f"{file} gives image {image} two categories, {labels[image]!r} and {label!r}; expected one")
        if row.get("bbox"):
            boxes[image].append(box_from_size(row["bbox"], where=f"{file}, image {image}"))
    images = {read_id(row["id"]): row for row in _rows(content, "images", fields=("id", "file_name"), file=file)}
    unknown = [image for image in labels if image not in images]
    if unknown:
        raise DataError(f"{file} has an annotation of image {unknown[0]}, which its images do not have; {ADVICE}")
    inside, otherwise = ListedFiles(file.parent, advice=ADVICE), ListedPhotos(file.parent)
    records = []
    for image, row in images.items():
        if image not in labels:
            continue
        name, where = str(row["file_name"]), f"{file}, image {image}"
        path = inside.look_up(name, where=where) or inside.look_up(name.replace("\\", "/"), where=where)
        path = path or otherwise.look_up(name) or inside.find(name, where=where)
        records.append(Record(path, labels[image], split, largest(boxes[image]), group=str(row.get("seq_id") or "")))
    return records


def _spell(files: Mapping[Path, object]) -> str:
    return ", ".join(map(str, files))
