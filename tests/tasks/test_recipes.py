"""Every recipe trains: a few steps on an archive in the layout that it is for, with a tiny backbone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mge.cli import main
from mge.storage.run_folder import Run
from tests import archives

RECIPES = Path(__file__).parents[2] / "recipes"
ARCHIVES: dict[str, Callable[[Path], None]] = {
    "cub": archives.write_cub,
    "cars": archives.write_cars_devkit,
    "aircraft": archives.write_aircraft,
    "nabirds": archives.write_nabirds,
    "dogs": archives.write_dogs,
}
BACKBONES = {"paper": "test_resnet", "best": "test_convnext"}
SMALL = (
    "--pretrained", "false", "--size", "64", "--epochs", "1", "--warmup_epochs", "0", "--batch_size", "2",
    "--accelerator", "cpu",
)  # fmt: skip


def test_there_are_recipes_for_five_benchmarks_by_two_presets() -> None:
    expected = {f"{name}{ending}.yaml" for name in ARCHIVES for ending in ("", "-best")} | {"demo.yaml", "grocery.yaml"}
    assert {file.name for file in RECIPES.glob("*.yaml")} == expected


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_recipe_trains_a_mixture_on_its_archive(
    name: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = RECIPES / (f"{name}.yaml" if kind == "paper" else f"{name}-best.yaml")
    assert yaml.safe_load(recipe.read_text(encoding="utf-8"))["preset"] == kind
    ARCHIVES[name](tmp_path / "archive")
    run = tmp_path / "run"
    command = ["train", str(tmp_path / "archive"), "--config", str(recipe), "--out", str(run)]
    assert main([*command, "--backbone", BACKBONES[kind], *SMALL]) == 0, capsys.readouterr().err
    figures = Run(run).summary()
    assert figures["fusion"].get("trained_experts", len(figures["experts_top1"])) == 3  # fewer may answer
    assert figures["split"] == "test"
    assert len(Run(run).metrics()) == (3 if kind == "paper" else 1)  # progressive: a stage for each expert
