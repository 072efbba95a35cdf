import pytest

from mge.data.hierarchy import collect_parents, list_levels
from mge.errors import DataError


def test_each_class_gets_the_parent_that_its_photos_name() -> None:
    pairs = [("granny", "apple"), ("golden", "apple"), ("granny", ""), ("apple", "fruit"), ("leek", "")]
    assert collect_parents(pairs, name="set") == {"granny": "apple", "golden": "apple", "apple": "fruit"}


def test_a_class_that_is_its_own_coarser_class_has_none() -> None:
    assert collect_parents([("banana", "banana"), ("granny", "apple")], name="set") == {"granny": "apple"}


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ([("granny", "apple"), ("granny", "pear")], "'granny' into two coarser classes, 'apple' and 'pear'"),
        ([("granny", "apple"), ("granny", "granny")], "two coarser classes"),
        ([("a", "b"), ("b", "a")], "is inside 'a' itself"),
        ([("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")], "is inside 'a' itself"),
    ],
)
def test_contradictions_are_refused(pairs: list[tuple[str, str]], match: str) -> None:
    with pytest.raises(DataError, match=match):
        collect_parents(pairs, name="set")


def test_levels_are_counted_from_the_top_and_shallow_classes_stand_for_themselves() -> None:
    parents = {"A310": "A300", "A300": "Airbus", "F-16": "Lockheed", "Airbus": "all", "Lockheed": "all", "Kite": "all"}
    levels = list_levels(["A310", "F-16", "Kite", "A300"], parents)
    assert levels == [  # that all of them are `all` is no level
        ("Airbus", "Lockheed", "Kite", "Airbus"),
        ("A300", "F-16", "Kite", "A300"),
        ("A310", "F-16", "Kite", "A300"),
    ]


def test_without_coarser_classes_there_is_one_level() -> None:
    assert list_levels(["a", "b"], {}) == [("a", "b")]
