import json
import os
from pathlib import Path

import pytest

from mge.inference.compiled_cache import KEPT, compiled_path, read_proof, remove_oldest_graphs, write_proof
from mge.storage.checksum import sha256


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    return tmp_path / "model"


def test_a_graph_belongs_to_one_model_arithmetic_device_and_number_of_threads(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MGE_CACHE", "/somewhere")
    first = compiled_path(sha256(model_folder / "model.json"), arithmetic="float32", device="cpu", num_threads=2)
    assert first.parent == Path("/somewhere/compiled")
    assert first.suffix == ".pt2"
    assert first == compiled_path(
        sha256(model_folder / "model.json"), arithmetic="float32", device="cpu", num_threads=2
    )
    others = {
        compiled_path(sha256(model_folder / "model.json"), arithmetic="bfloat16", device="cpu", num_threads=2),
        compiled_path(sha256(model_folder / "model.json"), arithmetic="float32", device="cuda", num_threads=2),
        compiled_path(sha256(model_folder / "model.json"), arithmetic="float32", device="cpu", num_threads=4),
    }
    (model_folder / "model.json").write_text('{"weights": 1}')
    others.add(compiled_path(sha256(model_folder / "model.json"), arithmetic="float32", device="cpu", num_threads=2))
    assert len(others - {first}) == 4


def test_a_graph_belongs_to_one_kind_of_processor_and_one_torch(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name() -> str:
        return compiled_path(
            sha256(model_folder / "model.json"), arithmetic="float32", device="cpu", num_threads=2
        ).name

    here = name()
    with monkeypatch.context() as patch:
        patch.setattr("mge.inference.compiled_cache._processor", lambda: "flags: none")
        assert name() != here
    monkeypatch.setattr("importlib.metadata.version", lambda package: "0.0")
    assert name() != here


def test_a_proof_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    graph = tmp_path / "a.pt2"
    assert read_proof(graph) is None
    write_proof(graph, {"num_photos": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == read_proof(graph) == {"num_photos": 3}
    for text in ("{", "[]", ""):
        (tmp_path / "a.json").write_text(text)
        assert read_proof(graph) is None


def test_the_oldest_graphs_go_first_with_their_proofs(tmp_path: Path) -> None:
    for age in range(KEPT + 2):
        (tmp_path / f"{age}.pt2").touch()
        (tmp_path / f"{age}.json").touch()
        os.utime(tmp_path / f"{age}.pt2", (1e9 - age, 1e9 - age))
    remove_oldest_graphs(tmp_path)
    left = {path.stem for path in tmp_path.iterdir()}
    assert left == {str(age) for age in range(KEPT)}
    assert len(list(tmp_path.iterdir())) == 2 * KEPT
    (tmp_path / "gone.pt2").symlink_to(tmp_path / "nowhere")  # another process has removed it in the meantime
    remove_oldest_graphs(tmp_path)
