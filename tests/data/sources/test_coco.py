import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mge.config import DataConfig
from mge.data.sources import read_photos
from mge.data.sources.coco import read_coco
from mge.errors import DataError
from tests.archives import write_inaturalist


def change(file: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_the_taxonomy_lies_above_the_species_and_no_name_comes_twice(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    parents = read_coco(tmp_path).parents
    chains = (
        ("Prunella collaris", "Prunella (Prunellidae)", "Prunellidae", "Passeriformes", "Aves", "Chordata", "Animalia"),
        ("Prunella vulgaris", "Prunella", "Lamiaceae", "Lamiales", "Magnoliopsida", "Tracheophyta", "Plantae"),
    )
    assert parents == {child: parent for chain in chains for child, parent in pairwise(chain)}


def test_where_there_is_no_taxonomy_the_supercategory_lies_above(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    categories = [{"id": key, "name": f"species {key}", "supercategory": "Aves"} for key in (0, 1)]
    for name in ("train.json", "val.json"):
        change(tmp_path / name, lambda content: content.update(categories=categories))
    assert read_coco(tmp_path).parents == {"species 0": "Aves", "species 1": "Aves"}


def test_a_file_of_categories_beside_them_names_the_classes(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    (tmp_path / "categories.json").write_text(json.dumps([{"id": 1, "name": "one"}, {"id": 0, "name": "nil"}]))
    assert read_coco(tmp_path).class_names == ("one", "nil")


def test_photos_without_an_annotation_are_left_out_and_the_largest_box_counts(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)

    def edit(content: Any) -> None:  # noqa: ANN401
        content["annotations"].pop()
        content["annotations"].append({"id": 9, "image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9]})

    change(tmp_path / "train.json", edit)
    photos = read_coco(tmp_path)
    assert len(photos.split("train")) == 3
    assert photos.records[0].box_xyxy == (0, 0, 9, 9)


def test_validation_photos_are_held_out_of_training_and_val_is_for_testing(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    photos = read_photos(tmp_path, config=DataConfig(val_fraction=0.5))
    assert [len(photos.split(split)) for split in ("train", "val", "test")] == [2, 2, 2]
    assert {record.path.parts[-3] for record in photos.split("test")} == {"val"}


def test_two_files_for_one_split_are_refused_with_both(tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    (tmp_path / "train_mini.json").write_bytes((tmp_path / "train.json").read_bytes())
    with pytest.raises(DataError, match=r"has train\.json, train_mini\.json; keep one"):
        read_photos(tmp_path, config=DataConfig())


EDITS: list[tuple[Callable[[Any], object], str]] = [
    (lambda content: content.pop("images"), r"train\.json has no list of images"),
    (lambda content: content.update(categories={}), r"train\.json has no list of categories"),
    (lambda content: content["images"][1].pop("file_name"), r"no file_name in images\[1\]; expected: id, file_name"),
    (lambda content: content["annotations"][0].update(category_id=[0]), r"no category_id in annotations\[0\]"),
    (lambda content: content["annotations"][0].update(category_id=5), "does not name the category 5"),
    (lambda content: content["annotations"][1].update(image_id=0, category_id=1), "gives image 0 two categories"),
    (lambda content: content["annotations"][0].update(image_id=77), "annotation of image 77"),
    (lambda content: content["annotations"][0].update(bbox=[1, 2, 3]), "image 0 has the box .* expected four numbers"),
    (lambda content: content["annotations"][0].update(bbox=7), "image 0 has the box 7"),
    (lambda content: content["images"][0].update(file_name="../x.jpg"), "image 0 names '../x.jpg'"),
]


@pytest.mark.parametrize(("edit", "match"), EDITS)
def test_json_that_makes_no_sense_is_refused_with_the_place(
    edit: Callable[[Any], object], match: str, tmp_path: Path
) -> None:
    write_inaturalist(tmp_path)
    change(tmp_path / "train.json", edit)
    with pytest.raises(DataError, match=match):
        read_photos(tmp_path, config=DataConfig())


@pytest.mark.parametrize("content", ['{"info": {', '{"info": ' + "[" * 100_000])
def test_a_file_that_is_cut_off_or_endlessly_deep_is_refused(content: str, tmp_path: Path) -> None:
    write_inaturalist(tmp_path)
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(DataError, match=r"train\.json is not JSON"):
        read_photos(tmp_path, config=DataConfig())
