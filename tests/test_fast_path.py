"""When a classifier answers with a compiled graph; compiling itself is pretended here, and real in models/test_fast."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mge
from mge import classifier
from mge.classifier import Classifier, FastPath
from mge.core.outputs import MixtureOutput
from mge.errors import MissingExtraError
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel, save_model
from tests.models.networks import CLASSES, build
from tests.photos import COLOURS, write_class_folders


class Pretended:
    """Stands for compiling and loading: a graph is the network itself with something added to class 0."""

    def __init__(self, model: MixtureOfExperts) -> None:
        self.model, self.added, self.compiled, self.loaded, self.asked = model, 0.0, 0, 0, 0

    def compile(self, model: MixtureOfExperts, file: Path, *, arithmetic: str) -> None:
        self.compiled += 1
        file.write_text(arithmetic)

    def load(self, file: Path) -> Callable[[Tensor], MixtureOutput]:
        self.loaded += 1
        assert file.exists()

        def answer(images: Tensor) -> MixtureOutput:
            self.asked += 1
            output: MixtureOutput = self.model(images)
            bump = torch.zeros(CLASSES)
            bump[0] = self.added
            return output._replace(logits=output.logits + bump)

        return answer


@pytest.fixture(scope="module")
def model() -> MixtureOfExperts:
    return build(num_experts=2)


@pytest.fixture
def pretended(model: MixtureOfExperts, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended(model)
    monkeypatch.setattr(classifier, "compile_mixture", pretended.compile)
    monkeypatch.setattr(classifier, "load_compiled", pretended.load)
    return pretended


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)


def open_path(model: MixtureOfExperts, folder: Path, *, is_asked_for: bool = False) -> FastPath:
    return FastPath(model, folder / "graph.pt2", arithmetic="float32", is_asked_for=is_asked_for)


@torch.no_grad()
def test_few_photos_are_not_worth_compiling(model: MixtureOfExperts, pretended: Pretended, tmp_path: Path) -> None:
    path = open_path(model, tmp_path)
    path.answer(images(2), num_waiting=3)
    path.answer(images(2))
    assert (pretended.compiled, pretended.asked) == (0, 0)


@torch.no_grad()
def test_many_photos_are(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = open_path(model, tmp_path)
    path.answer(images(16), num_waiting=10**9)
    assert pretended.compiled == 1
    pretended.added = 0.125  # from here on the graph's answers can be told from the network's
    batch = images(5)
    torch.testing.assert_close(path.answer(batch).logits[:, 0], model(batch).logits[:, 0] + 0.125)
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("compiling the fast path")
    assert said[1].startswith("compiled in")


@torch.no_grad()
def test_a_second_start_uses_the_cache_from_the_first_photo(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    open_path(model, tmp_path, is_asked_for=True).answer(images(16))
    asked = pretended.asked
    open_path(model, tmp_path).answer(images(1))
    assert (pretended.compiled, pretended.asked) == (1, asked + 1)


@torch.no_grad()
def test_a_proof_on_few_photos_counts_only_where_the_graph_is_asked_for(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    open_path(model, tmp_path, is_asked_for=True).answer(images(2))
    assert open_path(model, tmp_path, is_asked_for=True).compiled is not None
    path = open_path(model, tmp_path)
    assert path.compiled is None
    path.answer(images(16))  # the graph is there, so that it only has to be compared
    assert path.compiled is not None
    assert pretended.compiled == 1


@torch.no_grad()
def test_a_graph_that_disagrees_is_not_used_now_nor_later(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended.added = 3.0
    for _ in range(2):
        path, batch = open_path(model, tmp_path, is_asked_for=True), images(16)
        for _ in range(2):
            torch.testing.assert_close(path.answer(batch).logits, model(batch).logits)
        assert "fast path not used, it does not agree with the network" in capsys.readouterr().err
    assert (pretended.compiled, pretended.asked) == (1, 1)


@torch.no_grad()
def test_without_a_compiler_the_network_answers_and_one_line_says_why(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(model: MixtureOfExperts, file: Path, *, arithmetic: str) -> None:
        pretended.compiled += 1
        raise MissingExtraError("no compiler here")

    monkeypatch.setattr(classifier, "compile_mixture", refuse)
    path, batch = open_path(model, tmp_path, is_asked_for=True), images(4)
    for _ in range(3):
        torch.testing.assert_close(path.answer(batch).logits, model(batch).logits)
    assert pretended.compiled == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["fast path not used: no compiler here"]
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_asks_its_fast_path(model: MixtureOfExperts, pretended: Pretended, tmp_path: Path) -> None:
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=4).rglob("*.png"))
    asking = Classifier(model, class_names=[*COLOURS, "d", "e"])
    exact = asking.predict(list(photos), batch_size=5)
    asking.fast = open_path(model, tmp_path, is_asked_for=True)
    fast = asking.predict(list(photos), batch_size=5)
    assert pretended.asked == 1 + (len(photos) - 1) // 5
    assert [found.label for found in fast] == [found.label for found in exact]


@pytest.mark.slow
@pytest.mark.compiled
def test_a_stored_model_is_compiled_once_and_answers_as_before(
    model: MixtureOfExperts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=6).rglob("*.png"))
    save_model(tmp_path / "model", StoredModel(model.config, (*COLOURS, "d", "e"), model.state_dict(), {}))
    exact = mge.load(tmp_path / "model", fast=False).predict(list(photos))
    assert mge.load(tmp_path / "model", fast=True).predict(list(photos))[0].label == exact[0].label
    assert "compiled in" in capsys.readouterr().err
    second = mge.load(tmp_path / "model")
    assert second.fast is not None
    assert second.fast.compiled is not None
    for found, wanted in zip(second.predict(list(photos)), exact, strict=True):
        assert found.probabilities == pytest.approx(wanted.probabilities, abs=0.05)
    assert capsys.readouterr().err == ""
