"""When a classifier answers with a compiled graph; compiling itself is pretended here, and real in the last test."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mge
from mge.core.outputs import MixtureOutput
from mge.errors import MissingExtraError
from mge.inference import classifier, fast_path
from mge.inference.classifier import Classifier
from mge.inference.compiled import Arithmetic
from mge.inference.fast_path import FastPath, open_fast_path
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel, save_model
from tests.models.networks import CLASSES, build
from tests.photos import COLORS, write_class_folders


class Pretended:
    """Stands for compiling and loading: a graph is the network itself with something added to class 0."""

    def __init__(self, model: MixtureOfExperts) -> None:
        self.model = model
        self.added = {"bfloat16": 0.0, "float32": 0.0}
        self.compiled: list[str] = []
        self.asked: list[str] = []
        self.num_drawn = 0

    def compile(self, model: MixtureOfExperts, file: Path, *, arithmetic: str) -> None:
        self.compiled.append(arithmetic)
        file.write_text(arithmetic)

    def load(self, file: Path, *, side: int) -> Callable[[Tensor], MixtureOutput]:
        assert side == 64
        arithmetic = file.read_text()

        def answer(images: Tensor) -> MixtureOutput:
            self.asked.append(arithmetic)
            output: MixtureOutput = self.model(images)
            bump = torch.zeros(CLASSES)
            bump[0] = self.added[arithmetic]
            return output._replace(logits=output.logits + bump)

        return answer

    def draw(self) -> Tensor:
        self.num_drawn += 1
        return images(16)


@pytest.fixture(scope="module")
def model() -> MixtureOfExperts:
    return build(num_experts=2)


@pytest.fixture
def pretended(model: MixtureOfExperts, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended(model)
    monkeypatch.setattr(fast_path, "compile_mixture", pretended.compile)
    monkeypatch.setattr(fast_path, "load_compiled", pretended.load)
    return pretended


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)


def open_path(pretended: Pretended, folder: Path) -> FastPath | None:
    graphs: dict[Arithmetic, Path] = {"bfloat16": folder / "b.pt2", "float32": folder / "f.pt2"}
    return open_fast_path(pretended.model, graphs, draw=pretended.draw)


def test_a_graph_is_compiled_and_proven_once(
    pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended.added["bfloat16"] = 2**-6  # little enough to agree
    path = open_path(pretended, tmp_path)
    assert path is not None
    assert 0 < path.difference < 2**-6
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("compiling the model (bfloat16)")
    assert said[1].startswith("compiled in")
    second = open_path(pretended, tmp_path)
    assert second is not None
    assert second.difference == path.difference
    assert (pretended.compiled, pretended.asked, pretended.num_drawn) == (["bfloat16"], ["bfloat16"], 1)
    assert capsys.readouterr().err == ""


@torch.no_grad()
def test_a_proven_graph_answers_alone(pretended: Pretended, tmp_path: Path) -> None:
    path = open_path(pretended, tmp_path)
    assert path is not None
    path.model = None  # type: ignore[assignment]  # nothing else may answer
    path.difference = 0.0
    batch = images(3)
    torch.testing.assert_close(path.answer(batch).logits, pretended.model(batch).logits)


@torch.no_grad()
def test_the_network_decides_where_the_graph_could_be_wrong(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    batch = images(64)
    exact = model(batch).logits
    others = exact[:, 1:].amax(1) - exact[:, 0]
    pretended.added["bfloat16"] = others[others > 0].min().item() + 1e-4  # makes class 0 the likeliest of one photo
    path = open_path(pretended, tmp_path)
    assert path is not None
    quick = path.graph(batch).logits
    assert (quick.argmax(1) != exact.argmax(1)).sum() == 1
    path.difference = max(path.difference, (quick.softmax(1) - exact.softmax(1)).abs().max().item())
    found = path.answer(batch).logits
    assert found.argmax(1).tolist() == exact.argmax(1).tolist()
    assert (found[:, 0] == quick[:, 0]).any()


def test_a_graph_in_bfloat16_that_disagrees_gives_way_to_float32_for_good(
    pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended.added["bfloat16"] = 3.0
    for _ in range(2):
        path = open_path(pretended, tmp_path)
        assert path is not None
        assert path.difference < 1e-4
        assert "the compiled model (bfloat16) is not used, its outputs differ from" in capsys.readouterr().err
    assert pretended.compiled == pretended.asked == ["bfloat16", "float32"]


def test_where_no_graph_agrees_the_network_answers(pretended: Pretended, tmp_path: Path) -> None:
    pretended.added = {"bfloat16": 3.0, "float32": float("nan")}
    for _ in range(2):
        assert open_path(pretended, tmp_path) is None
    assert pretended.asked == ["bfloat16", "float32"]


def test_without_a_compiler_the_network_answers_and_one_line_says_why(
    pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: MixtureOfExperts, file: Path, *, arithmetic: str) -> None:
        pretended.compiled.append(arithmetic)
        raise MissingExtraError("no compiler here")

    monkeypatch.setattr(fast_path, "compile_mixture", refuse)
    assert open_path(pretended, tmp_path) is None
    assert pretended.compiled == ["bfloat16"]
    assert capsys.readouterr().err.splitlines()[1:] == ["the compiled model is not used: no compiler here"]
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_asks_its_fast_path(model: MixtureOfExperts, pretended: Pretended, tmp_path: Path) -> None:
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=4).rglob("*.png"))
    asking = Classifier(model, class_names=[*COLORS, "d", "e"])
    exact = asking.predict(list(photos), batch_size=5)
    asking.fast = open_path(pretended, tmp_path)
    pretended.asked.clear()
    fast = asking.predict(list(photos), batch_size=5)
    assert len(pretended.asked) == 1 + (len(photos) - 1) // 5
    assert [found.label for found in fast] == [found.label for found in exact]


def test_only_a_model_that_is_loaded_for_it_is_compiled_and_proven_on_fixed_images(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "PROOF_PHOTOS", 3)
    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    save_model(tmp_path / "model", StoredModel(model.config, (*COLORS, "d", "e"), model.state_dict(), {}))
    assert mge.load(tmp_path / "model").fast is None
    assert pretended.compiled == []
    assert mge.load(tmp_path / "model", fast=True).fast is not None
    assert mge.load(tmp_path / "model").fast is None
    assert len(pretended.compiled) == len(pretended.asked) == 1


@pytest.mark.slow
@pytest.mark.compiled
def test_a_stored_model_is_compiled_once_and_answers_as_before(
    model: MixtureOfExperts, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "multiplies_bfloat16", lambda device: False)
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=10).rglob("*.png"))
    save_model(tmp_path / "model", StoredModel(model.config, (*COLORS, "d", "e"), model.state_dict(), {}))
    exact = mge.load(tmp_path / "model").predict(list(photos))
    mge.load(tmp_path / "model", fast=True)
    assert "compiled in" in capsys.readouterr().err
    second = mge.load(tmp_path / "model", fast=True)
    assert second.fast is not None
    second.model.forward = None  # type: ignore[method-assign, assignment]  # nothing but the graph may answer
    for found, wanted in zip(second.predict(list(photos), batch_size=7), exact, strict=True):
        assert found.label == wanted.label
        assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
        for box, other in zip(found.boxes_xyxy, wanted.boxes_xyxy, strict=True):
            assert box == pytest.approx(other, abs=0.01)
    assert capsys.readouterr().err == ""
