"""Every recipe fits its archive, and those of each preset train: a few steps with a tiny backbone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mge.cli import main
from mge.config import Preset, split_options
from mge.data.sources import read_photos
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
BACKBONES: dict[Preset, str] = {"paper": "test_resnet", "best": "test_convnext"}
SMALL = (
    "--pretrained", "false", "--size", "64", "--epochs", "1", "--warmup_epochs", "0", "--batch_size", "2",
    "--accelerator", "cpu",
)  # fmt: skip


def test_there_are_recipes_for_five_benchmarks_by_two_presets() -> None:
    expected = {f"{name}{ending}.yaml" for name in ARCHIVES for ending in ("", "-best")} | {"demo.yaml", "grocery.yaml"}
    assert {file.name for file in RECIPES.glob("*.yaml")} == expected


def recipe_of(name: str, kind: Preset) -> Path:
    return RECIPES / (f"{name}.yaml" if kind == "paper" else f"{name}-best.yaml")


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_recipe_is_a_preset_and_its_archive_is_read_with_it(name: str, kind: Preset, tmp_path: Path) -> None:
    """So that of the recipes of one preset it is enough to train one."""
    assert yaml.safe_load(recipe_of(name, kind).read_text(encoding="utf-8")) == {"preset": kind}
    model, data, _ = split_options({}, preset=kind)
    assert model.experts == 3
    ARCHIVES[name](tmp_path / "archive")
    photos = read_photos(tmp_path / "archive", config=data)
    assert photos.split("train")
    assert photos.split("test")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("cub", "paper"), ("dogs", "best")])
def test_a_recipe_trains_a_mixture_on_its_archive(
    name: str, kind: Preset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_of(name, kind)
    ARCHIVES[name](tmp_path / "archive")
    run = tmp_path / "run"
    command = ["train", str(tmp_path / "archive"), "--config", str(recipe), "--out", str(run)]
    assert main([*command, "--backbone", BACKBONES[kind], *SMALL]) == 0, capsys.readouterr().err
    figures = Run(run).summary()
    assert figures["fusion"].get("trained_experts", len(figures["experts_top1"])) == 3  # fewer may answer
    assert figures["split"] == "test"
    assert len(Run(run).metrics()) == (3 if kind == "paper" else 1)  # progressive: a stage for each expert
