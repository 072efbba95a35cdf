import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mge.config import DataConfig
from mge.data.labels import clean_labels
from mge.data.records import (
    PhotoSet,
    Record,
    assign_splits,
    check_photos,
    spread_out,
    what_is_unmeasured,
)
from mge.errors import DataError


def make_photos(per_class: int = 20, *, split: str | None = None) -> PhotoSet:
    records = [
        Record(Path(f"{label}/{number}.jpg"), label, split)  # type: ignore[arg-type]
        for label in ("a", "b", "c")
        for number in range(per_class)
    ]
    return PhotoSet("set", "test", ("a", "b", "c"), tuple(records))


def test_every_class_gives_its_share_to_each_split() -> None:
    photos = assign_splits(make_photos(20), config=DataConfig(val_fraction=0.25, test_fraction=0.2), seed=0)
    for name, count in (("test", 4), ("val", 4), ("train", 12)):
        assert Counter(record.label for record in photos.split(name)) == {"a": count, "b": count, "c": count}  # type: ignore[arg-type]


def test_the_choice_depends_on_the_seed_and_not_on_the_order_of_files() -> None:
    photos, config = make_photos(), DataConfig()
    shuffled = replace(photos, records=photos.records[::-1])

    def test_paths(photos: PhotoSet, seed: int) -> set[Path]:
        return {record.path for record in assign_splits(photos, config=config, seed=seed).split("test")}

    assert test_paths(photos, 0) == test_paths(shuffled, 0)
    assert test_paths(photos, 0) != test_paths(photos, 1)


def test_one_photo_of_each_class_is_always_left_for_training() -> None:
    photos = assign_splits(make_photos(1), config=DataConfig(val_fraction=0.9, test_fraction=0.9), seed=0)
    assert len(photos.split("train")) == 3


def test_given_splits_stay_and_only_validation_is_held_out() -> None:
    given = make_photos(10, split="train")
    records = (*given.records, Record(Path("t.jpg"), "a", "test"))
    photos = assign_splits(replace(given, records=records), config=DataConfig(val_fraction=0.2), seed=0)
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [24, 6, 1]


@pytest.mark.parametrize(
    ("photos", "match"),
    [
        (PhotoSet("empty", "test", (), ()), "contains no photos"),
        (PhotoSet("one", "test", ("a",), (Record(Path("a.jpg"), "a", "train"),)), "only one class"),
        (
            PhotoSet("gap", "test", ("a", "b"), (Record(Path("a"), "a", "train"), Record(Path("b"), "b", "test"))),
            "'b' of gap has no training photos",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_refused(photos: PhotoSet, match: str) -> None:
    with pytest.raises(DataError, match=match):
        check_photos(photos)


def test_classes_that_differ_in_their_spelling_only_do_not_lie_inside_each_other() -> None:
    composed, decomposed = "pâté", "pa\u0302te\u0301"
    photos = PhotoSet("set", "test", (decomposed,), (), parents={decomposed: composed})
    assert clean_labels(photos).parents == {}
    photos = PhotoSet("set", "test", (composed, decomposed), (), parents={composed: "spread", decomposed: "meat"})
    with pytest.raises(DataError, match="set puts the class 'pâté' into two coarser classes, 'spread' and 'meat'"):
        clean_labels(photos)


def test_items_are_spread_out_evenly_and_none_twice() -> None:
    assert spread_out("abcdefghij", count=5) == ["a", "c", "e", "g", "i"]
    assert spread_out(range(3), count=8) == [0, 1, 2]
    assert spread_out((), count=4) == []
    found = spread_out(range(100), count=7)
    assert {later - sooner for sooner, later in itertools.pairwise(found)} == {14, 15}


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (("train", "val", "test"), None),
        (("train",), "No photos are left for validation and test: all metrics are measured on training photos: "),
        (
            ("train", "val"),
            "No photos are left for testing: metrics are measured on the validation photos that also selected",
        ),
        (("train", "test"), "No photos are left for validation: the last epoch is kept, without calibration: "),
    ],
)
def test_what_a_missing_split_means_is_said(splits: tuple[str, ...], said: str | None) -> None:
    found = what_is_unmeasured(splits)
    assert found is None if said is None else found is not None and found.startswith(said)
