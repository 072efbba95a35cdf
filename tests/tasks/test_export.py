"""`mge export` writes a graph that answers as the model does, or nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import mge
from mge.cli import main
from mge.exporting import artifacts
from mge.exporting.artifacts import describe, open_mixture, write_description
from mge.exporting.graph import OUTPUTS, to_graph
from mge.exporting.parity import Parity
from mge.models.mixture import MixtureOfExperts
from mge.storage.export_description import Description, Format
from mge.storage.model_folder import load_model
from tests.exports import build_tiny, save_mixture
from tests.photos import write_class_folders, write_scene

compiled = pytest.mark.compiled


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed, size in enumerate([(160, 120), (120, 160), (128, 128), (300, 60), (50, 70)]):
        write_scene(folder / f"{seed}.png", seed=seed, size=size)
    return folder


@compiled
@pytest.mark.slow
def test_a_run_is_exported_from_the_command_line_and_checked_on_its_own_photos(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_class_folders(tmp_path / "data", per_class=8)
    options: dict[str, Any] = {
        "backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 2, "part_filters": 2, "epochs": 1,
        "accelerator": "cpu",
    }  # fmt: skip
    run = mge.train(data, out=tmp_path / "run", **options).folder
    capsys.readouterr()
    assert main(["export", str(run)]) == 0
    streams = capsys.readouterr()
    assert "verifying on 6 photos of data" in streams.err
    file = run / "export" / "onnx" / "model.onnx"
    assert f"Written: {file}" in streams.out
    assert "6 of 6 photos with the same prediction" in streams.out
    assert sorted(path.name for path in file.parent.iterdir()) == ["classify.py", "model.onnx", "preprocessing.json"]
    expected = mge.load(run, fast=False).predict(photos / "0.png")
    assert mge.load(file).predict(photos / "0.png").probabilities == pytest.approx(expected.probabilities, abs=1e-5)


@compiled
def test_the_graph_takes_any_number_of_photos_and_names_what_it_gives(tiny_onnx: Path) -> None:
    graph = onnx.load(tiny_onnx).graph
    assert [(value.name, value.type.tensor_type.elem_type) for value in graph.input] == [
        ("images", onnx.TensorProto.UINT8)
    ]
    batch, *rest = graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param
    assert not batch.dim_value
    assert [dimension.dim_value for dimension in rest] == [3, 128, 128]
    assert [value.name for value in graph.output] == [*mge.MixtureOutput._fields, "probabilities"]


@compiled
def test_the_example_program_says_what_mge_says_without_mge(tiny_onnx: Path, tiny_model: Path, photos: Path) -> None:
    program = tiny_onnx.parent / "classify.py"
    assert len(program.read_text(encoding="utf-8").splitlines()) < 30
    files = sorted(photos.iterdir())
    script = (
        f"import sys; sys.modules['mge'] = sys.modules['torch'] = None; import runpy; runpy.run_path({str(program)!r})"
    )
    command = [sys.executable, "-c", script, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)
    expected = [
        f"{file}: {prediction.label} {100 * prediction.probability:.1f} %"
        for file, prediction in zip(files, mge.load(tiny_model, fast=False).predict(list(files)), strict=True)
    ]
    assert done.stdout.splitlines() == expected


@compiled
@pytest.mark.parametrize("runtime", ["torch-export", pytest.param("openvino", marks=pytest.mark.slow)])
def test_other_runtimes_answer_as_the_model_does(
    tiny_model: Path, photos: Path, tmp_path: Path, runtime: Format
) -> None:
    file = mge.export(tiny_model, format=runtime, out=tmp_path / "out", photos=photos)
    classifier = mge.load(tiny_model, fast=False)
    images = torch.stack([classifier.prepare(photo).image for photo in sorted(photos.iterdir())])
    with torch.no_grad():
        expected = classifier.model(images)
    found = open_mixture(file)(images.numpy())
    for name, tensor in zip(expected._fields, expected, strict=True):
        assert found[name] == pytest.approx(tensor.numpy(), abs=1e-4)
    assert json.loads((file.parent / "preprocessing.json").read_text())["input"]["side"] == 128


@compiled
def test_probabilities_are_calibrated_inside_the_graph(tmp_path: Path) -> None:
    stored = load_model(save_mixture(tmp_path / "model", build_tiny(experts=1), calibration={"temperature": 2.5}))
    graph = to_graph(build_tiny(experts=1), temperature=describe(stored).temperature).module()
    said = dict(zip(OUTPUTS, graph(torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8)), strict=True))
    torch.testing.assert_close(said["probabilities"], torch.softmax(said["logits"] / 2.5, 1))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Parity]:
    """The differences of the next export, which tests put in; no graph is written or run."""
    found: list[Parity] = []
    monkeypatch.setattr(artifacts, "write_mixture", write_nothing)
    monkeypatch.setattr(artifacts, "open_mixture", lambda file: None)
    monkeypatch.setattr(artifacts, "measure_parity", lambda *_, **__: found[0])
    return found


def write_nothing(model: MixtureOfExperts, description: Description, folder: Path, **_: Any) -> Path:  # noqa: ANN401
    write_description(description, folder)
    return folder / "model.onnx"


def test_a_graph_that_answers_otherwise_is_not_written(
    tiny_model: Path, photos: Path, tmp_path: Path, measured: list[Parity], capsys: pytest.CaptureFixture[str]
) -> None:
    measured.append(Parity(5, 4, 0.2, 30.0, changed_margin=0.3))
    with pytest.raises(mge.ExportError, match=r"^ONNX verification failed: 1 of 5 photos with another predicted class"):
        mge.export(tiny_model, out=tmp_path / "out", photos=photos)
    assert list(tmp_path.iterdir()) == []
    measured[0] = Parity(5, 5, 0.02, 0.1)
    capsys.readouterr()
    assert main(["export", str(tiny_model), "--out", str(tmp_path / "out"), "--photos", str(photos)]) == 3
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(
        "mge: error: ONNX verification failed: max probability difference 2.0e-02 exceeds the tolerance 1.0e-02 "
        "(--tolerance); nothing was written"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_small_difference_is_a_warning_in_one_line_and_stands_in_the_description(
    tiny_model: Path, photos: Path, tmp_path: Path, measured: list[Parity], capsys: pytest.CaptureFixture[str]
) -> None:
    measured.append(Parity(5, 5, 1.1e-3, 0.04))
    command = ["export", str(tiny_model), "--out", str(tmp_path / "out"), "--photos", str(photos)]
    assert main(command) == 0
    streams = capsys.readouterr()
    (warning,) = [line for line in streams.err.splitlines() if line.startswith("Warning: ")]
    assert "max probability difference 1.1e-03" in warning
    assert "5 of 5 photos with the same prediction" in streams.out
    description = json.loads((tmp_path / "out" / "preprocessing.json").read_text(encoding="utf-8"))
    assert description["verification"] == {
        "photos": 5, "same_prediction": 5, "max_probability_difference": 1.1e-3, "max_box_difference_px": 0.04,
        "tolerance": 0.01,
    }  # fmt: skip
    assert main([*command, "--tolerance", "1e-3"]) == 3
    measured[0] = Parity(5, 5, 2e-5, 0.04)
    capsys.readouterr()
    assert main(command) == 0
    assert "Warning" not in capsys.readouterr().err


def test_two_classes_that_are_as_likely_may_change_places_with_a_warning(
    tiny_model: Path, photos: Path, tmp_path: Path, measured: list[Parity], capsys: pytest.CaptureFixture[str]
) -> None:
    measured.append(Parity(5, 4, 3e-5, 0.0, changed_margin=2e-5))
    mge.export(tiny_model, out=tmp_path / "out", photos=photos)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning: ")]
    assert "1 of 5 photos with another predicted class" in warning


def test_a_model_without_photos_is_checked_on_drawn_ones(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    def pretend(*_: object, images: object, **__: object) -> Parity:
        seen.append(images)
        (tmp_path / "out").mkdir()
        return Parity(32, 32, 0.0, 0.0)

    monkeypatch.setattr(artifacts, "export_mixture", pretend)
    mge.export(tiny_model, out=tmp_path / "out")
    assert np.shape(seen[0]) == (32, 3, 128, 128)
    said = capsys.readouterr().err
    assert "a model folder without its run has no test photos" in said
    assert "32 drawn beetles (your own photos are a better test: --photos FOLDER)" in said


def test_wrong_options_are_refused_before_anything_is_read(tmp_path: Path, photos: Path, tiny_model: Path) -> None:
    with pytest.raises(mge.ConfigError, match="format is 'tflite'; accepted: onnx, torch-export, openvino, timm"):
        mge.export(tmp_path / "nowhere", format="tflite")  # type: ignore[arg-type]
    for wrong in (-1e-3, 1.5, float("nan")):
        with pytest.raises(mge.ConfigError, match=f"tolerance is {wrong}; accepted: at least 0 and at most 1"):
            mge.export(tmp_path / "nowhere", tolerance=wrong)
    with pytest.raises(mge.ConfigError, match="looks like a file; give a folder"):
        mge.export(tmp_path / "nowhere", out="birds.onnx")
    with pytest.raises(mge.StorageError, match=r"contains .*, which is not part of an export"):
        mge.export(tmp_path / "nowhere", out=photos)
    with pytest.raises(mge.ModelFolderError, match="does not exist"):
        mge.export(tmp_path / "nowhere", out=tmp_path / "out")
    with pytest.raises(mge.DataError, match="no photo found at"):
        mge.export(tiny_model, out=tmp_path / "out", photos=tmp_path / "none")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with pytest.raises(mge.DataError, match="none of the photos"):
        mge.export(tiny_model, out=tmp_path / "out", photos=tmp_path / "broken.jpg")


def test_outputs_are_the_fields_of_the_mixtures_output() -> None:
    assert list(OUTPUTS) == [*mge.MixtureOutput._fields, "probabilities"]
