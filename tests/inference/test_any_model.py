"""Model folders and checkpoints with anything in them: they answer, or are refused in one line, and quickly."""

import copy
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mge
from mge.errors import MgeError
from mge.storage.checkpoint import load_checkpoint, save_checkpoint
from tests.exports import save_tiny
from tests.hostile import lie
from tests.photos import write_photo

SECONDS = 10  # of a processor

quick = settings(max_examples=40, deadline=None, database=None, derandomize=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with all that one may have, a photo and a checkpoint."""
    home = tmp_path_factory.mktemp("whole")
    save_tiny(
        home / "model", calibration={"temperature": 1.5}, cascade={"leads": [0.9]}, rejection={"threshold": 0.1},
        provenance={"data": "beetles"}, gate_trust=0.5,
    )  # fmt: skip
    write_photo(home / "photo.png", (200, 0, 0))
    state = {"model": {"weight": torch.ones(3, 2)}, "position": {"epoch": 1, "scores": (0.5, -1.0)}, "averaged": None}
    save_checkpoint(home / "whole.ckpt", state)
    return home


numbers = st.sampled_from([-1, 0, 1, 2, 3, 64, 10**6, 10**30, -0.5, 0.3, 1.5, 1e300, float("nan"), float("inf")])
words = st.sampled_from(["", "short", "auto", "own", "shared", "resnet50", "test_resnet", "test_vit", "../x", "\ud800"])
values = st.recursive(
    st.none() | st.booleans() | numbers | words | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=4,
)
PLACES = ["architecture", "class_names", "preprocessing", "cascade", "calibration", "rejection", "gate_trust",
          "provenance", "format_version", "anything"]  # fmt: skip


def places(description: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Where a value stands in nested dicts."""
    for name, value in description.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, *rest) for rest in places(value))


@st.composite
def lies(draw: st.DrawFn, description: dict[str, Any]) -> dict[str, Any]:
    """Changes of what model.json says: other values in a few places, or none, or values nobody knows."""
    changed = copy.deepcopy({name: description[name] for name in PLACES if name in description})
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([*places(changed), ("anything",), ("architecture", "anything")]))
        inner: Any = changed
        for step in way:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue
        if draw(st.integers(0, 3)):
            inner[last] = draw(values)
        else:
            inner.pop(last, None)
    return changed


def answer_or_refuse(ask: Callable[[], object]) -> None:
    """Raises what is neither an answer nor an error of one line, and what takes long."""
    began = time.process_time()
    try:
        ask()
    except MgeError as error:
        assert "\n" not in str(error)  # noqa: PT017
    assert time.process_time() - began < SECONDS


def classify(folder: Path, photo: Path) -> None:
    prediction = mge.load(folder, fast=False).predict(photo)
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-4)
    assert prediction.label in (*prediction.class_names, "unknown")


@quick
@given(data=st.data())
def test_a_model_that_says_anything_of_itself_answers_or_is_refused(whole: Path, data: st.DataObject) -> None:
    description = json.loads((whole / "model" / "model.json").read_text())
    folder = shutil.copytree(whole / "model", whole / "lying", dirs_exist_ok=True)
    lie(folder, **data.draw(lies(description)))
    answer_or_refuse(lambda: classify(folder, whole / "photo.png"))


@pytest.mark.parametrize("said", [None, [], [None], "short", {"resize": None}, {"cropped": 1}])
def test_a_model_that_says_no_such_thing_of_its_photos_is_refused(whole: Path, said: object) -> None:
    folder = shutil.copytree(whole / "model", whole / "lying", dirs_exist_ok=True)
    lie(folder, preprocessing=said)
    with pytest.raises(MgeError, match=r"accepted|expected an object|unknown option"):
        mge.load(folder)


@pytest.mark.parametrize("said", [None, 3, ["test_resnet"]])
def test_a_model_whose_backbone_is_no_name_is_refused(whole: Path, said: object) -> None:
    folder = shutil.copytree(whole / "model", whole / "lying", dirs_exist_ok=True)
    architecture = json.loads((folder / "model.json").read_text())["architecture"]
    lie(folder, architecture={**architecture, "backbone": said})
    with pytest.raises(MgeError, match=r"model\.json is damaged: backbone is .*; accepted: text, such as"):
        mge.load(folder)


def wound(content: bytes, wounds: list[tuple[float, bytes]], cut: float) -> bytes:
    """Bytes put over others at fractions of a file's length, and what is left after a cut."""
    for fraction, value in wounds:
        place = int(fraction * len(content))
        content = content[:place] + value + content[place + len(value) :]
    return content[: round(cut * len(content))]


fractions = st.floats(0, 1, exclude_max=True)
cuts = st.just(1.0) | st.floats(0, 1)
pieces = st.binary(min_size=1, max_size=8) | st.sampled_from(
    [b"F16", b"I64", b"BF16", b"9", b"[", b"]", b"-", b'"', b","]
)


@quick
@given(wounds=st.lists(st.tuples(fractions, pieces), max_size=4), cut=cuts, in_head=st.booleans())
def test_weights_of_any_bytes_answer_or_are_refused(
    whole: Path, wounds: list[tuple[float, bytes]], cut: float, in_head: bool
) -> None:
    content = (whole / "model" / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little") if in_head else len(content)
    folder = shutil.copytree(whole / "model", whole / "wounded", dirs_exist_ok=True)
    (folder / "model.safetensors").write_bytes(wound(content[:end], wounds, cut) + content[end:])
    lie(folder)
    answer_or_refuse(lambda: classify(folder, whole / "photo.png"))


@settings(quick, max_examples=150)
@given(wounds=st.lists(st.tuples(fractions, st.binary(min_size=1, max_size=8)), max_size=4), cut=cuts)
def test_a_checkpoint_of_any_bytes_is_read_or_refused(
    whole: Path, wounds: list[tuple[float, bytes]], cut: float
) -> None:
    content, file = wound((whole / "whole.ckpt").read_bytes(), wounds, cut), whole / "wounded.ckpt"
    file.write_bytes(content)
    file.with_name("wounded.ckpt.sha256").write_text(hashlib.sha256(content).hexdigest())
    answer_or_refuse(lambda: load_checkpoint(file))
