from pathlib import Path

import pytest

from mge.data.sources.archive import Archive, ListedFiles, distinct_names
from mge.errors import DataError


def test_listed_files_are_found_below_their_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x 1.jpg").write_bytes(b"x")
    assert ListedFiles(tmp_path, advice="").find("a/b/x 1.jpg", where="here") == tmp_path / "a" / "b" / "x 1.jpg"


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "", ".", "a\0b/x.jpg"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    (tmp_path / "data" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match=r"list, line 3 names .* which is not a file below"):
        ListedFiles(tmp_path / "data", advice="").find(name, where="list, line 3")


@pytest.mark.parametrize("name", ["b.jpg", "none/b.jpg", "a", "x" * 300 + "/b.jpg"])
def test_what_is_no_file_is_said_to_be_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files = ListedFiles(tmp_path, advice="unpack it again")
    with pytest.raises(DataError, match=r"does not exist below .*; unpack it again"):
        files.find(name, where="list, line 3")
    assert files.look_up(name, where="list, line 3") is None


def test_a_table_has_its_rows_by_id_and_spaces_in_the_last_column_only(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes("\ufeff1 Brewer's Blackbird (Male)\r\n\r\n2 Crème\n".encode())
    table = Archive(tmp_path, "Birds", "unpack it").table("classes.txt", columns=("id", "name"))
    assert table.rows == {"1": ("Brewer's Blackbird (Male)",), "2": ("Crème",)}
    with pytest.raises(DataError, match=r"classes\.txt has no line for '3'.*unpack it"):
        table.row("3")


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"1 a\n1 b", "line 2 mentions '1' a second time"), (b"1 a\n2", "line 2 is '2'; expected: id, name"),
     (b"1 Cr\xe8me", r"classes\.txt is not text in UTF-8")],
)  # fmt: skip
def test_a_table_that_makes_no_sense_is_refused_with_the_line(content: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=match):
        Archive(tmp_path, "Birds", "unpack it").table("classes.txt", columns=("id", "name"))


def test_the_first_of_a_name_keeps_it() -> None:
    named = [(1, "wren", "one"), (2, "robin", "two"), (3, "wren", "three"), (4, "wren", "three"), (5, "robin", "x")]
    assert distinct_names(named) == {
        1: "wren",
        2: "robin",
        3: "wren (three)",
        4: "wren (three) (three)",
        5: "robin (x)",
    }
