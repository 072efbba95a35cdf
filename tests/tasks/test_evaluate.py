"""`mge evaluate`: which photos are measured, what is stored with the model, and the report in a real browser."""

import csv
import dataclasses
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import mge
from mge.cli import main
from mge.report.evaluation_report import read_localization
from mge.storage.model_folder import load_model, save_model
from mge.storage.run_folder import Run
from tests.photos import write_class_folders
from tests.runs import write_run
from tests.tiny import TINY

OPTIONS = {**TINY, "epochs": 3, "backbone_lr": 2e-3, "head_lr": 2e-3, "baseline": "none"}
PARENTS = {"apple": "round", "lime": "citrus", "plum": "round"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest with splits and coarser classes; the first test photo of each class has a wrong label."""
    folder = tmp_path_factory.mktemp("photos")
    lines = ["path,label,split,parent"]
    for split, per_class in (("train", 8), ("val", 4), ("test", 6)):
        for label, parent in PARENTS.items():
            files = sorted((write_class_folders(folder / split, per_class=per_class) / label).iterdir())
            lines += [f"{file},{label},{split},{parent}" for file in files[split == "test" :]]
    wrong = {"apple": "plum", "lime": "apple", "plum": "lime"}
    lines += [f"{folder / 'test' / label / '0.png'},{said},test,{PARENTS[said]}" for label, said in wrong.items()]
    (folder / "fruit.csv").write_text("\n".join(lines))
    return folder / "fruit.csv"


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "run", **OPTIONS).folder


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "run")


def set_metadata(folder: Path, **changes: dict[str, Any] | None) -> None:
    """Changes what a stored model knows about itself; None takes an entry away."""
    stored = load_model(folder)
    metadata = {**stored.metadata, **changes}
    kept = {name: value for name, value in metadata.items() if value is not None}
    save_model(folder, dataclasses.replace(stored, metadata=kept))


# -------- which photos
def test_all_photos_of_other_data_without_splits_are_measured(run: Path, tmp_path: Path) -> None:
    other = write_class_folders(tmp_path / "shelf", per_class=5, seed=50)
    figures = mge.evaluate(run, other, report=False)
    assert (figures["num_photos"], figures["split"]) == (15, "all")
    assert figures["measured"] == "all photos of shelf (without splits)"
    assert (run / "evaluation-shelf-all.json").exists()


def test_a_broken_photo_whose_name_is_no_text_stands_in_the_report_with_marks(run: Path, tmp_path: Path) -> None:
    other = write_class_folders(tmp_path / "shelf", per_class=2, seed=50)
    Path(os.fsdecode(os.fsencode(other) + b"/apple/cr\xe8me.png")).write_bytes(b"no photo")
    mge.evaluate(run, other, out=tmp_path / "figures.json")
    text = (tmp_path / "figures" / "report.html").read_text(encoding="utf-8")
    assert "1 photos, the first is apple/cr\ufffdme.png" in text


def test_a_network_by_itself_is_not_called_a_mixture(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_run(tmp_path / "plain", data=photos, num_experts=1, part_filters=0, class_names=tuple(PARENTS))
    mge.evaluate(plain)
    assert capsys.readouterr().out.startswith("The network has a top-1 accuracy of ")
    page = (plain / "evaluation-test" / "report.html").read_text(encoding="utf-8")
    assert "the network is overconfident" in page
    assert "the mixture is" not in page
    assert ">network<" in page
    assert "best expert" not in page


def test_report_and_terminal_begin_with_the_result_against_the_plain_network(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Run.create(copy / "plain", config={"data": "photos"}).write_right({"model": [True] * 18})
    figures = mge.evaluate(copy)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == figures["headline"]
    assert " on the test split of " in said[0]
    assert "than the plain network (100.0 %; " in said[0]
    assert said[1 : 1 + len(figures["advice"])] == figures["advice"]
    assert any(line.startswith("Lowest recall: ") for line in figures["advice"])
    page = (copy / "evaluation-test" / "report.html").read_text(encoding="utf-8")
    assert f'</h1>\n  <p class="headline">{figures["headline"]}</p>' in page
    other = write_class_folders(tmp_path / "shelf", per_class=6, seed=50)
    assert "the first expert alone (" in mge.evaluate(copy, other, report=False)["headline"]


def test_of_other_data_with_splits_the_test_split_is_measured(run: Path, tmp_path: Path) -> None:
    other = write_class_folders(tmp_path / "shop", per_class=2, splits=("train", "test"), seed=50)
    figures = mge.evaluate(run, other, report=False, out=tmp_path / "figures.json")
    assert (figures["num_photos"], figures["measured"]) == (6, "the test split of shop")
    figures = mge.evaluate(run, other, report=False, split="all", out=tmp_path / "figures.json")
    assert (figures["num_photos"], figures["measured"]) == (12, "all photos of shop")


def test_a_log_says_how_far_measuring_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mge.console.progress.SECONDS_BETWEEN_LINES", 0.0)
    other = write_class_folders(tmp_path / "stall", per_class=4, seed=50)
    mge.evaluate(run, other, report=False, batch_size=5)
    said = [line.split(" photos")[0] for line in capsys.readouterr().err.splitlines()]
    assert [line for line in said if line.startswith("evaluating")] == ["evaluating: 10 of 12", "evaluating: 12 of 12"]
    assert "reading: 12 of 12" in said


def test_the_runs_own_data_are_known_by_their_path(run: Path, photos: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.csv"
    link.symlink_to(photos)
    for data in (None, photos, link):
        figures = mge.evaluate(run, data, report=False, out=tmp_path / "figures.json")
        assert (figures["num_photos"], figures["split"]) == (18, "test")
    figures = mge.evaluate(run, split="train", report=False, out=tmp_path / "figures.json")
    assert figures["measured"] == f"the train split of {figures['data']}, which it was trained on"


# -------- what is stored
def test_training_stores_a_temperature_that_predictions_use(run: Path, copy: Path, photos: Path) -> None:
    temperature = load_model(run / "best").metadata["calibration"]["temperature"]
    assert mge.load(run).temperature == temperature
    assert json.loads((run / "summary.json").read_text())["calibration"]["temperature"] == temperature
    file = photos.parent / "test" / "lime" / "0.png"
    set_metadata(copy / "best", calibration={"temperature": 1e6})
    assert mge.load(copy).predict(file).probabilities == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_a_model_without_temperature_gets_one_where_it_is_asked_for(copy: Path) -> None:
    expected = load_model(copy / "best").metadata["calibration"]  # perhaps found in a lower precision
    set_metadata(copy / "best", calibration=None)
    bare = mge.evaluate(copy, report=False)["calibration"]
    assert bare["temperature"] == 1
    assert "calibration" not in load_model(copy / "best").metadata
    figures = mge.evaluate(copy, calibrate=True, report=False)["calibration"]
    stored = load_model(copy / "best").metadata["calibration"]
    assert stored["temperature"] == figures["temperature"] == pytest.approx(expected["temperature"], rel=0.01)
    assert stored["validation"]["num_photos"] == expected["validation"]["num_photos"] == 12
    assert figures["ece_before"] == bare["ece_before"]


def test_photos_below_the_threshold_are_unknown_in_text_csv_and_json(
    copy: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(photos.parent / "test")
    sure = sorted(prediction.probability for prediction in mge.predict(copy, [folder]))
    threshold = (sure[8] + sure[9]) / 2
    assert main(["evaluate", str(copy), "--reject", f"{threshold:.6f}", "--report", "false"]) == 0
    assert f"Rejection below {100 * threshold:.1f} %: coverage 50.0 %" in capsys.readouterr().out
    mge.predict(copy, [folder], output=tmp_path / "p.csv")
    mge.predict(copy, [folder], output=tmp_path / "p.json")
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    objects = json.loads((tmp_path / "p.json").read_text())
    for row in (*rows, *objects):
        is_unknown = float(row["probability"]) < threshold
        assert row["label"] == ("unknown" if is_unknown else row["likeliest"])
        assert row["likeliest"] in PARENTS
        assert bool(row["reason"]) is is_unknown
    assert sum(row["label"] == "unknown" for row in rows) == 9
    capsys.readouterr()
    mge.predict(copy, [folder])
    streams = capsys.readouterr()
    assert streams.out.count(": unknown: the most likely class, ") == 9
    assert "9 of 18 photos were rejected" in streams.err
    assert all(prediction.label in PARENTS for prediction in mge.predict(copy, [folder], reject=False))
    mge.evaluate(copy, reject="off", report=False)
    assert "rejection" not in load_model(copy / "best").metadata


def test_a_threshold_is_chosen_on_validation_and_stored(copy: Path, tmp_path: Path) -> None:
    unknown = write_class_folders(tmp_path / "other things", per_class=2)
    (unknown / "lime" / "0.png").write_bytes(b"no photo")
    figures = mge.evaluate(copy, reject="auto", target_error=0.9, unknown=unknown, report=False)
    stored = load_model(copy / "best").metadata["rejection"]
    assert stored["target_error"] == 0.9
    assert stored["validation"]["num_photos"] == 12
    assert {name: figures["rejection"][name] for name in ("threshold", "target_error")} == {
        name: stored[name] for name in ("threshold", "target_error")
    }
    assert mge.load(copy).least_probability == stored["threshold"]
    assert figures["unknown"]["num_photos"] == 5
    assert 0 <= figures["unknown"]["auroc"] <= 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target_error": 0.1}, "target_error is 0.1, which applies to --reject auto only; add it"),
        ({"target_error": 0.0, "reject": "auto"}, "target_error is 0.0; accepted: at least 0.001 and at most 0.999"),
        ({"reject": "always"}, "reject is 'always'; accepted: auto, off"),
        ({"reject": 1.5}, "reject is 1.5; accepted: at least 0 and at most 1"),
        ({"reject": "auto", "target_error": 0.01}, "target_error is 0.01, but on 12 validation photos no threshold"),
        ({"batch_size": 0}, "batch_size is 0; accepted: at least 1"),
        ({"split": "rest"}, "split is 'rest'; accepted: train, val, test, new, all"),
    ],
)
def test_what_cannot_be_chosen_is_refused(run: Path, options: dict[str, Any], match: str) -> None:
    with pytest.raises(mge.ConfigError, match=re.escape(match)):
        mge.evaluate(run, **options)


def test_a_run_that_lost_a_setting_is_one_line_for_the_user(copy: Path) -> None:
    config = copy / "config.yaml"
    config.write_text(re.sub("^seed:.*$", "", config.read_text(), flags=re.M))
    with pytest.raises(mge.ModelFolderError, match=r"config\.yaml has no seed; copy it again or start a new run"):
        mge.evaluate(copy)


@pytest.mark.parametrize("name", ["environment.json", "localisation-test/localisation.json"])
def test_a_damaged_file_of_the_run_is_one_line_for_the_user(copy: Path, name: str) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text('{"data": ')
    with pytest.raises(mge.ModelFolderError, match=rf"{name} is damaged: .*; (copy it again|remove it)"):
        mge.evaluate(copy)


# -------- the report
@pytest.fixture(scope="module")
def report(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = shutil.copytree(run, tmp_path_factory.mktemp("reports") / "run")
    (copy / "localisation-test").mkdir()
    expert = {"top1_localisation": 11.5, "gt_known": 22.5, "max_box_acc_v2": 33.5}
    located = {"data": mge.evaluate(copy, report=False)["data"], "split": "test", "experts": [expert, expert]}
    (copy / "localisation-test" / "localisation.json").write_text(json.dumps(located))
    mge.evaluate(copy, cascade=True, reject=0.4, unknown=write_class_folders(copy.parent / "other", per_class=1))
    return copy / "evaluation-test" / "report.html"


def test_the_data_beside_the_page_say_what_scikit_learn_says(report: Path) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

    figures = json.loads((report.parent / "figures.json").read_text())
    assert figures == json.loads(report.parent.with_suffix(".json").read_text())
    with (report.parent / "photos.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels, answers = [row["label"] for row in rows], [row["answer"] for row in rows]
    assert len(rows) == 18
    assert figures["mixture_top1"] == pytest.approx(100 * accuracy_score(labels, answers), abs=0.01)
    assert figures["macro_f1"] == pytest.approx(100 * f1_score(labels, answers, average="macro"), abs=0.01)
    assert (figures["majority_top1"], figures["chance_top1"]) == (33.33, 33.33)
    assert "mixture_top5" not in figures  # there are three classes
    assert [int(row["is_right"]) for row in rows] == [int(row["label"] == row["answer"]) for row in rows]
    names = sorted(PARENTS)
    with (report.parent / "confusion.csv").open() as file:
        counts = [[int(row[name]) for name in names] for row in csv.DictReader(file)]
    assert counts == confusion_matrix(labels, answers, labels=names).tolist()
    with (report.parent / "classes.csv").open() as file:
        found = {row["name"]: float(row["f1"]) for row in csv.DictReader(file)}
    expected = f1_score(labels, answers, labels=names, average=None, zero_division=0)
    assert [found[name] for name in names] == pytest.approx(list(100 * expected), abs=0.01)
    coarse = accuracy_score([PARENTS[label] for label in labels], [PARENTS[answer] for answer in answers])
    assert figures["hierarchy"][0]["top1"] == pytest.approx(100 * coarse, abs=0.01)


def test_the_page_has_every_section_and_says_how_it_came_to_be(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    names = (
        "parts hierarchy confusion classes pairs mistakes labels calibration rejection localisation cascade training"
    )
    for name in [*names.split(), "data", "origin"]:
        assert f'<section id="{name}">' in text
    for shown in ("top-1 localization", "MaxBoxAccV2", "33.5"):
        assert shown in text
    assert "MaxBoxAcc<" not in text
    assert "AUROC" in text
    for fact in ("fruit.csv", "commit", "torch 2", "test_resnet", "seed"):
        assert fact in text
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)


def test_the_first_table_is_of_whole_networks_and_the_heads_are_folded(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    first, _, folded = text.partition('<section id="parts">')[2].partition("</section>")[0].partition("<details>")
    assert [name for name in ("expert 0", "expert 1", "mixture", "oracle") if f">{name}</th>" in first] == [
        "expert 0", "expert 1", "mixture", "oracle",
    ]  # fmt: skip
    assert "head" not in first.partition("<tbody>")[2]
    for name in ("expert 0, global head", "expert 1, part head"):
        assert f">{name}</th>" in folded.partition("</details>")[0]


def test_photos_are_named_below_their_data_folder(report: Path, photos: Path) -> None:
    text = report.read_text(encoding="utf-8").partition('<section id="origin">')[0]
    assert re.search(r'<p class="path">test/(apple|lime|plum)/\d.png</p>', text)
    assert str(photos.parent) not in text
    with (report.parent / "photos.csv").open() as file:
        assert all(Path(row["path"]).is_absolute() for row in csv.DictReader(file))  # programs open them


def test_what_mge_localize_said_about_other_photos_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "localisation-test").mkdir()
    found = {"data": "birds", "split": "test", "experts": [{"gt_known": 50.0}]}
    (tmp_path / "localisation-test" / "localisation.json").write_text(json.dumps(found))
    assert [row.figures for row in read_localization(tmp_path, {"data": "birds", "split": "test"})] == [
        {"GT-known": 50.0}
    ]
    assert read_localization(tmp_path, {"data": "fruit", "split": "test"}) == []
    assert read_localization(tmp_path, {"data": "birds", "split": "all"}) == []


@pytest.mark.slow
def test_the_page_opens_in_a_browser_without_error_or_request_for_everybody(report: Path, browser: Browser) -> None:
    assert report.stat().st_size < 15e6
    messages: list[str] = []
    requests: list[str] = []

    def listen(page: Page) -> None:
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))

    for scheme, width in (("light", 1280), ("dark", 390)):
        size = {"width": width, "height": 900}
        page = browser.new_page(color_scheme=scheme, viewport=size, bypass_csp=True)  # type: ignore[arg-type]
        listen(page)
        page.goto(report.as_uri(), wait_until="load")
        broken = "[...document.images].filter(image => !(image.complete && image.naturalWidth)).length"
        assert page.evaluate(broken) == 0
        assert page.evaluate("document.images.length") > 0
        assert page.evaluate("[...document.images].every(image => image.alt)")
        assert page.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
        assert Axe().run(page).response["violations"] == []
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert (ink == "rgb(230, 233, 236)") is (scheme == "dark")
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {report.as_uri()}


def test_a_model_of_the_hub_is_no_folder_to_write_to_or_to_change() -> None:
    with pytest.raises(
        mge.ConfigError, match="'hf:someone/birds', which is not a local folder to write to; give --out"
    ):
        mge.evaluate("hf:someone/birds", "photos")
    with pytest.raises(mge.ConfigError, match="give --output"):
        mge.localize("hf:someone/birds", "photos")
    for chosen in ({"calibrate": True}, {"cascade": True}, {"reject": "auto"}):
        with pytest.raises(mge.ConfigError, match="are stored with the model: download it"):
            mge.evaluate("hf:someone/birds", "photos", out="figures.json", **chosen)
