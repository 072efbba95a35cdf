"""Features of photos: which they are, and the files that `mge embed` writes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional

import mge
from mge.cli import main
from mge.core.crop import zoom
from mge.inference.classifier import Classifier
from mge.inference.prediction import Photo
from mge.storage.model_folder import load_model
from tests.models.networks import expert_of
from tests.photos import COLORS, truncate, write_class_folders, write_scene


@pytest.fixture
def classifier(tiny_model: Path) -> Classifier:
    return Classifier.from_stored(load_model(tiny_model))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scenes")
    return [write_scene(folder / f"{seed}.png", seed=seed) for seed in range(5)]


@torch.no_grad()
def by_hand(classifier: Classifier, file: Path) -> list[float]:
    """The features of one photo: its views cut out by their boxes, and put through timm's networks."""
    model = classifier.model
    image = classifier.prepare(file).image.unsqueeze(0)
    normal = (image.float() / 255 - model.mean) / model.std
    side, geometry = model.config.size, model.config.geometry
    views = [functional.avg_pool2d(normal, 2)]  # the tiny mixture keeps photos at twice the side of a view
    for box in model(image).boxes_xyxy[0, 1:]:
        assert (box[2:] - box[:2]).min() < normal.shape[2]
        views.append(zoom(normal, box.unsqueeze(0), size=(side, side), geometry=geometry, supersample=2))
    nets = [expert_of(model, number).backbone.net for number in range(len(views))]
    rows = [
        net.forward_head(net.forward_features(view), pre_logits=True)[0] for net, view in zip(nets, views, strict=True)
    ]
    return torch.cat(rows).tolist()


def test_features_are_those_that_the_classifiers_of_timms_networks_read(
    classifier: Classifier, scenes: list[Path]
) -> None:
    found = classifier.embed(list(scenes))
    assert found.dtype == np.float32
    width = expert_of(classifier.model, 0).large_head.in_features
    assert found.shape == (5, 2 * width)
    for row, file in zip(found, scenes, strict=True):
        assert row == pytest.approx(by_hand(classifier, file), rel=1e-3, abs=1e-4)


def test_a_photo_has_the_same_features_alone_and_in_a_batch(classifier: Classifier, scenes: list[Path]) -> None:
    together = classifier.embed(list(scenes), batch_size=5)
    for size in (1, 2):
        assert classifier.embed(list(scenes), batch_size=size) == pytest.approx(together, abs=1e-5)
    assert classifier.embed(scenes[0]).shape == (1, together.shape[1])
    given: list[Photo] = [Image.open(scenes[0]), scenes[0].read_bytes(), str(scenes[0])]
    assert classifier.embed(given) == pytest.approx(np.repeat(together[:1], 3, axis=0), abs=1e-5)


def test_other_weights_of_half_precision_embed_nearly_alike(classifier: Classifier, scenes: list[Path]) -> None:
    expected = classifier.embed(scenes[0])
    classifier.model.to(torch.bfloat16)
    found = classifier.embed(scenes[0])
    assert found.dtype == np.float32
    half = found.shape[1] // 2  # the first expert sees the same; the second may see another box
    assert np.corrcoef(found[0, :half], expected[0, :half])[0, 1] > 0.99


def test_what_cannot_be_embedded_is_one_line(classifier: Classifier, scenes: list[Path], tmp_path: Path) -> None:
    broken = truncate(write_scene(tmp_path / "broken.png", seed=9))
    with pytest.raises(mge.DataError, match=r"broken\.png cannot be read"):
        classifier.embed([scenes[0], broken])
    with pytest.raises(mge.DataError, match="photos is empty"):
        classifier.embed([])
    with pytest.raises(mge.ConfigError, match="batch_size is 0"):
        classifier.embed(scenes[0], batch_size=0)
    classifier.model.train()
    with pytest.raises(mge.ConfigError, match=r"call classifier.model.eval\(\) first"):
        classifier.embed(scenes[0])


@pytest.mark.compiled
def test_an_exported_graph_says_that_it_has_no_features(tiny_onnx: Path, scenes: list[Path]) -> None:
    exported = mge.load(tiny_onnx)
    with pytest.raises(mge.ConfigError, match="an exported graph has no features"):
        exported.embed(scenes[0])
    with pytest.raises(mge.ConfigError, match="an exported graph cannot explain"):
        exported.explain(scenes[0])


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_embed_writes_a_table(
    tiny_model: Path, classifier: Classifier, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_class_folders(tmp_path / "photos", per_class=2)
    output = tmp_path / f"e.{suffix}"
    assert main(["embed", str(tiny_model), str(folder), "--output", str(output), "--batch-size", "4"]) == 0
    assert f"6 embeddings written to {output}" in capsys.readouterr().err
    if suffix == "parquet":
        frame = pd.read_parquet(output)
        paths, found = list(frame["path"]), np.stack(frame["embedding"].tolist())
    else:
        with np.load(output) as arrays:
            paths, found = arrays["path"].tolist(), arrays["embedding"]
    assert [Path(path).parent.name for path in paths] == [label for label in COLORS for _ in range(2)]
    assert found.dtype == np.float32
    assert found == pytest.approx(classifier.embed(paths), abs=1e-5)


def test_embed_reports_broken_photos_and_writes_the_others(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_class_folders(tmp_path / "photos", per_class=1)
    truncate(folder / "lime" / "0.png")
    output = tmp_path / "e.parquet"
    assert main(["embed", str(tiny_model), str(folder), "--output", str(output)]) == 2
    assert "1 of 3 photos could not be read (the others were embedded): " in capsys.readouterr().err
    assert len(pd.read_parquet(output)) == 2


def test_embed_refuses_names_before_any_work(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", "no model", "no photos", "--output", "e.csv"]) == 2
    assert "output is 'e.csv'; accepted: a name that ends in .parquet or .npz" in capsys.readouterr().err


def test_explain_returns_the_picture_of_the_command(
    classifier: Classifier, tiny_model: Path, scenes: list[Path], tmp_path: Path
) -> None:
    picture = classifier.explain(scenes[0])
    (written,) = mge.explain(tiny_model, [str(scenes[0])], output=tmp_path / "out")
    with Image.open(written) as drawn:
        assert np.array_equal(np.asarray(drawn.convert("RGB")), np.asarray(picture))
    assert classifier.explain(Image.open(scenes[0]), against="Plum").height > picture.height
    with pytest.raises(mge.ConfigError, match="against is 'pear', which is not one of the 3 classes"):
        classifier.explain(scenes[0], against="pear")


def test_a_list_of_predictions_becomes_data_frames(classifier: Classifier, scenes: list[Path]) -> None:
    predictions = classifier.predict(list(scenes))
    frame, probabilities = predictions.to_frame(), predictions.probabilities
    assert list(frame.columns) == ["path", "label", "probability", "reason", "num_experts_run"]
    assert frame["probability"].to_numpy() == pytest.approx(probabilities.max(axis=1).to_numpy())
    assert list(probabilities.idxmax(axis=1)) == list(frame["label"])
    assert str(scenes[0]) in predictions._repr_html_()
    assert classifier.predict([]).probabilities.empty
