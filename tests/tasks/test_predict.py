import csv
import dataclasses
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from PIL import Image

import mge
from mge.cascade.runner import run_cascade
from mge.cli import main
from mge.data.photo import open_photo
from mge.inference.classifier import Classifier
from mge.inference.prediction import Photo
from mge.storage.model_folder import load_model, save_model
from tests import reference
from tests.odd_photos import READABLE, write_odd_photos
from tests.photos import COLORS, write_class_folders
from tests.tables import as_dataset
from tests.tiny import TINY

OPTIONS = {**TINY, "zoom_resolution": 2, "experts": 3, "epochs": 4, "backbone_lr": 2e-3, "head_lr": 2e-3}


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "run", **OPTIONS).folder


@pytest.fixture(scope="module")
def classifier(run: Path) -> Classifier:
    return mge.load(run)


def test_a_tiny_mixture_learns_three_colors(run: Path) -> None:
    assert json.loads((run / "summary.json").read_text())["mixture_top1"] > 60


def test_a_prediction_holds_what_a_user_needs(classifier: Classifier, photos: Path) -> None:
    prediction = classifier.predict(photos / "lime" / "0.png")
    assert prediction.label in COLORS
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)
    assert prediction.top(1) == [(prediction.label, prediction.probability)]
    assert [round(share, 4) for _, share in prediction.top(3)] == sorted(
        (round(share, 4) for share in prediction.probabilities), reverse=True
    )
    assert len(prediction.gate_probs) == len(prediction.boxes_xyxy) == len(prediction.expert_labels) == 3
    assert sum(prediction.gate_probs) == pytest.approx(1, abs=1e-5)


def test_boxes_are_in_the_photos_own_pixels(classifier: Classifier, tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    Image.new("RGB", (300, 200), (40, 180, 60)).save(file)
    whole = classifier.predict(file).boxes_xyxy[0]
    # The photo's middle square, of which 7/8 are seen.
    assert whole == pytest.approx((62.5, 12.5, 237.5, 187.5), abs=2)
    for x1, y1, x2, y2 in classifier.predict(file).boxes_xyxy:
        assert 0 <= x1 < x2 <= 300
        assert 0 <= y1 < y2 <= 200


def test_paths_bytes_pictures_and_lists_give_the_same_answer(classifier: Classifier, photos: Path) -> None:
    file = photos / "plum" / "1.png"
    answers = [
        classifier.predict(photo).probabilities for photo in (file, str(file), file.read_bytes(), open_photo(file))
    ]
    files: list[Path] = [file, file, file]  # a list of one kind of photo is a list of photos to a type checker, too
    answers += [prediction.probabilities for prediction in classifier.predict(files, batch_size=2)]
    for other in answers[1:]:
        assert other == pytest.approx(answers[0], abs=1e-5)


def test_an_unreadable_photo_raises_for_one_and_is_passed_by_in_a_stream(
    classifier: Classifier, photos: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(mge.DataError, match="broken"):
        classifier.predict(broken)
    good = photos / "lime" / "0.png"
    results = list(classifier.stream([good, broken, good], batch_size=2))
    assert isinstance(results[1], mge.DataError)
    assert [result.label for result in (results[0], results[2]) if isinstance(result, mge.Prediction)] == [
        classifier.predict(good).label
    ] * 2


def test_a_stream_of_odd_photos_names_each_that_cannot_be_read_and_classifies_the_others(
    classifier: Classifier, tmp_path: Path
) -> None:
    written = write_odd_photos(tmp_path)
    results = dict(zip(written, classifier.stream(list(written)), strict=True))
    for file, result in results.items():
        if written[file].shown is None:
            assert isinstance(result, mge.DataError)
            assert str(result).startswith(f"{file} ")
        else:
            assert isinstance(result, mge.Prediction)
            assert result.path == str(file)


def test_the_way_a_camera_was_held_changes_nothing(classifier: Classifier) -> None:
    upright, *others = [READABLE[f"EXIF orientation {number}"]().content for number in range(1, 9)]
    expected = classifier.predict(upright)
    for content in others:
        found = classifier.predict(content)
        assert found.label == expected.label
        assert found.probabilities == pytest.approx(expected.probabilities, abs=0.02)


def test_eight_and_sixteen_bits_are_classified_alike(classifier: Classifier) -> None:
    shown = READABLE["16-bit colours in a PNG"]()
    assert shown.shown is not None
    expected = classifier.predict(Image.fromarray(shown.shown)).probabilities
    for name in ("16-bit colours in a PNG", "16-bit colours in a TIFF"):
        assert classifier.predict(READABLE[name]().content).probabilities == pytest.approx(expected, abs=0.02)


def test_a_picture_in_memory_is_shown_as_its_file_is(classifier: Classifier, tmp_path: Path) -> None:
    for name in ("EXIF orientation 6", "16-bit grey in a PNG", "a PNG with alpha"):
        file = tmp_path / "photo"
        file.write_bytes(READABLE[name]().content)
        assert classifier.predict(Image.open(file)).boxes_xyxy == classifier.predict(file).boxes_xyxy


def test_a_very_thin_photo_is_classified_with_boxes_in_its_own_pixels(classifier: Classifier) -> None:
    photo = Image.new("RGB", (1500, 30), (40, 180, 60))
    whole = classifier.predict(photo).boxes_xyxy[0]
    # The middle square of 30 x 30, of which 7/8 are seen.
    assert whole == pytest.approx((736.9, 1.9, 763.1, 28.1), abs=0.5)


def test_the_loaded_model_gives_the_same_bits_as_the_stored_one(run: Path) -> None:
    first, second = mge.load(run), mge.load(run / "best")
    images = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    with torch.inference_mode():
        for one, other in zip(first.model(images), second.model(images), strict=True):
            assert torch.equal(one, other)


def test_text_csv_and_json_say_the_same(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(photos / "apple")
    predictions = mge.predict(run, [folder], output=tmp_path / "p.csv")
    mge.predict(run, [folder], output=tmp_path / "p.json", top=2)
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    objects = json.loads((tmp_path / "p.json").read_text())
    assert len(rows) == len(objects) == len(predictions) == 8
    assert [row["label"] for row in rows] == [entry["label"] for entry in objects] == [p.label for p in predictions]
    assert float(rows[0]["box_1_x2"]) == pytest.approx(predictions[0].boxes_xyxy[1][2])
    assert len(objects[0]["top"]) == 2
    capsys.readouterr()
    mge.predict(run, [str(photos / "apple" / "*.png")])
    printed = capsys.readouterr().out.strip().splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in printed] == [p.label for p in predictions]


def test_the_command_line_classifies_and_reports_what_it_could_not_read(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), str(photos / "lime" / "0.png")]) == 0
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    capsys.readouterr()
    assert main(["predict", str(run), str(broken), str(photos / "lime" / "0.png")]) == 2
    streams = capsys.readouterr()
    assert "lime" in streams.out
    assert streams.err.splitlines()[-1].startswith("mge: error: 1 of 2 photos could not be read")


def test_a_folder_of_odd_photos_is_classified_but_for_those_that_are_reported(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a HEIC", "a PDF", "an animated GIF", "half a JPEG", "zero bytes"]
    written = write_odd_photos(tmp_path / "photos", names=names)
    assert main(["predict", str(run), str(tmp_path / "photos"), "--output", str(tmp_path / "p.csv")]) == 2
    with (tmp_path / "p.csv").open() as file:
        assert {row["path"] for row in csv.DictReader(file)} == {
            str(p) for p, photo in written.items() if not photo.refusal
        }
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mge: error: 3 of 5 photos could not be read")
    assert all(str(path) in last for path, photo in written.items() if photo.refusal)


def test_a_name_in_another_encoding_is_written_with_marks(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/cr\xe8me.png")
    Path(file).write_bytes((photos / "lime" / "0.png").read_bytes())
    mge.predict(run, [file])
    assert capsys.readouterr().out.startswith(f"{tmp_path}/cr\ufffdme.png: lime")
    mge.predict(run, [file], output=tmp_path / "p.csv")
    assert f"{tmp_path}/cr\ufffdme.png,lime" in (tmp_path / "p.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"format": "xml"}, "format is 'xml'"),
        ({"output": "predictions.xls"}, r"\.csv or \.json"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(run: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(mge.ConfigError, match=match):
        mge.predict(run, ["nothing.jpg"], **options)


def test_the_next_command_that_is_named_works(
    run: Path, tiny_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, has_photos in ((run, True), (tiny_model, False)):
        mge.predict(model, [str(photos / "lime")], output=tmp_path / "new.csv")
        assert ("Next: mge evaluate" in capsys.readouterr().err) == has_photos


def test_no_photo_at_a_time_is_refused(classifier: Classifier, photos: Path) -> None:
    with pytest.raises(mge.ConfigError, match="batch_size is 0; accepted: at least 1"):
        classifier.predict([photos / "lime" / "0.png"], batch_size=0)


@pytest.mark.parametrize("batch_size", [1.5, "4"])
def test_half_a_photo_at_a_time_is_refused(classifier: Classifier, photos: Path, batch_size: float | str) -> None:
    with pytest.raises(mge.ConfigError, match=f"batch_size is {batch_size!r}; accepted: a whole number, at least 1"):
        classifier.predict(photos / "lime" / "0.png", batch_size=batch_size)  # type: ignore[call-overload]


def test_the_letters_of_a_path_are_no_photos(classifier: Classifier, run: Path, photos: Path) -> None:
    file = photos / "lime" / "0.png"
    for one in (file, str(file), file.read_bytes()):
        with pytest.raises(mge.ConfigError, match="photos is a single photo; accepted: a list"):
            next(classifier.stream(one))  # type: ignore[arg-type]
    for named in (file, str(file), [file]):
        assert [each.path for each in mge.predict(run, named)] == [str(file)]  # type: ignore[arg-type]
    with pytest.raises(mge.DataError, match=r"no photo found at '.*nothing\.png'"):
        mge.predict(run, photos / "nothing.png")  # type: ignore[arg-type]


def test_a_model_that_is_being_trained_is_not_asked(classifier: Classifier, photos: Path) -> None:
    classifier.model.train()
    with pytest.raises(mge.ConfigError, match=r"training mode; call classifier\.model\.eval\(\) first"):
        classifier.predict(photos / "lime" / "0.png")
    classifier.model.eval()
    assert classifier.predict(photos / "lime" / "0.png").label


def test_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(mge.ModelFolderError, match="does not exist"):
        mge.load(tmp_path / "nowhere")
    with pytest.raises(mge.ModelFolderError, match="not a model folder"):
        mge.load(tmp_path)


def test_evaluate_repeats_the_figures_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((run / "summary.json").read_text())
    figures = mge.evaluate(run)
    assert {key: figures[key] for key in summary if key in figures} == {
        key: summary[key] for key in summary if key in figures
    }
    assert json.loads((run / "evaluation-test.json").read_text()) == figures
    assert "Next: mge predict" in capsys.readouterr().out


def test_classes_are_matched_by_name(run: Path, tmp_path: Path) -> None:
    renamed = write_class_folders(tmp_path / "test-only", per_class=3, seed=50)
    (renamed / "apple").rename(renamed / "zz-apple")
    with pytest.raises(mge.DataError, match="'zz-apple'"):
        mge.evaluate(run, renamed)
    (renamed / "zz-apple").rename(renamed / "apple")
    whole = mge.evaluate(run, renamed, split="test", out=tmp_path / "whole.json")
    # Without its first class the others keep their numbers of training.
    few = write_class_folders(tmp_path / "few", per_class=8, seed=50)
    for file in (few / "apple").iterdir():
        file.unlink()
    (few / "apple").rmdir()
    assert mge.evaluate(run, few, split="train", out=tmp_path / "fewer.json")["mixture_top1"] > 60
    assert whole["num_photos"] == 3


def list_photos(photos: Path, labels: list[str]) -> tuple[list[Path], list[str]]:
    files = [file for label in labels for file in sorted((photos / label).iterdir())]
    return files, [file.parent.name for file in files]


def test_the_order_of_classes_and_photos_in_later_data_changes_nothing(run: Path, photos: Path, tmp_path: Path) -> None:
    files, labels = list_photos(photos, ["apple", "lime", "plum"])
    backwards = list(zip(files, labels, strict=True))[::-1]
    lines = [f"{file},{label},test" for file, label in backwards]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *lines]))
    # The same photos with their classes numbered backwards, and one that none of them shows.
    names = ["plum", "unused", "lime", "apple"]
    columns: dict[str, list[Any]] = {
        "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "label": labels,
    }
    datasets.disable_progress_bars()
    datasets.DatasetDict({"test": as_dataset(columns, names=names)}).save_to_disk(tmp_path / "saved")
    answers = Counter(mge.load(run).predict(file).label == label for file, label in backwards)
    for data in (tmp_path / "list.csv", tmp_path / "saved"):
        figures = mge.evaluate(run, data, split="all", out=tmp_path / "figures.json")  # trained on or not
        assert figures["num_photos"] == 24
        assert figures["mixture_top1"] == pytest.approx(100 * answers[True] / 24)


def test_later_data_may_have_few_classes_and_no_training_photos(run: Path, photos: Path, tmp_path: Path) -> None:
    files, labels = list_photos(photos, ["plum"])
    lines = [f"{file},{label},test" for file, label in zip(files, labels, strict=True)]
    (tmp_path / "plums.csv").write_text("\n".join(["path,label,split", *lines]))
    expected = sum(mge.load(run).predict(file).label == "plum" for file in files) / len(files)
    figures = mge.evaluate(run, tmp_path / "plums.csv", split="all", out=tmp_path / "figures.json")
    assert figures["mixture_top1"] == pytest.approx(100 * expected)
    (tmp_path / "plums.csv").write_text("\n".join(["path,label,split", *lines, f"{files[0]},Plum,test"]))
    with pytest.raises(mge.DataError, match="1 classes that the model was not trained on, the first is 'Plum'"):
        mge.evaluate(run, tmp_path / "plums.csv")


def test_evaluating_a_model_without_its_run_asks_for_data(run: Path) -> None:
    with pytest.raises(mge.ConfigError, match="give the data to evaluate on"):
        mge.evaluate(run / "best")


# -------- the cascade
def test_training_chooses_a_cascade_that_evaluate_repeats_and_predict_uses(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cascade = json.loads((run / "summary.json").read_text())["cascade"]
    stored = json.loads((run / "best" / "model.json").read_text())["cascade"]
    assert mge.evaluate(run, out=tmp_path / "figures.json")["cascade"] == cascade
    assert "early exit (" in capsys.readouterr().out
    assert {name: cascade[name] for name in ("leads", "max_accuracy_loss", "validation")} == {
        name: stored[name] for name in ("leads", "max_accuracy_loss", "validation")
    }
    assert len(stored["leads"]) == 2
    assert stored["max_accuracy_loss"] == 0.2
    assert list(mge.load(run).thresholds or ()) == stored["leads"]
    predictions = mge.predict(run, [str(photos / "lime")], cascade=True, output=tmp_path / "p.json")
    assert "experts per photo on average" in capsys.readouterr().err
    rows = json.loads((tmp_path / "p.json").read_text())
    assert [row["num_experts_run"] for row in rows] == [p.num_experts_run for p in predictions]


def test_evaluate_chooses_thresholds_on_validation_and_says_what_they_are_worth_elsewhere(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    before = (copy / "best" / "model.safetensors").read_bytes()
    assert main(["evaluate", str(copy), "--cascade", "--max-accuracy-loss", "100"]) == 0
    assert "stored" in capsys.readouterr().out
    figures = json.loads((copy / "evaluation-test.json").read_text())
    assert figures["cascade"]["mean_experts"] == 1
    assert figures["cascade"]["saved_percent"] == 100
    assert figures["cascade"]["top1"] == figures["experts_top1"][0]
    curve = figures["cascade_curve"]
    assert [point["max_accuracy_loss"] for point in curve] == sorted(point["max_accuracy_loss"] for point in curve)
    assert curve[-1]["mean_experts"] == 1
    assert (copy / "best" / "model.safetensors").read_bytes() == before
    stored = json.loads((copy / "best" / "model.json").read_text())
    assert stored["cascade"]["leads"] == figures["cascade"]["leads"]
    assert stored["provenance"] == json.loads((run / "best" / "model.json").read_text())["provenance"]


def test_a_cascade_predicts_what_its_figures_say(run: Path, photos: Path, tmp_path: Path) -> None:
    """Whoever looked has a label, a box and a weight; where all looked, the answer is the mixture's."""
    classifier = mge.load(run)
    files: list[Photo] = [*sorted((photos / "plum").iterdir())]
    plain = classifier.predict(files)
    with torch.no_grad():
        output = classifier.model(torch.stack([classifier.prepare(file).image for file in files]))
    leads = sorted(reference.top2_margin(logits) for logits in output.joint_logits[:, 0].tolist())
    classifier.thresholds = ((leads[3] + leads[4]) / 2, 2.0)
    cascade = classifier.predict(files, cascade=True, batch_size=3)
    assert {one.num_experts_run for one in cascade} == {1, 3}
    for one, other in zip(cascade, plain, strict=True):
        assert other.num_experts_run == 3
        assert len(one.boxes_xyxy) == len(one.gate_probs) == len(one.expert_labels) == one.num_experts_run
        assert sum(one.gate_probs) == pytest.approx(1, abs=1e-5)
        if one.num_experts_run == 3:
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        else:
            assert one.label == other.expert_labels[0]
            assert one.boxes_xyxy[0] == other.boxes_xyxy[0]


def test_a_csv_has_empty_cells_for_experts_that_did_not_look(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_cascade
    monkeypatch.setattr(
        "mge.inference.classifier.run_cascade",
        lambda model, images, thresholds: real(model, images, thresholds=(0.0 if len(images) == 3 else 2.0, 2.0)),
    )
    mge.predict(run, [str(photos / "plum")], cascade=True, output=tmp_path / "p.csv", batch_size=3)
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["num_experts_run"] for row in rows] == ["1"] * 6 + ["3"] * 2
    assert rows[0]["box_0_x1"]
    assert rows[0]["box_2_x1"] == rows[0]["gate_2"] == ""
    assert rows[7]["box_2_x1"]


def test_a_model_without_thresholds_says_how_to_choose_them(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = load_model(run / "best")
    bare = {name: value for name, value in stored.metadata.items() if name != "cascade"}
    save_model(tmp_path / "bare", dataclasses.replace(stored, metadata=bare))
    assert main(["predict", str(tmp_path / "bare"), str(photos / "lime" / "0.png"), "--cascade"]) == 2
    assert "no early-exit thresholds; fit them" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "bare"), str(photos / "lime" / "0.png")]) == 0
    # Without a run, the data's own validation photos choose.
    split = write_class_folders(tmp_path / "split", per_class=2, splits=("train", "val", "test"))
    figures = mge.evaluate(tmp_path / "bare", split, cascade=True)
    assert figures["cascade"]["validation"]["num_photos"] == 6
    assert mge.load(tmp_path / "bare").predict(photos / "lime" / "0.png", cascade=True).num_experts_run >= 1


def test_a_run_without_validation_photos_has_no_cascade(photos: Path, tmp_path: Path) -> None:
    run = mge.train(photos, out=tmp_path / "run", **{**OPTIONS, "epochs": 1, "val_fraction": 0.0})
    assert "cascade" not in run.summary()
    with pytest.raises(mge.ConfigError, match=r"has no validation photos, .* train with --val-fraction above 0"):
        mge.evaluate(run.folder, cascade=True)
    with pytest.raises(mge.ConfigError, match="no early-exit thresholds"):
        mge.predict(run.folder, [str(photos)], cascade=True)


def test_one_expert_has_nobody_to_leave_out(photos: Path, tmp_path: Path) -> None:
    run = mge.train(photos, out=tmp_path / "run", **{**OPTIONS, "epochs": 1, "experts": 1})
    assert "cascade" not in run.summary()
    with pytest.raises(mge.ConfigError, match="the model has one expert, and early exit needs at least two"):
        mge.evaluate(run.folder, cascade=True)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_accuracy_loss": 0.5}, "max_accuracy_loss is 0.5, which applies to early exit only; add --cascade"),
        ({"max_accuracy_loss": -1.0, "cascade": True}, "max_accuracy_loss is -1.0; accepted: at least 0"),
    ],
)
def test_wrong_options_of_a_cascade_are_refused(run: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(mge.ConfigError, match=re.escape(match)):
        mge.evaluate(run, **options)
