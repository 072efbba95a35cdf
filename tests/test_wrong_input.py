"""What a user gets for input that cannot work: one line that says what to do, exit code 2, and no rubbish on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mge.cli import main
from tests.photos import write_class_folders, write_photo

TINY = ["--backbone", "test_resnet", "--no-pretrained", "--size", "64", "--epochs", "1", "--accelerator", "cpu"]


def make_empty(folder: Path) -> list[str]:
    return [str(folder)]


def make_one_class(folder: Path) -> list[str]:
    write_photo(folder / "apple" / "a.png", (200, 0, 0))
    return [str(folder)]


def make_gap(folder: Path) -> list[str]:
    write_class_folders(folder, per_class=2, splits=("train",))
    write_photo(folder / "test" / "pear" / "a.png", (0, 200, 0))
    return [str(folder)]


def make_good(folder: Path, *arguments: str) -> list[str]:
    return [str(write_class_folders(folder, per_class=4)), *arguments]


def make_config(folder: Path) -> list[str]:
    (folder / "bad.yaml").write_text("backbone: test_resnet\nexpert: 3\n")
    return make_good(folder / "photos", "--config", str(folder / "bad.yaml"))


CASES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "an empty folder": (make_empty, "holds no photos"),
    "one class": (make_one_class, "one class only"),
    "a class without training photos": (make_gap, "'pear'"),
    "an unknown backbone": (lambda folder: make_good(folder, "--backbone", "resnet5000"), "did you mean"),
    "a view too small": (lambda folder: make_good(folder, "--size", "40"), "use at least 64"),
    "a bad key of a configuration file": (make_config, "did you mean 'experts'"),
    "a flag that does not exist": (
        lambda folder: make_good(folder, "--expertz", "3"),
        "unknown option 'expertz'; did you mean 'experts'",
    ),
    "a value of a wrong type": (lambda folder: make_good(folder, "--epochs", "many"), "epochs is 'many'"),
    "a value out of range": (lambda folder: make_good(folder, "--experts", "0"), "experts is 0"),
    "an unknown choice": (lambda folder: make_good(folder, "--gate", "none"), "own, shared"),
    "a stride that the backbone has not": (
        lambda folder: make_good(folder, "--backbone", "test_vit", "--output-stride", "8"),
        "output_stride=8",
    ),
    "weights that are not there": (lambda folder: make_good(folder, "--weights", "nothing.pth"), "does not exist"),
    "data that is not there": (lambda folder: [str(folder / "nowhere")], "does not exist"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_user_is_told_what_to_do(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, expected = CASES[case]
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = make(data)
    assert main(["train", arguments[0], *TINY, *arguments[1:], "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mge: error: ")
    assert expected in lines[0]
    assert not (tmp_path / "run").exists()
