"""An .onnx file answers as the network does, without torch, and is refused where it is not what was written."""

import copy
import dataclasses
import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import mge
from mge.inference.onnx_classifier import OnnxClassifier
from mge.inference.prediction import Prediction
from tests.photos import write_class_folders, write_photo, write_scene

pytestmark = pytest.mark.compiled


@pytest.fixture(scope="module")
def classifier(tiny_onnx: Path) -> OnnxClassifier:
    return OnnxClassifier.load(tiny_onnx, threads=1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scenes")
    sizes = [(160, 120), (90, 200), (64, 64), (700, 30), (40, 41)]
    return [write_scene(folder / f"{seed}.png", seed=seed, size=size) for seed, size in enumerate(sizes)]


def assert_same(found: Prediction, expected: Prediction) -> None:
    assert (found.path, found.label, found.expert_labels) == (expected.path, expected.label, expected.expert_labels)
    assert found.class_names == expected.class_names
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert found.gate_probs == pytest.approx(expected.gate_probs, abs=1e-5)
    for box, wanted in zip(found.boxes_xyxy, expected.boxes_xyxy, strict=True):
        assert box == pytest.approx(wanted, abs=0.01)


def test_no_torch_is_imported_by_whoever_asks_an_onnx_file(tiny_onnx: Path, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "photo.png", (40, 180, 60))
    script = (
        f"import sys, mge\nfrom mge.inference.onnx_classifier import OnnxClassifier\n"
        f"print(mge.load({str(tiny_onnx)!r}).predict({str(photo)!r}).label)\n"
        f"from mge.cli import main\nassert main(['predict', {str(tiny_onnx)!r}, {str(photo)!r}]) == 0\n"
        "heavy = {'torch', 'torchvision', 'timm', 'lightning_fabric', 'jaxtyping', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=180)
    label, line = done.stdout.splitlines()
    assert line.startswith(f"{photo}: {label} ")


def test_it_is_copied_and_pickled(classifier: OnnxClassifier, scenes: list[Path]) -> None:
    expected = classifier.predict(scenes[0])
    assert copy.deepcopy(classifier).predict(scenes[0]) == expected
    assert pickle.loads(pickle.dumps(classifier)).predict(scenes[0]) == expected


def test_it_answers_as_the_network_does_whatever_the_batch(
    classifier: OnnxClassifier, tiny_model: Path, scenes: list[Path]
) -> None:
    network = mge.load(tiny_model, fast=False)
    expected = network.predict(list(scenes))
    for batch_size in (1, 2, 16):
        for found, wanted in zip(classifier.predict(list(scenes), batch_size=batch_size), expected, strict=True):
            assert_same(found, wanted)
    assert_same(classifier.predict(scenes[0]), expected[0])
    assert (classifier.class_names, classifier.side) == (network.class_names, network.side)


def test_photos_are_prepared_pixel_for_pixel_alike(
    classifier: OnnxClassifier, tiny_model: Path, scenes: list[Path]
) -> None:
    network = mge.load(tiny_model, fast=False)
    for scene in scenes:
        prepared, expected = classifier.prepare(scene), network.prepare(scene)
        assert prepared.image.dtype == np.uint8
        assert prepared.image.shape == (3, 128, 128)
        assert np.array_equal(prepared.image, expected.image.numpy())
        assert prepared.geometry == expected.geometry


def test_an_answer_holds_the_prediction_and_each_experts_map(classifier: OnnxClassifier, scenes: list[Path]) -> None:
    answers = classifier.answer([classifier.prepare(scene) for scene in scenes[:3]])
    for answer, wanted in zip(answers, classifier.predict(list(scenes[:3])), strict=True):
        assert answer.prediction.path == ""
        assert answer.prediction.label == wanted.label
        assert answer.prediction.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
        assert answer.attention.dtype == np.float32
        assert answer.attention.shape == (2, 8, 8)
        assert answer.attention.min() == 0
        assert answer.attention.max() == 1


def test_mge_load_and_predict_take_it_as_any_run(tiny_onnx: Path, tiny_model: Path, tmp_path: Path) -> None:
    photos = write_class_folders(tmp_path / "photos", per_class=2)
    found = mge.predict(tiny_onnx, [str(photos)], output=tmp_path / "onnx.csv", batch_size=4)
    expected = mge.predict(tiny_model, [str(photos)], output=tmp_path / "torch.csv", fast=False)
    assert len(found) == 6
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)
    assert isinstance(mge.load(str(tiny_onnx)), OnnxClassifier)


def test_a_photo_that_it_is_not_sure_enough_about_is_unknown(classifier: OnnxClassifier, scenes: list[Path]) -> None:
    metadata = {**classifier.description.metadata, "rejection": {"threshold": 0.999}}
    careful = OnnxClassifier(classifier.session, dataclasses.replace(classifier.description, metadata=metadata))
    plain, unknown = classifier.predict(scenes[0]), careful.predict(scenes[0])
    assert (unknown.label, unknown.likeliest) == ("unknown", plain.label)
    assert "below the threshold of 99.9 %" in unknown.reason
    assert unknown.probabilities == plain.probabilities
    careful.least_probability = None
    assert careful.predict(scenes[0]).label == plain.label


def test_unreadable_photos_are_named_and_the_others_answered(
    classifier: OnnxClassifier, scenes: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(mge.DataError, match=r"broken\.jpg is not a photo"):
        classifier.predict([scenes[0], broken])
    first, second, third = classifier.stream([scenes[0], broken, scenes[1]], batch_size=2)
    assert isinstance(second, mge.DataError)
    assert [getattr(first, "path", None), getattr(third, "path", None)] == [str(scenes[0]), str(scenes[1])]


def test_pictures_and_bytes_are_taken_too(classifier: OnnxClassifier, scenes: list[Path]) -> None:
    expected = classifier.predict(scenes[0]).probabilities
    for photo in (scenes[0].read_bytes(), Image.open(scenes[0]), str(scenes[0])):
        assert classifier.predict(photo).probabilities == pytest.approx(expected, abs=1e-6)


def test_what_an_onnx_file_cannot_do_is_refused(
    classifier: OnnxClassifier, tiny_onnx: Path, scenes: list[Path]
) -> None:
    with pytest.raises(mge.ConfigError, match="contains the whole mixture; for early exit export it again"):
        classifier.predict(scenes[0], cascade=True)
    with pytest.raises(mge.ConfigError, match="in ONNX Runtime on the CPU"):
        mge.load(tiny_onnx, device="cuda")
    with pytest.raises(mge.ConfigError, match="leave out device and fast"):
        mge.load(tiny_onnx, fast=True)


def test_any_flipped_bit_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    whole, file = tiny_onnx.read_bytes(), tmp_path / "model.onnx"
    rng = random.Random(0)
    places = [rng.randrange(len(whole)) for _ in range(25)] + [len(whole) - rng.randrange(1, 1500) for _ in range(25)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(mge.ModelFolderError):
            OnnxClassifier.load(file)


def test_a_file_that_is_missing_cut_short_or_of_others_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with pytest.raises(mge.ModelFolderError, match=r"model\.onnx cannot be read: No such file"):
        mge.load(file)
    for content in (b"", b"text", tiny_onnx.read_bytes()[:-3000], b"\x80\x02}q\x00."):
        file.write_bytes(content)
        with pytest.raises(mge.ModelFolderError, match="not an ONNX file of mge export, or is damaged"):
            mge.load(file)
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "theirs", [], [])), file)
    with pytest.raises(mge.ModelFolderError, match="not an ONNX file of mge export"):
        mge.load(file)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format_version": 3}, "has format version 3; this version of MGE reads up to 2; install a newer mge"),
        ({"class_names": ["a", "b", "c"]}, "damaged or was modified"),
        ({"format_version": None}, "'format_version' is missing"),
        ({"checksum": None}, "'checksum' is missing"),
    ],
)
def test_a_description_that_was_changed_is_refused(
    tiny_onnx: Path, tmp_path: Path, change: dict[str, object], match: str
) -> None:
    proto = onnx.load(tiny_onnx)
    (entry,) = [entry for entry in proto.metadata_props if entry.key == "mge"]
    values = json.loads(entry.value) | change
    entry.value = json.dumps({name: value for name, value in values.items() if value is not None})
    onnx.save(proto, tmp_path / "model.onnx")
    with pytest.raises(mge.ModelFolderError, match=match):
        mge.load(tmp_path / "model.onnx")
