"""`mge serve`: what is served, and what is refused before anything is; the server itself has tests of its own."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

import mge
from mge.cli import main
from mge.errors import ConfigError, ModelFolderError
from mge.inference.classifier import Classifier
from mge.serving import export_cache
from mge.serving.app import create_app
from mge.tasks import serve as task
from tests.photos import write_scene


def test_a_network_of_pytorch_is_served_and_answers_as_offline(tiny_model: Path, tmp_path: Path) -> None:
    classifier = mge.load(tiny_model, fast=False)
    scenes = [write_scene(tmp_path / f"{seed}.png", seed=seed) for seed in range(5)]
    expected = classifier.predict([*scenes])
    with TestClient(create_app(classifier)) as client:
        files = [("photos", (scene.name, scene.read_bytes())) for scene in scenes]
        answers = client.post("/predict?top=3", files=files).json()["predictions"]
    for answer, prediction in zip(answers, expected, strict=True):
        said = {entry["label"]: entry["probability"] for entry in answer["top"]}
        assert said == pytest.approx(dict(prediction.top(3)), abs=1e-5)
        assert answer["boxes_xyxy"] == [pytest.approx(box, abs=1e-3) for box in prediction.boxes_xyxy]
        assert answer["gate_probs"] == pytest.approx(prediction.gate_probs, abs=1e-5)


def test_an_answer_has_the_attention_of_the_network(tiny_model: Path, tmp_path: Path) -> None:
    classifier = mge.load(tiny_model, fast=False)
    prepared = [classifier.prepare(write_scene(tmp_path / f"{seed}.png", seed=seed)) for seed in range(3)]
    with torch.inference_mode():
        output = classifier.model(torch.stack([photo.image for photo in prepared]))
    answers = classifier.answer(prepared)
    np.testing.assert_allclose(np.stack([answer.attention for answer in answers]), output.attention, atol=1e-6)
    shares = (output.logits / classifier.temperature).softmax(1).tolist()
    assert [answer.prediction.probabilities for answer in answers] == [pytest.approx(row, abs=1e-6) for row in shares]


def test_a_folder_is_exported_once_and_that_is_said(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = []

    def export(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        commands.append(command[2:])
        folder = Path(command[-1])
        folder.mkdir(parents=True)
        (folder / "model.onnx").touch()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr("mge.serving.export_cache.subprocess.run", export)
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    file = export_cache.find_export(tiny_model)
    assert export_cache.find_export(tiny_model) == file
    assert commands == [["mge", "export", str(tiny_model), "--out", str(file.parent)]]
    assert file.parent.parent == tmp_path / "onnx"
    assert re.fullmatch(r"Exporting .* to .*model.onnx, once; .*\n", capsys.readouterr().err)


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.CompletedProcess[str]]:
    """The ends of the next exports, which tests put in; the cache is empty."""
    ends: list[subprocess.CompletedProcess[str]] = []
    monkeypatch.setattr("mge.serving.export_cache.subprocess.run", lambda *_, **__: ends.pop(0))
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    return ends


MISSING = subprocess.CompletedProcess([], 2, "", "exporting ...\nmge: error: onnxscript is not installed\n")
REFUSED = subprocess.CompletedProcess(
    [], 3, "", "mge: error: ONNX verification failed: max probability difference 2.0e-02 exceeds\n"
)


@pytest.mark.parametrize("end", [MISSING, REFUSED])
def test_an_export_that_fails_says_why_where_onnx_was_asked_for(
    tiny_model: Path, exports: list[subprocess.CompletedProcess[str]], end: subprocess.CompletedProcess[str]
) -> None:
    exports += [end, end]
    reason = end.stderr.strip().splitlines()[-1].removeprefix("mge: error: ")
    for _ in range(2):  # a second try exports again
        with pytest.raises(ModelFolderError, match=f"could not be exported: {reason}; .* --backend torch"):
            mge.serve(tiny_model, backend="onnx", port=0)
    assert not exports


def test_pytorch_serves_what_cannot_be_exported_and_that_is_said_in_one_line(
    tiny_model: Path, exports: list[subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    exports += [MISSING, MISSING]
    for _ in range(2):  # what is installed can change
        opened, engine = task._open(tiny_model, "auto", threads=1)
        assert engine == "torch"
        assert isinstance(opened, Classifier)
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith("Exporting ")
        assert re.fullmatch(
            r"Warning: .* could not be exported: onnxscript is not installed; served by PyTorch", second
        )
    assert not exports


def test_an_export_that_differs_from_its_model_is_not_tried_at_each_start(
    tiny_model: Path, exports: list[subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    exports += [REFUSED]
    for _ in range(2):
        assert task._open(tiny_model, "auto", threads=1)[1] == "torch"
        *_, last = capsys.readouterr().err.splitlines()
        assert "could not be exported: ONNX verification failed: max probability difference 2.0e-02" in last
    assert not exports


def test_a_missing_onnx_runtime_is_no_reason_not_to_serve_a_folder(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise mge.MissingExtraError("an .onnx file needs onnxruntime, which is not installed")

    monkeypatch.setattr("mge.serving.export_cache.find_export", lambda model, **_: model / "model.onnx")
    monkeypatch.setattr("mge.inference.onnx_classifier.OnnxClassifier.load", fail)
    assert task._open(tiny_model, "auto", threads=1)[1] == "torch"
    assert "onnxruntime, which is not installed; served by PyTorch" in capsys.readouterr().err
    for model, engine in ((tiny_model, "onnx"), (Path("birds.onnx"), "auto")):
        with pytest.raises(mge.MissingExtraError, match="onnxruntime"):
            task._open(model, engine, threads=1)  # type: ignore[arg-type]


def test_without_pytorch_the_reason_of_the_export_is_the_error(
    tiny_model: Path, exports: list[subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    exports += [MISSING]
    monkeypatch.setattr("mge.tasks.serve.find_spec", lambda name: None)
    with pytest.raises(ModelFolderError, match="could not be exported: onnxscript is not installed"):
        task._open(tiny_model, "auto", threads=1)


def test_the_warnings_of_an_export_are_shown(
    tiny_model: Path, exports: list[subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    exports += [subprocess.CompletedProcess([], 0, "", "Exporting and verifying ...\nWarning: ONNX differs: 1.1e-03\n")]
    export_cache.find_export(tiny_model)
    assert capsys.readouterr().err.splitlines()[1:] == ["Warning: ONNX differs: 1.1e-03"]


def test_the_key_of_the_cache_changes_with_the_code_that_exports(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in export_cache.SOURCES:
        assert list((export_cache.PACKAGE / name).glob("*.py")), name
        (tmp_path / name).mkdir()
        (tmp_path / name / "graph.py").touch()
    monkeypatch.setattr(export_cache, "PACKAGE", tmp_path)
    before = export_cache._key(tiny_model)
    (tmp_path / "exporting" / "graph.py").write_text("OPSET = 99", encoding="utf-8")
    assert export_cache._key(tiny_model) != before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"port": 70000}, "port is 70000; accepted: at least 0 and at most 65535"),
        ({"backend": "tensorrt"}, "backend is 'tensorrt'; accepted: auto, onnx, torch"),
        ({"api_key": "pass\nword"}, "the API key has characters that an HTTP header cannot contain"),
        ({"queue": 0, "port": 0}, "queue is 0; accepted: at least 1"),
        ({"backend": "torch", "port": 0}, "is run by ONNX Runtime; leave out --backend torch"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_served(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        mge.serve("model.onnx", **options)


def test_what_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "nothing", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("mge: error: 'nothing' does not exist")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("runs/birds", "birds"),
        ("runs/birds/best", "birds"),
        ("birds.onnx", "birds"),
        ("birds/export/onnx/model.onnx", "birds"),
        ("runs/birds-1.5", "birds-1.5"),
        ("runs/birds-1.5/best", "birds-1.5"),
        ("birds-1.5/export/onnx/MODEL.ONNX", "birds-1.5"),
        ("BIRDS.ONNX", "BIRDS"),
    ],
)
def test_the_page_calls_a_model_by_the_name_that_people_gave_it(model: str, name: str) -> None:
    assert task._name(Path(model)) == name
