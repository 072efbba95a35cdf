"""`mge export --format timm`: networks that timm loads without MGE."""

import json
from pathlib import Path

import pytest
import timm
import torch

import mge
from mge.cli import main
from mge.inference.classifier import Classifier
from mge.storage.model_folder import load_model
from tests.models.networks import draw, expert_of
from tests.photos import COLORS
from tests.runs import write_model


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_vit"])
@torch.no_grad()
def test_timm_loads_each_expert_with_the_same_features_and_logits(backbone: str, tmp_path: Path) -> None:
    size = 160 if backbone == "test_vit" else 64
    model = write_model(tmp_path / "model", backbone=backbone, num_experts=2, size=size)
    assert main(["export", str(model), "--format", "timm", "--output", str(tmp_path / "out")]) == 0
    network = Classifier.from_stored(load_model(model)).model
    views = draw(height=size, width=size)
    for number in range(2):
        folder = tmp_path / "out" / f"expert_{number}"
        expected = expert_of(network, number)(views)
        net = timm.create_model(backbone, num_classes=3, checkpoint_path=str(folder / "model.safetensors")).eval()
        torch.testing.assert_close(net(views), expected.large_logits, rtol=1e-4, atol=1e-5)
        bare = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
        torch.testing.assert_close(bare(views), expected.large_features, rtol=1e-4, atol=1e-5)
    described = json.loads((folder / "config.json").read_text())
    assert described["label_names"] == list(COLORS)
    assert described["pretrained_cfg"]["input_size"] == [3, size, size]
    assert described["pretrained_cfg"]["mean"] == pytest.approx(network.mean.flatten().tolist())


def test_a_shared_network_is_one_folder_which_a_new_export_replaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", num_experts=3, share_experts=True)
    for _ in range(2):
        folder = mge.export(model, format="timm")
    assert folder == model / "export" / "timm"
    assert sorted(path.name for path in folder.iterdir()) == ["expert_0", "preprocessing.json"]
    assert "Next: timm.create_model('test_resnet', num_classes=3, checkpoint_path=" in capsys.readouterr().out


def test_what_timm_cannot_hold_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "old", backbone="test_convnext", head_layers="none")
    command = ["export", str(model), "--format", "timm", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "format is 'timm', and test_convnext has other layers before its classifier" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*command, "--photos", str(tmp_path)]) == 2
    assert "photos is set and format is 'timm'" in capsys.readouterr().err
