"""Photos of one object stay in one split, whatever the data look like."""

import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mge.config import DataConfig
from mge.data.records import PhotoSet, Record, assign_splits, cut_groups

LABELS = ("a", "b", "c")


def photo_set(photos: list[tuple[str, str]]) -> PhotoSet:
    """Photos of (class, group)."""
    records = tuple(
        Record(Path(f"{label}/{number}.jpg"), label, group=group) for number, (label, group) in enumerate(photos)
    )
    return PhotoSet("set", "test", LABELS, records)


any_photos = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(["", "g0", "g1", "g2", "g3", "g4", "g5"])), max_size=60
).map(photo_set)
one_class_groups = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(["", "0", "1", "2", "3"])), max_size=60
).map(lambda photos: photo_set([(label, group and f"{label}{group}") for label, group in photos]))
configs = st.builds(
    DataConfig,
    val_fraction=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]),
    test_fraction=st.sampled_from([0.0, 0.2, 0.5, 0.9]),
)
seeds = st.integers(0, 5)
quick = settings(max_examples=60, deadline=None)


@quick
@given(any_photos, configs, seeds)
def test_no_group_is_in_two_splits(photos: PhotoSet, config: DataConfig, seed: int) -> None:
    splits = defaultdict(set)
    for record in assign_splits(photos, config=config, seed=seed).records:
        splits[record.group].add(record.split)
    assert all(len(names) == 1 for group, names in splits.items() if group)
    assert cut_groups(assign_splits(photos, config=config, seed=seed)) == ()


@quick
@given(any_photos, configs, seeds)
def test_every_photo_is_in_one_split_and_nothing_else_changes(photos: PhotoSet, config: DataConfig, seed: int) -> None:
    assigned = assign_splits(photos, config=config, seed=seed)
    assert [replace(record, split=None) for record in assigned.records] == list(photos.records)
    parts = [assigned.split(name) for name in ("train", "val", "test")]
    assert sorted(record.path for part in parts for record in part) == sorted(record.path for record in photos.records)


@quick
@given(any_photos, configs, seeds)
def test_every_class_keeps_photos_to_learn_from(photos: PhotoSet, config: DataConfig, seed: int) -> None:
    trained = {record.label for record in assign_splits(photos, config=config, seed=seed).split("train")}
    assert trained == {record.label for record in photos.records}


@quick
@given(any_photos, configs, seeds, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_photos(
    photos: PhotoSet, config: DataConfig, seed: int, rng: random.Random
) -> None:
    shuffled = list(photos.records)
    rng.shuffle(shuffled)
    one = assign_splits(photos, config=config, seed=seed)
    other = assign_splits(replace(photos, records=tuple(shuffled)), config=config, seed=seed)
    assert {record.path: record.split for record in one.records} == {
        record.path: record.split for record in other.records
    }


@quick
@given(one_class_groups, configs, seeds)
def test_each_class_holds_out_its_share_of_groups(photos: PhotoSet, config: DataConfig, seed: int) -> None:
    assigned = assign_splits(photos, config=config, seed=seed)
    for label in LABELS:
        units = {
            (record.group or record.path.name, record.split) for record in assigned.records if record.label == label
        }
        counts = Counter(split for _, split in units)
        num_test = max(0, min(round(config.test_fraction * len(units)), len(units) - 1))
        rest = len(units) - num_test
        num_val = max(0, min(round(config.val_fraction * rest), rest - 1))
        assert (counts["test"], counts["val"], counts["train"]) == (num_test, num_val, rest - num_val)


@quick
@given(st.lists(st.sampled_from(LABELS), max_size=60), st.sampled_from([0.0, 0.1, 0.2, 0.9]), seeds)
def test_photos_without_groups_are_held_out_as_before_there_were_groups(
    labels: list[str], fraction: float, seed: int
) -> None:
    photos = photo_set([(label, "") for label in labels])
    expected = set()
    for label in LABELS:
        paths = sorted(record.path.as_posix() for record in photos.records if record.label == label)
        random.Random(f"{seed} {label}").shuffle(paths)
        expected |= set(paths[: max(0, min(round(fraction * len(paths)), len(paths) - 1))])
    assigned = assign_splits(photos, config=DataConfig(test_fraction=fraction, val_fraction=0), seed=seed)
    assert {record.path.as_posix() for record in assigned.split("test")} == expected


def test_a_group_of_several_classes_is_held_out_once_and_counts_for_each() -> None:
    # Two shelves with every class, and four single photos of each: six groups a class, of which three are wanted.
    shelves = [(label, shelf) for shelf in ("shelf 0", "shelf 1") for label in LABELS]
    photos = photo_set(shelves + [(label, "") for label in LABELS for _ in range(4)])
    numbers_of_shelves = set()
    for seed in range(10):
        held_out = assign_splits(photos, config=DataConfig(test_fraction=0.5, val_fraction=0), seed=seed).split("test")
        assert Counter(record.label for record in held_out) == {"a": 3, "b": 3, "c": 3}
        numbers_of_shelves.add(sum(bool(record.group) for record in held_out) / 3)
    assert numbers_of_shelves <= {0, 1, 2}
    assert len(numbers_of_shelves) > 1


def test_no_class_has_more_held_out_than_asked_for_because_of_the_company_it_keeps() -> None:
    # Class a is on every photo's shelf; b and c are on half of them each.
    photos = photo_set([(label, f"g{number}") for number in range(10) for label in ("a", "bc"[number % 2])])
    for seed in range(10):
        held_out = assign_splits(photos, config=DataConfig(test_fraction=0.3, val_fraction=0), seed=seed).split("test")
        counts = Counter(record.label for record in held_out)
        assert counts["a"] == counts["b"] + counts["c"] == 3
        assert max(counts["b"], counts["c"]) <= 2


def test_given_splits_that_cut_a_group_are_found() -> None:
    records = [
        Record(Path("0"), "a", "train", group="bird 1"),
        Record(Path("1"), "a", "test", group="bird 1"),
        Record(Path("2"), "b", "train", group="bird 2"),
        Record(Path("3"), "b", "train", group="bird 2"),
        Record(Path("4"), "b", "test"),
        Record(Path("5"), "b", "train"),
    ]
    assert cut_groups(PhotoSet("set", "test", ("a", "b"), tuple(records))) == ("bird 1",)
