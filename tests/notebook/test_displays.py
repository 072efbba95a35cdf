"""What a notebook shows of a model, a run and a prediction."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import mge
from mge.inference.classifier import Classifier
from mge.inference.prediction import Prediction
from mge.notebook.frames import Rows, make_frame
from mge.notebook.html import MAX_ROWS, html_bars, html_card, html_table, text_card
from mge.storage.model_folder import load_model
from mge.storage.run_folder import Run
from tests.photos import COLORS, write_class_folders, write_photo
from tests.runs import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("displays")
    run = Run(write_run(folder / "a run & more", data=folder, num_experts=2))
    for epoch in range(3):
        run.append_metrics({"stage": 0, "epoch": epoch, "train_loss": 1.5 - epoch / 2})
    return run


@pytest.fixture(scope="module")
def classifier(run: Run) -> Classifier:
    return Classifier.from_stored(load_model(run.best))


def well_formed(html: str) -> ElementTree.Element:
    """Closed tags and escaped text, as XML wants them; images are the only tag without an end."""
    return ElementTree.fromstring(re.sub(r"(<img [^>]*)>", r"\1/>", html).replace("&nbsp;", " "))


def test_a_classifier_says_what_it_is_in_one_screen(classifier: Classifier) -> None:
    lines = repr(classifier).splitlines()
    assert lines[0] == "Classifier of 3 classes"
    assert lines[1] == "  network  2 experts on test_resnet, with a network each; gate: shared"
    assert "3: apple, lime, plum" in lines[2]
    assert len(lines) < 12
    assert "2 experts on test_resnet" in "".join(well_formed(classifier._repr_html_()).itertext())


def test_the_accuracy_is_told_where_it_is_known(classifier: Classifier, run: Run) -> None:
    stored = load_model(run.best)
    stored.metadata["provenance"] = {"val_top1_mixture": 87.654, "data": "birds"}
    stored.metadata["calibration"] = {"temperature": 1.25}
    facts = Classifier.from_stored(stored).facts()
    assert facts["accuracy"] == "87.7 % on the validation photos that selected the epoch"
    assert facts["trained on"] == "birds"
    assert facts["calibration"] == "softmax temperature 1.25"
    assert not {"accuracy", "calibration", "rejection", "early exit"} & set(classifier.facts())


@pytest.mark.compiled
def test_an_exported_classifier_says_the_same(tiny_model: Path, tiny_onnx: Path) -> None:
    of_model, of_graph = mge.load(tiny_model), mge.load(tiny_onnx)
    assert of_graph.facts() == of_model.facts()
    assert repr(of_graph).startswith("OnnxClassifier of 3 classes\n")


def test_hundreds_of_classes_are_counted_and_a_few_named() -> None:
    from mge.config import ModelConfig
    from mge.storage.model_facts import list_facts

    facts = list_facts(ModelConfig(experts=1), [f"class {number}" for number in range(1234)], {})
    assert facts["classes"] == "1,234: class 0, class 1, class 2, class 3, class 4, … and 1,229 more"
    assert facts["network"].endswith("one network")


def test_a_run_says_how_far_it_is(run: Run) -> None:
    assert run.facts()["state"] == "not finished; the last of 3 epochs: epoch 2"
    assert repr(run).startswith("Run('")
    assert "a run & more" in "".join(well_formed(run._repr_html_()).itertext())
    summary = {"split": "test", "num_photos": 9, "mixture_top1": 88.888, "plain_top1": 77.7, "verdict": "as good"}
    (run.folder / "summary.json").write_text(json.dumps(summary))
    facts = run.facts()
    (run.folder / "summary.json").unlink()
    assert facts["state"] == "finished, 3 epochs"
    assert (facts["accuracy"], facts["plain network"]) == ("88.9 % on 9 test photos", "77.7 % on 9 test photos")
    assert facts["verdict"] == "as good"


@pytest.mark.parametrize("content", ["{", "[]", '{"mixture_top1": "many", "num_photos": "some"}'])
def test_a_damaged_run_is_shown_and_raises_nothing(run: Run, content: str) -> None:
    (run.folder / "summary.json").write_text(content)
    try:
        assert repr(run)
        well_formed(run._repr_html_())
    finally:
        (run.folder / "summary.json").unlink()
    assert "cannot be read" in repr(Run(run.folder / "nowhere"))


def test_a_prediction_shows_its_photo_with_boxes_and_the_likeliest_classes(
    classifier: Classifier, tmp_path: Path
) -> None:
    photo = write_photo(tmp_path / "a <b>.png", COLORS["lime"], size=(600, 300))
    shown = well_formed(classifier.predict(photo)._repr_html_())
    (image,) = shown.iter("img")
    assert image.attrib["src"].startswith("data:image/jpeg;base64,")
    text = "".join(shown.itertext())
    assert all(label in text for label in COLORS)
    assert "a <b>.png" in text


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    import base64
    import io

    Image.new("RGB", (560, 280), "white").save(tmp_path / "white.png")
    prediction = Prediction(
        path=str(tmp_path / "white.png"), label="plum", probability=0.7, probabilities=(0.3, 0.7),
        class_names=("apple", "plum"), expert_labels=("plum",), gate_probs=(1.0,),
        boxes_xyxy=((100.0, 40.0, 300.0, 240.0),),
    )  # fmt: skip
    data = re.search(r"base64,([^\"]+)", prediction._repr_html_())
    assert data is not None
    picture = Image.open(io.BytesIO(base64.b64decode(data[1])))
    assert picture.size == (280, 140)
    blue = [(x, y) for x in range(280) for y in range(140) if picture.getpixel((x, y))[0] < 100]  # type: ignore[index]
    assert (min(blue), max(blue)) == ((50, 20), (149, 119))


@pytest.mark.parametrize("path", ["", "gone.png", "bytes\udcff.png", "archive.tar/a.png"])
def test_a_prediction_without_its_photo_shows_the_rest(path: str) -> None:
    prediction = Prediction(
        path=path, label="unknown", probability=0.7, probabilities=(0.3, 0.7), class_names=("apple", "<plum>"),
        expert_labels=("<plum>",), gate_probs=(1.0,), boxes_xyxy=((0.0, 0.0, 8.0, 8.0),), reason="too low",
    )  # fmt: skip
    html = prediction._repr_html_()
    assert html.encode()
    shown = well_formed(html)
    assert not list(shown.iter("img"))
    assert "too low" in "".join(shown.itertext())


def test_text_is_escaped_and_long_tables_are_cut() -> None:
    rows = [{"<a>": "x & y", "share": 0.123456}] * (MAX_ROWS + 5)
    shown = well_formed(f"<div>{html_table(rows)}</div>")
    assert "and 5 more rows" in "".join(shown.itertext())
    assert "0.1235" in "".join(shown.itertext())
    assert len(list(shown.iter("tr"))) == MAX_ROWS + 1
    assert well_formed(html_card("<t>", {"<n>": "<v>"}, html_bars([("<l>", 1.0)]))) is not None
    assert text_card("title", {}) == "title"


def test_metrics_of_a_run_are_a_list_as_before_and_a_data_frame_of_numbers(run: Run) -> None:
    metrics = run.metrics()
    assert metrics == [{"stage": 0, "epoch": epoch, "train_loss": 1.5 - epoch / 2} for epoch in range(3)]
    frame = metrics.to_frame()
    assert list(frame.columns) == ["stage", "epoch", "train_loss"]
    assert frame["epoch"].dtype == "int64"
    assert frame["train_loss"].dtype == "float64"
    assert "train_loss" in metrics._repr_html_()


def test_frames_have_an_index_where_one_is_named_and_gaps_are_nan() -> None:
    frame = make_frame([{"a": "x", "b": 1.0}, {"a": "y"}], index="a")
    assert frame["b"].fillna(-1).to_dict() == {"x": 1, "y": -1}
    assert make_frame([], index="a").empty
    assert Rows().to_frame().empty


def test_without_pandas_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(mge.MissingExtraError, match=r"need pandas, .*; install it with: pip install 'mge\[tables\]'$"):
        make_frame([{"a": 1}])


def test_the_examples_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos = write_class_folders(tmp_path / "photos", per_class=2, splits=("train", "test"))
    Run(write_run(Path("runs/birds"), data=photos, num_experts=2)).append_metrics({"stage": 0, "epoch": 0})
    write_photo(Path("photo.jpg"), COLORS["plum"])
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "sklearn" not in block]
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert isinstance(names["picture"], Image.Image)
    assert isinstance(names["features"], np.ndarray)
