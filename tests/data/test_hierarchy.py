import pytest

from mge.data.hierarchy import collect_parents
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
        ([("a", "b"), ("b", "a")], "lies in 'a' itself"),
        ([("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")], "lies in 'a' itself"),
    ],
)
def test_contradictions_are_refused(pairs: list[tuple[str, str]], match: str) -> None:
    with pytest.raises(DataError, match=match):
        collect_parents(pairs, name="set")
