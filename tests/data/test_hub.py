"""Data sets of the Hugging Face Hub, out of a cache that the tests fill: no test asks the network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.exceptions import DatasetNotFoundError

import mge
from mge.cli import main
from mge.config import DataConfig
from mge.data.sources import read_photos
from mge.data.sources.hub_datasets import HubDatasetName, is_hub, parse_hub_name
from mge.errors import DataError
from mge.training.start import _short_name
from tests.tables import as_dataset, rows

CONFIG = DataConfig(cache="no")
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a Hub that is never asked."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield tmp_path / "cache"
    datasets.enable_progress_bars()


def fill(
    cache: Path, repository: str, splits: dict[str, datasets.Dataset], *, config: str = "default", commit: str = OLD
) -> None:
    """Puts a data set where `datasets` keeps what it has downloaded."""
    owner, name = repository.split("/")
    folder = cache / f"{owner}___{name}" / config / "0.0.0" / commit
    folder.mkdir(parents=True)
    infos = datasets.SplitDict(dataset_name=name)
    for split, dataset in splits.items():
        writer = datasets.arrow_writer.ArrowWriter(
            path=str(folder / f"{name}-{split}.arrow"), features=dataset.features
        )
        writer.write_table(dataset.data.table)
        writer.finalize()
        infos.add(datasets.SplitInfo(name=split, num_examples=len(dataset), dataset_name=name))
    info = datasets.DatasetInfo(
        features=dataset.features, splits=infos, builder_name="parquet", dataset_name=name, config_name=config,
        version="0.0.0",
    )  # fmt: skip
    info.write_to_directory(str(folder))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:ethz/food101", HubDatasetName("ethz/food101", None, None)),
        ("hf:a-b/c.d_e:fine", HubDatasetName("a-b/c.d_e", "fine", None)),
        ("hf:a/b@v1.0", HubDatasetName("a/b", None, "v1.0")),
        ("hf:a/b:fine@refs/convert/parquet", HubDatasetName("a/b", "fine", "refs/convert/parquet")),
    ],
)
def test_a_name_has_a_repository_and_may_have_a_config_and_a_revision(text: str, expected: HubDatasetName) -> None:
    assert is_hub(Path(text))
    assert parse_hub_name(text) == expected


@pytest.mark.parametrize("text", ["hf:", "hf:food101", "hf:a/b/c", "hf:../b", "hf:a/b:", "hf:a/b@", "hf:a b/c"])
def test_what_is_no_name_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(DataError, match=r"accepted: hf:owner/name, hf:owner/name:config"):
        read_photos(text, config=CONFIG)


def test_a_data_set_is_read_with_its_splits_and_its_commit(cache: Path) -> None:
    names = ["plum", "lime", "apple"]
    splits = {"train": as_dataset(rows(4), names=names), "validation": as_dataset(rows(1, seed=1), names=names)}
    fill(cache, "nobody/birds", splits)
    photos = read_photos("hf:nobody/birds", config=CONFIG)
    assert photos.name == "nobody/birds"
    assert photos.class_names == ("plum", "lime", "apple")
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [12, 3, 0]
    assert str(photos.split("train")[5].path) == "nobody/birds/train#5"
    assert photos.split("train")[5].content == rows(4)["image"][5]["bytes"]
    assert OLD in photos.source
    assert sum("Hub" in note for note in photos.notes) == 1
    assert OLD in photos.notes[0]


def test_where_train_is_the_only_split_the_others_are_held_out(cache: Path) -> None:
    fill(cache, "nobody/birds", {"train": as_dataset(rows(10))})
    photos = read_photos("hf:nobody/birds", config=DataConfig(test_fraction=0.2, val_fraction=0.25))
    assert [len(photos.split(name)) for name in ("train", "val", "test")] == [18, 6, 6]


def test_a_folder_of_the_same_name_is_not_taken_for_the_data_set(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    as_dataset(rows(1)).to_parquet(tmp_path / "train.parquet")
    (tmp_path / "nobody" / "birds").mkdir(parents=True)
    (tmp_path / "train.parquet").rename(tmp_path / "nobody" / "birds" / "train.parquet")
    fill(cache, "nobody/birds", {"train": as_dataset(rows(10))})
    assert len(read_photos("hf:nobody/birds", config=CONFIG).records) == 30


def test_a_config_is_chosen_by_name(cache: Path) -> None:
    for config, per_class in (("few", 2), ("many", 3)):
        fill(cache, "nobody/birds", {"train": as_dataset(rows(per_class))}, config=config)
    assert len(read_photos("hf:nobody/birds:many", config=CONFIG).records) == 9
    with pytest.raises(DataError, match=r"few.*a config is given as hf:nobody/birds:CONFIG"):
        read_photos("hf:nobody/birds", config=CONFIG)


def test_a_revision_is_that_one_or_refused(cache: Path) -> None:
    fill(cache, "nobody/birds", {"train": as_dataset(rows(2))}, commit=NEW)
    photos = read_photos(f"hf:nobody/birds@{NEW}", config=CONFIG)
    assert len(photos.records) == 6
    assert not any("Hub" in note for note in photos.notes)
    for revision in (OLD, "v1.0"):
        with pytest.raises(DataError, match=f"was not found.*offline, use hf:nobody/birds@{NEW}"):
            read_photos(f"hf:nobody/birds@{revision}", config=CONFIG)


def test_without_network_and_cache_it_is_said_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["--backbone", "test_resnet", "--no-pretrained", "--size", "64", "--accelerator", "cpu"]
    assert main(["train", "hf:nobody/birds", *tiny]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "hf:nobody/birds cannot be loaded" in line
    for way_out in ("HF_HOME", "HF_HUB_OFFLINE=1", "Parquet"):
        assert way_out in line
    assert not list((tmp_path / "runs").glob("*"))


def test_a_data_set_that_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DatasetNotFoundError("Dataset 'nobody/birds' doesn't exist on the Hub or cannot be accessed.")

    monkeypatch.setattr(datasets, "load_dataset_builder", refuse)
    with pytest.raises(DataError, match=r"doesn't exist on the Hub .*; check the name .* hf auth login"):
        read_photos("hf:nobody/birds", config=CONFIG)


def test_a_run_is_named_after_the_data_set_and_its_configuration_keeps_the_name(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _short_name("hf:nobody/birds:fine@v1.0") == _short_name("/photos/birds.csv") == "birds"
    (tmp_path / "birds-1.5").mkdir()
    assert _short_name(str(tmp_path / "birds-1.5")) == "birds-1.5"
    monkeypatch.chdir(tmp_path)
    fill(cache, "nobody/birds", {"train": as_dataset(rows(6))})
    run = mge.train(
        "hf:nobody/birds", backbone="test_resnet", pretrained=False, size=64, experts=1, part_filters=0, epochs=1,
        batch_size=4, accelerator="cpu",
    )  # fmt: skip
    assert run.folder == Path("runs/birds")
    assert "Note: the Hugging Face Hub is not reachable" in capsys.readouterr().out
    assert OLD in (run.best / "model.json").read_text()
    assert run.config()["data"] == "hf:nobody/birds"
    assert mge.evaluate(run.folder)["mixture_top1"] == run.summary()["mixture_top1"]


def test_a_run_goes_on_with_the_commit_that_it_began_with(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(cache, "nobody/birds", {"train": as_dataset(rows(6))})
    tiny: dict[str, Any] = {"backbone": "test_resnet", "pretrained": False, "size": 64, "experts": 1, "epochs": 1}
    run = mge.train("hf:nobody/birds", part_filters=0, batch_size=4, accelerator="cpu", **tiny)
    assert run.data() == f"hf:nobody/birds@{OLD}"
    (run.folder / "summary.json").unlink()
    shutil.rmtree(cache)
    fill(cache, "nobody/birds", {"train": as_dataset(rows(6, seed=1))}, commit=NEW)
    with pytest.raises(DataError, match=f"the revision '{OLD}' of hf:nobody/birds was not found"):
        mge.train(resume=run.folder)
    with pytest.raises(DataError, match=f"the revision '{OLD}' of hf:nobody/birds was not found"):
        mge.evaluate(run.folder)
    fill(cache, "nobody/birds", {"train": as_dataset(rows(6))})
    shutil.rmtree(next(cache.glob(f"**/{NEW}")))
    assert mge.train(resume=run.folder).summary()["mixture_top1"] >= 0
