import contextlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mge.data.sources import matlab
from mge.data.sources.matlab import as_plain, read_numbers, read_structs, read_texts
from mge.errors import DataError
from tests.archives import cells, structs, write_mat


@pytest.mark.parametrize("count", [1, 3])
def test_texts_numbers_and_structures_are_lists_however_few_they_are(count: int, tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    rows = [{"fname": f"{number}.jpg", "class": number} for number in range(count)]
    variables = {"names": cells([f"n{number}" for number in range(count)], column=True), "rows": structs(rows)}
    write_mat(file, {**variables, "labels": np.arange(count, dtype=float).reshape(-1, 1)})
    assert read_texts(file, "names") == [f"n{number}" for number in range(count)]
    assert read_numbers(file, "labels") == list(range(count))
    assert read_structs(file, "rows", fields=("fname", "class")) == rows


def test_a_variable_of_another_name_or_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    write_mat(
        file, {"names": cells(["a", "b"]), "halves": [0.5, 1.5], "rows": structs([{"fname": "x"}, {"fname": "y"}])}
    )
    with pytest.raises(DataError, match="has no variable 'labels'"):
        read_numbers(file, "labels")
    with pytest.raises(DataError, match="values other than integers in 'halves'"):
        read_numbers(file, "halves")
    with pytest.raises(DataError, match="values other than integers in 'names'"):
        read_numbers(file, "names")
    with pytest.raises(DataError, match="non-text values in 'halves'"):
        read_texts(file, "halves")
    with pytest.raises(DataError, match=r"lacks 'class' in rows\(1\); expected: fname, class"):
        read_structs(file, "rows", fields=("fname", "class"))
    with pytest.raises(DataError, match=r"lacks 'fname' in names\(1\)"):
        read_structs(file, "names", fields=("fname",))


def test_a_damaged_file_is_read_or_refused_and_never_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matlab, "_read_apart", matlab.read_variable)  # 300 processes would take a while
    file = tmp_path / "a.mat"
    write_mat(file, {"rows": structs([{"fname": f"{number}.jpg", "class": 1} for number in range(5)])})
    whole, random = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        content = bytearray(whole[: random.integers(len(whole))] if trial % 3 == 0 else whole)
        for place in random.integers(len(content), size=3) if content else ():
            content[place] = random.integers(256)
        file.write_bytes(content)
        with contextlib.suppress(DataError):
            read_structs(file, "rows", fields=("fname",))
            continue
        refused += 1
    assert refused > 150


def test_a_file_over_which_scipy_brings_its_process_down_is_refused(tmp_path: Path) -> None:
    columns = [(name, "O") for name in ("x1", "y1", "x2", "y2", "class", "fname")]
    scipy.io.savemat(tmp_path / "whole.mat", {"rows": np.array([(1, 2, 3, 4, 5, "a")], dtype=columns)})
    whole = (tmp_path / "whole.mat").read_bytes()
    (tmp_path / "a.mat").write_bytes(whole[:300] + whole[304:])  # the sizes that follow are read from other places
    with pytest.raises(DataError, match=r"a\.mat cannot be read as a \.mat file: .+; download it again"):
        read_structs(tmp_path / "a.mat", "rows", fields=("fname",))


def test_what_json_has_no_word_for_is_nothing() -> None:
    assert as_plain({"a": np.array([1 + 2j, 3]), "b": [np.float64(0.5), b"x"], "c": np.str_("x")}) == {
        "a": [None, None],
        "b": [0.5, None],
        "c": "x",
    }


def test_a_file_that_unfolds_into_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.mat"
    write_mat(file, {"small": [1, 2], "labels": np.zeros(4_000_000, dtype=np.uint8)})
    assert file.stat().st_size < 10_000
    monkeypatch.setattr(matlab, "MAX_BYTES", 2_000_000)
    with pytest.raises(DataError, match="expands to more than 2,000,000 bytes"):
        read_numbers(file, "small")
    monkeypatch.setattr(matlab, "MAX_BYTES", 5_000_000)
    assert read_numbers(file, "small") == [1, 2]
