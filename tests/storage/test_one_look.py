"""A name is looked at once, or tried: between two looks another process may have replaced what it names."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mge.console.command_line import read_config_file
from mge.data.photo import open_photo
from mge.errors import ConfigError, DataError, ModelFolderError, StorageError
from mge.inference.load import fingerprint
from mge.serving import export_cache
from mge.storage import files
from mge.storage.checkpoint import load_checkpoint
from mge.storage.files import remove, write_folder_atomically, write_text_atomically
from mge.storage.model_folder import StoredModel, load_description, save_model
from mge.storage.output import check_file, check_folder
from mge.storage.photo_record import read_known_photos
from mge.storage.run_folder import Run, read_json
from tests.hostile import CONFIG, NAMES, untrained, write_model

PHASES = [0, 1]  # whether the first look of all finds it


def flicker(monkeypatch: pytest.MonkeyPatch, path: Path, *, phase: int) -> None:
    """Lets a name be there at every other look only, as for one who looks while others replace it."""
    stat, looks = os.stat, itertools.count(phase)

    def look(name: Any, *args: Any, **options: Any) -> os.stat_result:  # noqa: ANN401
        if isinstance(name, str | os.PathLike) and os.fspath(name) == str(path) and next(looks) % 2:
            raise FileNotFoundError(2, os.strerror(2), str(path))
        return stat(name, *args, **options)

    monkeypatch.setattr(os, "stat", look)


def vanish(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Lets every file of a name be gone at the moment at which it is opened, after any look has found it."""
    opened = Path.open

    def open_it(path: Path, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if path.name == name:
            raise FileNotFoundError(2, os.strerror(2), str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", open_it)


@pytest.mark.parametrize("phase", PHASES)
def test_a_file_or_folder_that_others_replace_is_not_said_to_be_of_another_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: int
) -> None:
    file, folder = tmp_path / "p.csv", tmp_path / "model"
    file.write_text("older")
    folder.mkdir()
    flicker(monkeypatch, file, phase=phase)
    flicker(monkeypatch, folder, phase=phase)
    for _ in range(2):
        assert files.final_place(file, kind="file") == file
        assert files.final_place(folder, kind="folder") == folder
        assert check_file(file, flag="output") == file
        assert check_folder(folder, flag="output") == folder
        write_text_atomically(file, "newer")
        write_folder_atomically(folder, lambda new: (new / "a").touch())


@pytest.mark.parametrize("phase", PHASES)
def test_a_configuration_and_a_photo_that_others_replace_are_read_or_said_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: int
) -> None:
    config, photo = tmp_path / "c.yaml", tmp_path / "p.png"
    config.write_text("")
    photo.write_bytes(b"")
    flicker(monkeypatch, config, phase=phase)
    flicker(monkeypatch, photo, phase=phase)
    for _ in range(2):
        assert read_config_file(config, {}) == {}
        with pytest.raises(DataError, match=r"is not a photo that can be read|No such file"):
            open_photo(photo)


@pytest.mark.parametrize("phase", PHASES)
def test_a_folder_whose_nearest_one_is_replaced_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: int
) -> None:
    (tmp_path / "model").mkdir()
    flicker(monkeypatch, tmp_path / "model", phase=phase)
    touch, times = Path.touch, itertools.count()

    def replaced(path: Path, *args: Any, **options: Any) -> None:  # noqa: ANN401
        if next(times) == 0:
            raise FileNotFoundError(2, os.strerror(2), str(path))
        touch(path, *args, **options)

    monkeypatch.setattr(Path, "touch", replaced)
    assert check_file(tmp_path / "model" / "p.csv", flag="output") == tmp_path / "model" / "p.csv"


@pytest.mark.parametrize("phase", PHASES)
def test_a_model_that_others_replace_is_no_folder_of_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: int
) -> None:
    folder = write_model(tmp_path / "model")
    flicker(monkeypatch, folder / "model.json", phase=phase)
    flicker(monkeypatch, folder, phase=phase)
    for _ in range(2):
        save_model(folder, StoredModel(CONFIG, NAMES, untrained(), {"preprocessing": {}}))


def test_a_folder_that_is_taken_away_between_two_looks_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another training that failed has removed the folder that it had made."""
    (tmp_path / "run").mkdir()

    def gone(folder: Path) -> Any:  # noqa: ANN401
        raise FileNotFoundError(2, os.strerror(2), str(folder))

    monkeypatch.setattr(Path, "iterdir", gone)
    monkeypatch.setattr(os, "listdir", gone)
    with pytest.raises(StorageError, match="run was removed by another process; run the same command again"):
        Run.check_unused(tmp_path / "run")


def read_metrics(folder: Path) -> object:
    return Run(folder).metrics()


GONE: dict[str, tuple[str, Callable[[Path], object], object]] = {
    "metrics": ("metrics.csv", read_metrics, []),
    "JSON of a run": ("summary.json", lambda folder: read_json(folder / "summary.json", dict), None),
    "record of photos": ("photos.csv", read_known_photos, None),
}


@pytest.mark.parametrize("name", GONE)
def test_a_file_that_is_gone_when_it_is_opened_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file, read, nothing = GONE[name]
    (tmp_path / file).write_text("x")
    vanish(monkeypatch, file)
    assert read(tmp_path) == nothing


LOST: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a model's description": ("model.json", load_description, "is not a model folder: it has no model.json"),
    "a model's fingerprint": (
        "model.json",
        fingerprint,
        "has no model: .*model.json does not exist",
    ),
    "a checkpoint": ("last.ckpt", lambda folder: load_checkpoint(folder / "last.ckpt"), "last.ckpt does not exist"),
    "a checksum": ("last.ckpt.sha256", lambda home: load_checkpoint(home / "last.ckpt"), "sha256 does not exist"),
    "a served model": ("model.json", export_cache._key, "is not a model folder: it has no model.json"),
}


@pytest.mark.parametrize("name", LOST)
def test_a_file_that_is_gone_when_it_is_opened_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file, read, said = LOST[name]
    for each in ("model.json", "last.ckpt", "last.ckpt.sha256"):
        (tmp_path / each).write_text("x")
    vanish(monkeypatch, file)
    with pytest.raises(ModelFolderError, match=said):
        read(tmp_path)


def test_a_refusal_to_export_that_is_removed_while_it_is_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGE_CACHE", str(tmp_path / "cache"))
    folder = write_model(tmp_path / "model")
    refusal = tmp_path / "cache" / "onnx" / f"{export_cache._key(folder)}.refused"
    refusal.parent.mkdir(parents=True)
    refusal.write_text("its photos differ")
    begun: list[list[str]] = []

    def begin(command: list[str], **_: Any) -> None:  # noqa: ANN401
        begun.append(command)
        raise ConfigError("stop here")

    monkeypatch.setattr("mge.serving.export_cache.subprocess.run", begin)
    vanish(monkeypatch, refusal.name)
    with pytest.raises(ConfigError, match="stop here"):
        export_cache.find_export(folder, is_final=True)
    assert begun


def test_what_is_removed_goes_whatever_it_has_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere" / "photos").mkdir(parents=True)
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    (tmp_path / "file").touch()
    flicker(monkeypatch, tmp_path / "folder", phase=1)
    for name in ("link", "folder", "file", "nothing"):
        remove(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "photos").is_dir()


def test_a_file_that_takes_the_name_of_a_folder_at_the_last_moment_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(new: Path) -> None:
        (new / "a").touch()
        (tmp_path / "model").write_text("of somebody else")

    with pytest.raises(StorageError, match="model was not written: Not a directory"):
        write_folder_atomically(tmp_path / "model", fill)
    assert (tmp_path / "model").read_text() == "of somebody else"
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    with pytest.raises(StorageError, match="it exists and is not a folder"):
        write_folder_atomically(tmp_path / "model", fill)
    assert (tmp_path / "model").read_text() == "of somebody else"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
