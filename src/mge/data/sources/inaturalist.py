"""iNaturalist's competitions, and other data with COCO-like JSON: train*.json and val*.json.

The photos of val*.json are the test photos here: the competitions kept the labels of their own test photos to
themselves, and what is published is measured on val. Validation photos are held out of the training photos.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mge.data.records import PhotoSet, Record, Split
from mge.data.sources.archive import ListedFiles, distinct_names
from mge.data.sources.boxes import box_from_size, largest
from mge.errors import DataError

PATTERNS: dict[Split, str] = {"train": "train*.json", "test": "val*.json"}
FIRST_KEY = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*"(info|images|annotations|categories|licenses|type)"')
RANKS = ("genus", "family", "order", "class", "phylum", "kingdom")
ADVICE = "unpack the archives of the photos and of both JSON files here"

Row = Mapping[str, Any]


def is_inaturalist(folder: Path) -> bool:
    """Whether a folder holds such JSON files, or one of the two."""
    return folder.is_dir() and any(_coco_files(folder, pattern) for pattern in PATTERNS.values())


def read_inaturalist(folder: Path) -> PhotoSet:
    """Reads the two JSON files of a folder. Photos without an annotation are left out.

    A categories.json beside them names the classes where it exists: in train2018.json the names are numbers.

    Raises:
        DataError: a file is missing, a split has several, or one lacks what is needed.
    """
    files = {split: _only_file(folder, pattern) for split, pattern in PATTERNS.items()}
    contents = {split: _read_json(file) for split, file in files.items()}
    annotations = {
        split: _rows(content, "annotations", fields=("image_id", "category_id"), file=files[split])
        for split, content in contents.items()
    }
    used = {row["category_id"] for rows in annotations.values() for row in rows}
    named = folder / "categories.json"
    categories = {"categories": _read_json(named)} if named.is_file() else contents["train"]
    file = named if named.is_file() else files["train"]
    rows = _rows(categories, "categories", fields=("id", "name"), file=file)
    names, parents = _names_and_parents([row for row in rows if row["id"] in used])
    unnamed = used - set(names)
    if unnamed:
        raise DataError(f"{file} does not name the category {min(unnamed, key=str)}, which an annotation has")
    photos = ListedFiles(folder, advice=ADVICE)
    records = [
        record
        for split, content in contents.items()
        for record in _records(content, annotations[split], split, names=names, photos=photos, file=files[split])
    ]
    return PhotoSet(folder.resolve().name, "COCO-like JSON, val*.json for testing", tuple(names.values()),
                    tuple(records), parents)  # fmt: skip


def _coco_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a name that hold such JSON: train2018_locations.json, which may lie beside them, does not."""
    return sorted(file for file in folder.glob(pattern) if file.is_file() and _begins_as_coco(file))


def _begins_as_coco(file: Path) -> bool:
    """Whether a file begins as such a file does; reading a gigabyte of it to be sure would take too long."""
    with file.open("rb") as stream:
        return FIRST_KEY.match(stream.read(1000)) is not None


def _only_file(folder: Path, pattern: str) -> Path:
    files = _coco_files(folder, pattern)
    if not files:
        raise DataError(f"{str(folder)!r} lacks the file {pattern} with images, annotations, categories; {ADVICE}")
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{str(folder)!r} has {names}; keep one {pattern} in it, and put the others elsewhere")
    return files[0]


def _read_json(file: Path) -> Any:  # noqa: ANN401  (what a file holds; `_rows` looks at it)
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {error}; download it again") from error


def _rows(content: object, name: str, *, fields: Sequence[str], file: Path) -> list[Row]:
    """The rows under a name, once it is sure that they have the fields."""
    rows = content.get(name) if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{file} has no list of {name}; expected COCO-like JSON with images, annotations, categories")
    for number, row in enumerate(rows):
        missing = [field for field in fields if not isinstance(row, dict) or not isinstance(row.get(field), int | str)]
        if missing:
            raise DataError(f"{file} has no {missing[0]} in {name}[{number}]; expected: {', '.join(fields)}")
    return rows


def _records(
    content: object, annotations: list[Row], split: Split, *, names: Mapping[Any, str], photos: ListedFiles, file: Path
) -> list[Record]:
    """The photos of one file, each with its class and the largest of its boxes."""
    labels: dict[Any, str] = {}
    boxes = defaultdict(list)
    for row in annotations:
        image, label = row["image_id"], names[row["category_id"]]
        if labels.setdefault(image, label) != label:
            raise DataError(f"{file} gives image {image} two categories, {labels[image]!r} and {label!r}; expected one")
        if row.get("bbox"):
            boxes[image].append(box_from_size(row["bbox"], where=f"{file}, image {image}"))
    images = {row["id"]: row["file_name"] for row in _rows(content, "images", fields=("id", "file_name"), file=file)}
    unknown = [image for image in labels if image not in images]
    if unknown:
        raise DataError(f"{file} has an annotation of image {unknown[0]}, which its images do not have; {ADVICE}")
    return [
        Record(photos.find(str(name), where=f"{file}, image {image}"), labels[image], split, largest(boxes[image]))
        for image, name in images.items()
        if image in labels
    ]


def _names_and_parents(categories: list[Row]) -> tuple[dict[Any, str], dict[str, str]]:
    """What each category is called, and what lies above it: its genus, family and so on, or its supercategory.

    The same name may stand for two taxa (Prunella is a genus of birds and one of plants): a taxon is known by all
    that lies above it, and the second one of a name gets its parent behind the name.
    """
    lineages = {row["id"]: _lineage(row) for row in categories}
    names = distinct_names((row["id"], str(row["name"]), f"category {row['id']}") for row in categories)
    taxa = {lineage[start:] for lineage in lineages.values() for start in range(len(lineage))}
    finest_first = sorted(taxa, key=lambda taxon: (-len(taxon), taxon))
    everything: list[tuple[Any, str, str]] = [(key, name, "") for key, name in names.items()]
    everything += [(taxon, taxon[0], (*taxon, "group")[1]) for taxon in finest_first]
    called = distinct_names(everything)
    parents = {names[key]: called[lineage] for key, lineage in lineages.items() if lineage}
    parents |= {called[taxon]: called[taxon[1:]] for taxon in finest_first if len(taxon) > 1}
    return names, parents


def _lineage(category: Row) -> tuple[str, ...]:
    """The taxa above a category, the finest first."""
    ranks = tuple(str(category[rank]) for rank in RANKS if category.get(rank))
    return ranks or ((str(category["supercategory"]),) if category.get("supercategory") else ())
