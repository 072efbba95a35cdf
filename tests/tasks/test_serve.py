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

    monkeypatch.setattr("mge.tasks.serve.subprocess.run", export)
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    file = task._exported(tiny_model)
    assert task._exported(tiny_model) == file
    assert commands == [["mge", "export", str(tiny_model), "--out", str(file.parent)]]
    assert file.parent.parent == tmp_path / "onnx"
    assert re.fullmatch(r"Exporting .* to .*model.onnx, once; .*\n", capsys.readouterr().err)


def test_an_export_that_fails_says_why(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "exporting ...\nmge: error: onnxscript is not installed\n")
    monkeypatch.setattr("mge.tasks.serve.subprocess.run", lambda *_, **__: failed)
    monkeypatch.setenv("MGE_CACHE", str(tmp_path))
    with pytest.raises(
        ModelFolderError, match=r"could not be exported: onnxscript is not installed; alternatively serve it with"
    ):
        task._exported(tiny_model)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"port": 70000}, "port is 70000; accepted: at least 0 and at most 65535"),
        ({"backend": "tensorrt"}, "backend is 'tensorrt'; accepted: onnx, torch"),
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
