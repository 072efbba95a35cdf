"""`mge info` and `mge list`: what is there, in a few lines."""

import builtins
import subprocess
import sys
from pathlib import Path

import pytest

import mge
from mge.cli import main
from mge.tasks.list import list as list_names
from tests.runs import write_run


def test_a_model_is_described(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = mge.info(tiny_model)
    assert facts == mge.load(tiny_model).facts()
    text = capsys.readouterr().out
    assert text.startswith(f"{tiny_model}\n  network")
    assert text.endswith(f"Next: mge predict {tiny_model} photo.jpg\n")


def test_a_run_is_described_with_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", data=tmp_path, num_experts=2)
    facts = mge.info(run)
    assert facts["state"] == "not finished"
    assert facts["network"].startswith("2 experts on test_resnet")
    assert main(["info", str(tmp_path / "nowhere")]) == 2
    assert "nowhere' does not exist; give the folder of a run or a model" in capsys.readouterr().err


@pytest.mark.compiled
def test_an_exported_graph_is_described_without_torch(tiny_onnx: Path) -> None:
    script = "import sys\nfrom mge.cli import main\nassert main(sys.argv[1:]) == 0\nassert 'torch' not in sys.modules"
    command = [sys.executable, "-c", script, "info", str(tiny_onnx)]
    assert "3: apple, lime, plum" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_presets_and_formats_are_listed_without_torch() -> None:
    script = (
        "import sys\nfrom mge.cli import main\nassert main(['list', 'presets']) == 0\n"
        "assert main(['list', 'formats', 'c*']) == 0\nassert 'torch' not in sys.modules"
    )
    text = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "best     convnext_base.fb_in22k_ft_in1k_384, 3 experts with shared weights, 384 px, 15 epochs" in text
    assert "cub   image_class_labels.txt" in text
    assert "\nmanifest" not in text


def test_backbones_are_listed_by_timms_filters(capsys: pytest.CaptureFixture[str]) -> None:
    with_weights = list_names("backbones", "resnet50*")
    assert "resnet50.tv_in1k" in with_weights
    assert capsys.readouterr().out.splitlines() == list(with_weights)
    assert "test_resnet" in list_names("backbones", "test_*", pretrained=False)
    assert main(["list", "backbones", "no_such_*"]) == 2
    assert "pattern is 'no_such_*', which matches no name" in capsys.readouterr().err
    assert main(["list", "datasets"]) == 2
    assert "what is 'datasets'; accepted: backbones, presets, formats" in capsys.readouterr().err


def test_a_star_import_leaves_pythons_names_alone() -> None:
    assert "list" not in mge.__all__
    assert not set(mge.__all__) & set(dir(builtins))
