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
    "an empty folder": (make_empty, "contains no photos"),
    "one class": (make_one_class, "only one class"),
    "a class without training photos": (make_gap, "'pear'"),
    "an unknown backbone": (lambda folder: make_good(folder, "--backbone", "resnet5000"), "did you mean"),
    "a view too small": (lambda folder: make_good(folder, "--size", "40"), "use at least 64"),
    "a bad key of a configuration file": (make_config, "did you mean 'experts'"),
    "a flag that does not exist": (
        lambda folder: make_good(folder, "--expertz", "3"),
        "unknown option 'expertz'; did you mean 'experts'",
    ),
    "a flag that is a word of others": (
        lambda folder: make_good(folder, "--lr", "0.1"),
        "unknown option 'lr'; did you mean 'backbone_lr' or 'head_lr' or 'gate_lr'? See mge train --help",
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


OF_OTHER_VERBS: dict[str, tuple[str, str]] = {
    "a device that torch does not know": (
        "predict MODEL PHOTO --device gpu",
        "device is 'gpu', which is not available",
    ),
    "a device that this machine lacks": (
        "explain MODEL PHOTO --device cuda:99",
        "device is 'cuda:99', which is not available",
    ),
    "fewer classes than none": ("predict MODEL PHOTO --top -1", "top is -1; accepted: at least 0"),
    "an accelerator that Fabric does not know": ("evaluate MODEL DATA --accelerator gpus", "accelerator is 'gpus'"),
    "no accelerator where boxes are": (
        "localize MODEL DATA --accelerator tpu",
        "accelerator is 'tpu', which is not available",
    ),
    "no accelerator to compare on": (
        "compare MODEL OTHER --data DATA --accelerator tpu",
        "accelerator is 'tpu', which",
    ),
    "no accelerator to time on": ("bench MODEL --accelerator tpu", "accelerator is 'tpu', which is not available: "),
    "no photos at a time": ("evaluate MODEL DATA --batch-size 0", "batch_size is 0; accepted: at least 1"),
    "no photos to time": ("bench MODEL --batch-size 0", "batch_size is 0; accepted: at least 1"),
    "no times to time": ("bench MODEL --rounds 0", "rounds is 0; accepted: at least 1"),
    "no classes to time": ("bench --num-classes 0", "num_classes is 0; accepted: at least 1"),
    "no threads": (
        "serve MODEL --port 0 --backend torch --threads 0",
        "threads is 0; accepted: at least 1 and at most",
    ),
    "bodies without bytes": ("serve MODEL --port 0 --max-mb 0", "max_mb is 0.0; accepted: at least 0.001"),
}


@pytest.mark.parametrize("case", OF_OTHER_VERBS)
def test_other_verbs_say_what_to_do_too(
    case: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, expected = OF_OTHER_VERBS[case]
    data = write_class_folders(tmp_path / "data", per_class=4)
    places = {"MODEL": tiny_model, "OTHER": tmp_path, "DATA": data, "PHOTO": data / "lime" / "0.png"}
    assert main([str(places.get(word, word)) for word in command.split()]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"mge: error: {expected}")
