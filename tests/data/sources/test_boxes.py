from pathlib import Path

import pytest

from mge.data.sources.boxes import MAX_XML_BYTES, box_from_edges, box_from_size, largest, read_voc_boxes
from mge.errors import DataError
from tests.archives import voc_xml


def test_pixels_counted_from_one_and_included_become_edges() -> None:
    assert box_from_edges([1, 1, 12, 8], first_pixel=1, where="") == (0, 0, 12, 8)
    assert box_from_edges(["3", "144", "998", "431"], first_pixel=1, where="") == (2, 143, 998, 431)
    assert box_from_edges([3, 144, 998, 431], first_pixel=0, where="") == (3, 144, 998, 431)
    assert box_from_edges([5, 5, 5, 5], first_pixel=1, where="") == (4, 4, 5, 5)


def test_a_size_becomes_edges() -> None:
    assert box_from_size(["60.0", "27.0", "325.0", "304.0"], where="") == (60, 27, 385, 331)


def test_what_sticks_out_on_the_left_and_at_the_top_is_cut_off() -> None:
    assert box_from_size([-2, -1, 5, 4], where="") == (0, 0, 3, 3)
    assert box_from_edges([0, 0, 5, 4], first_pixel=1, where="") == (0, 0, 5, 4)


@pytest.mark.parametrize("values", [[5, 5, 0, 1], [5, 5, 1, -1], ["nan", 1, 1, 1], [1, 1, "inf", 1], [-5, 0, 2, 2]])
def test_an_empty_box_is_refused(values: list[object]) -> None:
    with pytest.raises(DataError, match=r"file, line 3 has the box \[.*which is empty"):
        box_from_size(values, where="file, line 3")


@pytest.mark.parametrize("values", [[1, 2, 3], [1, 2, 3, 4, 5], ["a", 1, 2, 3], [None, 1, 2, 3]])
def test_four_numbers_are_expected(values: list[object]) -> None:
    with pytest.raises(DataError, match="expected four numbers"):
        box_from_edges(values, first_pixel=0, where="file")


def test_the_largest_box_stands_for_all() -> None:
    assert largest([(0, 0, 3, 3), (5, 5, 9, 9), (0, 0, 2, 7)]) == (5, 5, 9, 9)
    assert largest([]) is None


def test_an_xml_file_gives_the_boxes_of_all_objects(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text(voc_xml((1, 2, 5, 6), (3, 3, 9, 8)))
    assert read_voc_boxes(file, first_pixel=0) == [(1, 2, 5, 6), (3, 3, 9, 8)]
    assert read_voc_boxes(file, first_pixel=1) == [(0, 1, 5, 6), (2, 2, 9, 8)]
    file.write_text(voc_xml())
    assert read_voc_boxes(file, first_pixel=0) == []


BOMB = (
    '<?xml version="1.0" encoding="{}"?><!DOCTYPE a [<!ENTITY b "xxxxxxxxxx"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<annotation>&c;</annotation>"
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    "content", [BOMB.format("utf-8").encode(), BOMB.format("utf-16").encode("utf-16"), OUTSIDE.encode()]
)
def test_a_document_type_is_refused_in_any_encoding(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.xml declares a document type"):
        read_voc_boxes(tmp_path / "a.xml", first_pixel=0)


@pytest.mark.parametrize(
    ("content", "match"),
    [("<annotation>", "is not XML"), ("", "is not XML"), ("x" * (MAX_XML_BYTES + 1), "is larger than"),
     ("<a><bndbox><xmin>1</xmin></bndbox></a>", r"a\.xml has the box \['1', None, None, None\]"),
     (voc_xml((5, 5, 5, 9)), "which is empty"),
     ('<?xml version="1.0" encoding="big5"?><a/>', r"a\.xml is not XML: multi-byte encodings are not supported"),
     ('<?xml version="1.0" encoding="nobodys"?><a/>', r"a\.xml is not XML: unknown encoding: nobodys"),
     ('<?xml version="1.0" encoding="undefined"?><a/>', r"a\.xml is not XML: .*undefined encoding")],
    ids=["cut", "empty", "large", "three edges missing", "no area", "two bytes a letter", "unknown encoding", "none"],
)  # fmt: skip
def test_an_xml_file_that_makes_no_sense_is_refused(content: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(DataError, match=match):
        read_voc_boxes(tmp_path / "a.xml", first_pixel=0)
