"""A cascade of graphs answers as the cascade of the network does."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mge
from mge.cascade.runner import run_cascade
from mge.config import Mix
from mge.core.losses import mix_experts
from mge.exporting.artifacts import export_cascade
from mge.inference.classifier import Classifier
from mge.inference.onnx_cascade import OnnxCascade, prefix_gate, prefix_logits, softmax, top2_margin
from mge.storage.model_folder import load_model
from tests.exports import build_tiny, save_mixture
from tests.photos import write_scene

compiled = pytest.mark.compiled


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scenes")
    return [write_scene(folder / f"{seed}.png", seed=seed) for seed in range(12)]


def export_tiny(folder: Path, scenes: list[Path], **options: Any) -> tuple[Path, Path]:  # noqa: ANN401
    """A model folder, and the folder of its cascade; about half of the scenes leave after expert 0."""
    model = build_tiny(**options)
    classifier = Classifier(model, class_names=["a", "b", "c"])
    images = torch.stack([classifier.prepare(scene).image for scene in scenes])
    with torch.no_grad():
        margins = np.sort(top2_margin(model(images).joint_logits[:, 0].numpy()))
    middle = float(margins[len(scenes) // 2 - 1 : len(scenes) // 2 + 1].mean())
    thresholds = [middle, *[0.7] * (options["experts"] - 2)]
    saved = save_mixture(folder / "model", model, cascade={"leads": thresholds})
    parity = export_cascade(model, load_model(saved), folder / "cascade", images=images.numpy())
    assert parity.is_same
    return saved, folder / "cascade"


def assert_same_cascade(model: Path, folder: Path, scenes: list[Path]) -> list[int]:
    """Compares with the network's own cascade; gives how many experts looked at each photo."""
    classifier, exported = mge.load(model, fast=False), OnnxCascade.load(folder, threads=1)
    images = torch.stack([classifier.prepare(scene).image for scene in scenes])
    expected = run_cascade(classifier.model, images, thresholds=classifier.thresholds or ())
    found = exported.run(images.numpy(), cascade=True)
    assert found["num_experts_run"].tolist() == expected.num_experts_run.tolist()
    for name, tensor in zip(expected.mixture._fields, expected.mixture, strict=True):
        np.testing.assert_allclose(found[name], tensor.numpy(), atol=1e-4, err_msg=name)
    for one, other in zip(
        exported.predict(list(scenes), cascade=True), classifier.predict(list(scenes), cascade=True), strict=True
    ):
        assert (one.label, one.num_experts_run) == (other.label, other.num_experts_run)
        assert one.gate_probs == pytest.approx(other.gate_probs, abs=1e-5)
    return [int(count) for count in expected.num_experts_run]


@compiled
def test_photos_leave_after_the_same_experts_with_the_same_answers(scenes: list[Path], tmp_path: Path) -> None:
    model, folder = export_tiny(tmp_path, scenes, experts=3)
    counts = assert_same_cascade(model, folder, scenes)
    assert len(set(counts)) > 1  # or it would prove little
    assert isinstance(mge.load(folder), OnnxCascade)
    whole = mge.load(folder).predict(scenes[0])
    assert whole.num_experts_run == 3
    # The example program chains the graphs in the same way.
    program = str(folder / "classify_by_cascade.py")
    script = f"import sys; sys.modules['mge'] = sys.modules['torch'] = None; import runpy; runpy.run_path({program!r})"
    command = [sys.executable, "-c", script, *map(str, scenes)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180).stdout.splitlines()
    expected = mge.load(model, fast=False).predict(list(scenes), cascade=True)
    assert lines == [
        f"{each.path}: {each.label} {100 * each.probability:.1f} %, after {each.num_experts_run} of 3 experts"
        for each in expected
    ]
    shutil.copyfile(folder / "expert_2.onnx", folder / "expert_1.onnx")
    with pytest.raises(mge.ModelFolderError, match=r"expert_1\.onnx is from another export"):
        mge.load(folder)
    with pytest.raises(mge.ModelFolderError, match="one part of an early-exit export"):
        mge.load(folder / "expert_0.onnx")


@compiled
@pytest.mark.slow
def test_views_of_views_an_own_gate_and_mixed_probabilities_are_chained_too(scenes: list[Path], tmp_path: Path) -> None:
    options = {"zoom_from": "previous", "gate": "own", "mix": "probs", "geometry": "authors", "attention": "first"}
    model, folder = export_tiny(tmp_path, scenes, experts=2, **options)
    assert_same_cascade(model, folder, scenes)


def test_shares_and_probabilities_are_those_of_the_core() -> None:
    from mge.cascade import margin

    gate = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    for count in (1, 2, 3):
        expected = margin.prefix_gate(gate, num_experts=count)
        assert prefix_gate(gate.numpy(), num_experts=count) == pytest.approx(expected.numpy(), abs=1e-7)
    logits = torch.randn(3, 2, 7) * 30
    assert softmax(logits.numpy()) == pytest.approx(logits.softmax(2).numpy(), abs=1e-6)
    assert top2_margin(logits.numpy()) == pytest.approx(margin.top2_margin(logits).numpy(), abs=1e-6)


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_a_mixture_of_experts_is_that_of_the_core_however_unlikely_a_class_is(mix: Mix) -> None:
    """Calibration may divide logarithms of probabilities that float32 does not know by a high temperature."""
    joint, gate = torch.tensor([[[0.0, -150.0, 2.0], [0.0, -200.0, 1.0]]]), torch.tensor([[0.75, 0.25]])
    expected = mix_experts(joint, gate, mix=mix).numpy()
    assert prefix_logits(joint.numpy(), gate.numpy(), mix=mix) == pytest.approx(expected, rel=1e-6)


def test_what_is_no_cascade_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(mge.ConfigError, match="format is 'openvino'; accepted with cascade: onnx"):
        mge.export(tiny_model, format="openvino", cascade=True)
    single = save_mixture(tmp_path / "single", build_tiny(experts=1))
    with pytest.raises(mge.ConfigError, match="has one expert, and early exit needs at least two"):
        mge.export(single, cascade=True)
    assert not (single / "export").exists() or not list((single / "export").iterdir())
