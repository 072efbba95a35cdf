"""When a classifier answers with a compiled graph; compiling itself is pretended here, and real in models/test_fast."""

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
from mge.inference.fast_path import PROOF_PHOTOS, FastPath
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


def open_path(model: MixtureOfExperts, folder: Path, *, is_asked_for: bool = False) -> FastPath:
    graphs: dict[Arithmetic, Path] = {"bfloat16": folder / "b.pt2", "float32": folder / "f.pt2"}
    return FastPath(model, graphs, is_asked_for=is_asked_for)


@torch.no_grad()
def test_few_photos_are_not_worth_compiling(model: MixtureOfExperts, pretended: Pretended, tmp_path: Path) -> None:
    path = open_path(model, tmp_path)
    path.answer(images(2), num_waiting=3)
    path.answer(images(2))
    assert (pretended.compiled, pretended.asked) == ([], [])


@torch.no_grad()
def test_many_photos_are_and_the_network_answers_until_the_graph_is_proven(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, batch = open_path(model, tmp_path), images(PROOF_PHOTOS // 2)
    pretended.added["bfloat16"] = 2**-6  # little enough to agree, and to be told from the network's own answer
    exact = model(batch).logits[:, 0]
    for _ in range(2):
        torch.testing.assert_close(path.answer(batch, num_waiting=10**9).logits[:, 0], exact, rtol=0, atol=1e-4)
    added = path.answer(batch, num_waiting=10**9).logits[:, 0] - exact
    assert (added.isclose(torch.tensor(2**-6), atol=1e-4) | added.isclose(torch.tensor(0.0), atol=1e-4)).all()
    assert added.mean() > 2**-7  # where the network did not decide a close call
    assert pretended.compiled == ["bfloat16"]
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("compiling the fast path (bfloat16)")
    assert said[1].startswith("compiled in")


@torch.no_grad()
def test_the_network_decides_where_the_graph_could_be_wrong(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    batch = images(PROOF_PHOTOS)
    exact = model(batch).logits
    others = exact[:, 1:].amax(1) - exact[:, 0]
    pretended.added["bfloat16"] = others[others > 0].min().item() + 1e-4  # makes class 0 the likeliest of one photo
    path = open_path(model, tmp_path, is_asked_for=True)
    path.answer(batch)
    quick = path.loaded(batch).logits if path.loaded else exact
    assert (quick.argmax(1) != exact.argmax(1)).sum() == 1
    found = path.answer(batch).logits
    assert path.is_proven
    assert found.argmax(1).tolist() == exact.argmax(1).tolist()
    assert (found[:, 0] == quick[:, 0]).any()


@torch.no_grad()
def test_a_second_start_uses_a_proven_graph_from_the_first_photo(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    open_path(model, tmp_path, is_asked_for=True).answer(images(PROOF_PHOTOS))
    assert len(pretended.asked) == 1
    second = open_path(model, tmp_path)
    second.model = None  # type: ignore[assignment]  # nothing else may answer
    second.answer(images(1))
    assert (pretended.compiled, len(pretended.asked)) == (["bfloat16"], 2)


@torch.no_grad()
def test_a_proof_goes_on_where_the_former_call_stopped(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    open_path(model, tmp_path, is_asked_for=True).answer(images(PROOF_PHOTOS - 3))
    second = open_path(model, tmp_path)  # the graph is there, so that comparing costs little
    was_proven = second.is_proven
    second.answer(images(3))
    assert (was_proven, second.is_proven) == (False, True)
    assert open_path(model, tmp_path).is_proven
    assert pretended.compiled == ["bfloat16"]


@torch.no_grad()
def test_a_graph_in_bfloat16_that_disagrees_gives_way_to_float32_for_good(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretended.added["bfloat16"] = 3.0
    path, batch = open_path(model, tmp_path, is_asked_for=True), images(PROOF_PHOTOS)
    for _ in range(3):
        torch.testing.assert_close(path.answer(batch).logits, model(batch).logits)
    assert pretended.compiled == ["bfloat16", "float32"]
    assert pretended.asked == ["bfloat16", "float32", "float32"]
    assert "fast path in bfloat16 not used, it does not agree with the network" in capsys.readouterr().err
    open_path(model, tmp_path).answer(batch)
    assert pretended.asked[3:] == ["float32"]


@torch.no_grad()
def test_where_no_graph_agrees_the_network_answers(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path
) -> None:
    pretended.added = {"bfloat16": 3.0, "float32": 3.0}
    batch = images(4)
    for _ in range(2):
        path = open_path(model, tmp_path, is_asked_for=True)
        for _ in range(3):
            torch.testing.assert_close(path.answer(batch).logits, model(batch).logits)
    assert pretended.asked == ["bfloat16", "float32"]


@torch.no_grad()
def test_without_a_compiler_the_network_answers_and_one_line_says_why(
    model: MixtureOfExperts, pretended: Pretended, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def refuse(model: MixtureOfExperts, file: Path, *, arithmetic: str) -> None:
        pretended.compiled.append(arithmetic)
        raise MissingExtraError("no compiler here")

    monkeypatch.setattr(fast_path, "compile_mixture", refuse)
    path, batch = open_path(model, tmp_path, is_asked_for=True), images(4)
    for _ in range(3):
        torch.testing.assert_close(path.answer(batch).logits, model(batch).logits)
    assert pretended.compiled == ["bfloat16"]
    assert capsys.readouterr().err.splitlines()[1:] == ["fast path not used: no compiler here"]
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_asks_its_fast_path(model: MixtureOfExperts, pretended: Pretended, tmp_path: Path) -> None:
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=4).rglob("*.png"))
    asking = Classifier(model, class_names=[*COLORS, "d", "e"])
    exact = asking.predict(list(photos), batch_size=5)
    asking.fast = open_path(model, tmp_path, is_asked_for=True)
    fast = asking.predict(list(photos), batch_size=5)
    assert len(pretended.asked) == 1 + (len(photos) - 1) // 5
    assert [found.label for found in fast] == [found.label for found in exact]


@pytest.mark.slow
@pytest.mark.compiled
def test_a_stored_model_is_compiled_once_and_answers_as_before(
    model: MixtureOfExperts, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "multiplies_bfloat16", lambda device: False)
    photos = sorted(write_class_folders(tmp_path / "photos", per_class=PROOF_PHOTOS // 3 + 1).rglob("*.png"))
    save_model(tmp_path / "model", StoredModel(model.config, (*COLORS, "d", "e"), model.state_dict(), {}))
    exact = mge.load(tmp_path / "model", fast=False).predict(list(photos))
    mge.load(tmp_path / "model", fast=True).predict(list(photos))
    assert "compiled in" in capsys.readouterr().err
    second = mge.load(tmp_path / "model")
    assert second.fast is not None
    assert second.fast.is_proven
    second.model.forward = None  # type: ignore[method-assign, assignment]  # nothing but the graph may answer
    for found, wanted in zip(second.predict(list(photos), batch_size=7), exact, strict=True):
        assert found.label == wanted.label
        assert found.probabilities == pytest.approx(wanted.probabilities, abs=1e-4)
        for box, other in zip(found.boxes_xyxy, wanted.boxes_xyxy, strict=True):
            assert box == pytest.approx(other, abs=0.01)
    assert capsys.readouterr().err == ""
