"""`mge convert`: the authors' checkpoints become model folders."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mge.console.command_line import run_command
from mge.errors import ConfigError, DataError, ModelFolderError
from mge.inference.classifier import Classifier
from mge.models.authors import from_authors
from mge.storage.model_folder import load_model
from mge.tasks.convert import convert

PARITY = Path(__file__).parents[1] / "models" / "authors_parity"
NAMES = tuple(f"bird {number}" for number in range(20))


@pytest.fixture(scope="module")
def shapes() -> dict[str, list[int]]:
    return dict(json.loads((PARITY / "state_dict_shapes.json").read_text()))


@pytest.fixture
def blank(tmp_path: Path, shapes: dict[str, list[int]]) -> Path:
    """A checkpoint that fits and is small: one zero, seen as every tensor."""
    zero, count = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    state = {key: (count if key.endswith("tracked") else zero).expand(shape) for key, shape in shapes.items()}
    torch.save(state, tmp_path / "blank.pth")
    return tmp_path / "blank.pth"


@pytest.fixture(scope="module")
def state(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    arrays = runpy.run_path(str(PARITY / "weights.py"))["state"](shapes)
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, state: dict[str, torch.Tensor]) -> Iterator[Path]:
    """A training checkpoint of several devices, converted from the command line."""
    place = tmp_path_factory.mktemp("converted")
    checkpoint = {"epoch": 100, "state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}
    torch.save({**checkpoint, "optimizer": {"param_groups": [{"lr": 0.01}]}, "scheduler": {}}, place / "epoch_100.pth")
    (place / "names.txt").write_text("".join(f"{name}\n" for name in NAMES))
    files = [str(place / name) for name in ("epoch_100.pth", "birds")]
    run_command(convert, [*files, "--class-names", str(place / "names.txt")])
    yield place / "birds"
    shutil.rmtree(place)  # three quarters of a gigabyte


@pytest.mark.slow
def test_a_converted_folder_gives_the_same_outputs_bit_for_bit(folder: Path, state: dict[str, torch.Tensor]) -> None:
    classifier = Classifier.from_stored(load_model(folder))
    reference = from_authors(state).eval()
    assert classifier.model.config == reference.config
    for (key, ours), (other_key, theirs) in zip(
        classifier.model.state_dict().items(), reference.state_dict().items(), strict=True
    ):
        assert key == other_key
        assert torch.equal(ours, theirs), key
    pictures = torch.randint(0, 256, (1, 3, 448, 448), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs, expected = classifier.model(pictures), reference(pictures)
    for field, ours, theirs in zip(expected._fields, outputs, expected, strict=True):
        assert torch.equal(ours, theirs), field


@pytest.mark.slow
def test_a_converted_folder_prepares_photos_as_the_program_does_and_knows_its_origin(folder: Path) -> None:
    stored = load_model(folder)
    classifier = Classifier.from_stored(stored)
    assert classifier.class_names == NAMES
    assert (classifier.side, classifier.data.resize, classifier.data.crop_fraction) == (448, "short", 448 / 512)
    provenance = stored.metadata["provenance"]
    assert provenance["converted_from"] == "epoch_100.pth"
    assert provenance["epoch"] == 100
    assert len(provenance["sha256"]) == 64


@pytest.mark.slow
def test_what_was_written_and_the_next_command_are_said(blank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = blank.parent / "birds"
    assert convert(blank, out) == out
    assert load_model(out).class_names[:2] == ("class_000", "class_001")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{out}: resnet50, 3 experts, 20 classes"
    assert said[-1] == f"Next: mge predict {out} photo.jpg"
    (out / "model.safetensors").unlink()


class Code:
    """A pickled object that runs a command where it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "extra": Code(f"touch {tmp_path / 'ran'}")}, tmp_path / "code.pth")
    with pytest.raises(ModelFolderError, match=r"is refused: it contains posix.system, .* would run code"):
        convert(tmp_path / "code.pth", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code.pth"]


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(
        ModelFolderError,
        match=r"torch.nn.modules.linear.Linear.*save only the network's state_dict\(\) and convert that",
    ):
        convert(tmp_path / "network.pth", tmp_path / "out")


@pytest.mark.parametrize(
    "content", [b"", b"hello world\n", bytes(range(256)), b"\x80\x04}\x94."], ids=["empty", "text", "bytes", "pickle"]
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.pth").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModelFolderError, match=r"is not a PyTorch checkpoint, or is damaged"):
            convert(tmp_path / "no.pth", tmp_path / "out")


def test_half_a_checkpoint_is_refused(blank: Path, tmp_path: Path) -> None:
    content = blank.read_bytes()
    blank.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFolderError, match="damaged"):
        convert(blank, tmp_path / "out")


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"none.pth' does not exist; give a .pth file"):
        convert(tmp_path / "none.pth", tmp_path / "out")


def test_a_tensor_alone_is_refused(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(ModelFolderError, match="contains a Tensor; expected a state dict"):
        convert(tmp_path / "tensor.pth", tmp_path / "out")


def test_a_checkpoint_of_another_network_leaves_no_folder(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 4)}, tmp_path / "other.pth")
    with pytest.raises(ModelFolderError, match=r"has no 'classifier\.fc\.weight'"):
        convert(tmp_path / "other.pth", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(blank: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"mine', which exists and is not empty; give a new folder"):
        convert(blank, out)
    assert (out / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ntwo\n", "has 2 class names; the checkpoint has 20 classes"),
        ("same\n" * 20, "has the class name 'same' more than once"),
        ("", "has 0 class names"),
    ],
)
def test_class_names_that_do_not_fit_are_refused(blank: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        convert(blank, tmp_path / "out", class_names=tmp_path / "names.txt")
    assert not (tmp_path / "out").exists()


def test_class_names_in_the_form_of_cub_lose_their_numbers(tmp_path: Path) -> None:
    from mge.tasks.convert import _read_names

    (tmp_path / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")
    assert _read_names(tmp_path / "classes.txt", count=2) == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    with pytest.raises(DataError, match="cannot be read"):
        _read_names(tmp_path / "none.txt", count=2)


def test_class_names_are_read_as_those_of_data_are_which_they_have_to_match(tmp_path: Path) -> None:
    from mge.tasks.convert import _read_names

    (tmp_path / "windows.txt").write_bytes("\ufeffkiwi\r\ncre\u0300me\r\n".encode())
    assert _read_names(tmp_path / "windows.txt", count=2) == ("kiwi", "cr\u00e8me")
    (tmp_path / "latin.txt").write_bytes(b"cr\xe8me\n")
    with pytest.raises(DataError, match=r"latin.txt is not text in UTF-8"):
        _read_names(tmp_path / "latin.txt", count=1)


def test_its_help_needs_no_torch() -> None:
    code = "import sys, mge.tasks.convert; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
