"""A model folder comes back as it was, or is refused with the reason."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mge.config import ModelConfig
from mge.errors import ModelFolderError, StorageError
from mge.storage.checksum import NO_CHECKSUM
from mge.storage.model_folder import FORMAT_VERSION, StoredModel, load_model, save_model
from tests.storage.test_checkpoint import small_files_only  # noqa: F401  (a fixture)


def model(**metadata: Any) -> StoredModel:  # noqa: ANN401
    state = {"head.weight": torch.arange(6.0).view(2, 3), "num_batches": torch.tensor(7)}
    names = ("Käfer", "beetle, ringed")
    return StoredModel(ModelConfig(backbone="test_resnet", experts=2), names, state, metadata)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "best", model(preprocessing={"resize": "short"}, provenance={"data": "beetles"}))
    return tmp_path / "best"


def describe(folder: Path, **changes: Any) -> None:  # noqa: ANN401
    """Writes model.json anew with changes (None removes), as a person with an editor would."""
    file = folder / "model.json"
    description = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in description.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


def test_a_model_comes_back_as_it_was(folder: Path) -> None:
    loaded = load_model(folder)
    assert loaded.config == model().config
    assert loaded.class_names == model().class_names
    assert loaded.metadata == {"preprocessing": {"resize": "short"}, "provenance": {"data": "beetles"}}
    assert loaded.state.keys() == model().state.keys()
    assert all(torch.equal(tensor, model().state[name]) for name, tensor in loaded.state.items())
    assert loaded.state["num_batches"].dtype == torch.int64


def test_a_folder_holds_three_files_that_everyone_may_read(folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "model.json", "model.safetensors"]
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "2 experts, backbone test_resnet" in card
    assert "- data: beetles" in card


def test_a_model_is_replaced_by_the_next(folder: Path) -> None:
    save_model(folder, model(thresholds=[0.5]))
    assert load_model(folder).metadata == {"thresholds": [0.5]}
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(StorageError, match="contains other files than a model; give another folder"):
        save_model(tmp_path, model())
    assert (tmp_path / "photo.jpg").exists()


@pytest.mark.usefixtures("small_files_only")
def test_a_full_disk_leaves_the_former_model(folder: Path) -> None:
    large = StoredModel(ModelConfig(), ("a", "b"), {"weight": torch.zeros(100_000)}, {})
    with pytest.raises(StorageError, match="best was not written: File too large"):
        save_model(folder, large)
    assert load_model(folder).class_names == model().class_names
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_name_that_the_format_uses_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="metadata uses a reserved key"):
        save_model(tmp_path / "best", model(weights=3))


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelFolderError, match=r"is not a model folder: it has no model\.json; give a folder"):
            load_model(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    describe(folder, format_version=FORMAT_VERSION + 1, weights=None)
    with pytest.raises(
        ModelFolderError, match=r"has format version 5; this version of MGE reads up to 4; install a newer mge"
    ):
        load_model(folder)


def test_a_folder_from_before_there_was_a_choice_answers_as_it_did_then(folder: Path) -> None:
    file = folder / "model.json"
    description = json.loads(file.read_text(encoding="utf-8"))
    del description["architecture"]["cam_target"], description["architecture"]["box_method"]
    text = json.dumps({**description, "format_version": 1, "checksum": NO_CHECKSUM})
    file.write_text(text.replace(NO_CHECKSUM, hashlib.sha256(text.encode()).hexdigest()), encoding="utf-8")
    config = load_model(folder).config
    assert (config.cam_target, config.box_method) == ("class", "threshold")
    assert model().config.box_method == "moments"


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_any_flipped_bit_is_refused(folder: Path, name: str) -> None:
    file = folder / name
    whole = file.read_bytes()
    rng = random.Random(0)
    for _ in range(200):
        position = rng.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(ModelFolderError):
            load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ["a", "b"]},
        {"class_names": None},
        {"architecture": None},
        {"weights": None},
        {"checksum": None},
        {"checksum": ["x"]},
        {"format_version": None},
        {"format_version": "1"},
        {"format_version": 0},
    ],
)
def test_a_description_that_was_changed_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    describe(folder, **changes)
    with pytest.raises(ModelFolderError, match=r"model\.json is damaged.*copy the whole folder again"):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", "no JSON", "[" * 100_000, '{"format_version": 1}', "\x00"])
def test_a_description_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / "model.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelFolderError, match=r"model\.json is damaged"):
        load_model(folder)


def test_a_description_in_no_encoding_is_refused(folder: Path) -> None:
    (folder / "model.json").write_bytes(b'{"format_version": "\xff\xfe\xff"}')
    with pytest.raises(ModelFolderError, match=r"model\.json is damaged"):
        load_model(folder)


def test_an_option_that_this_version_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ModelConfig, "to_dict", lambda self: {"backbone": "resnet50", "tentacles": 8})
        save_model(tmp_path / "best", model())
    with pytest.raises(ModelFolderError, match="unknown option 'tentacles'"):
        load_model(tmp_path / "best")


def test_weights_that_are_missing_cut_short_or_others_are_refused(folder: Path, tmp_path: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    with pytest.raises(ModelFolderError, match="is damaged or was modified"):
        load_model(folder)
    weights.unlink()
    with pytest.raises(ModelFolderError, match=r"model\.safetensors is missing"):
        load_model(folder)
    other = StoredModel(ModelConfig(), ("a", "b"), {name: tensor + 1 for name, tensor in model().state.items()}, {})
    save_model(tmp_path / "other", other)
    shutil.copy(tmp_path / "other" / "model.safetensors", weights)
    with pytest.raises(ModelFolderError, match="is damaged or was modified"):
        load_model(folder)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_class_names_that_are_no_names_are_refused(tmp_path: Path, names: list[Any]) -> None:
    save_model(tmp_path / "best", StoredModel(ModelConfig(), tuple(names), {}, {}))
    with pytest.raises(ModelFolderError, match="class_names are not unique names"):
        load_model(tmp_path / "best")
