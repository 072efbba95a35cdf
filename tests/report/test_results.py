"""Results of `mge evaluate` and `mge compare` as dictionaries, data frames and displays of notebooks."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mge
from mge.report.results import ComparisonResult, EvaluationResult
from tests.photos import COLORS, write_class_folders
from tests.runs import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    photos = write_class_folders(folder / "photos", per_class=4, splits=("train", "test"))
    return write_run(folder / "run", data=photos, num_experts=2)


@pytest.fixture(scope="module")
def result(run: Path) -> EvaluationResult:
    return mge.evaluate(run, report=True)


def test_a_result_is_the_dictionary_of_its_file(run: Path, result: EvaluationResult) -> None:
    assert result == json.loads((run / "evaluation-test.json").read_text())
    assert json.loads(json.dumps(result)) == result


def test_predictions_are_those_of_the_reports_table_with_numbers(run: Path, result: EvaluationResult) -> None:
    frame = result.predictions
    table = pd.read_csv(run / "evaluation-test" / "photos.csv")
    assert list(frame["path"]) == list(table["path"])
    assert list(frame["predicted"]) == list(table["answer"])
    assert frame["is_correct"].dtype == bool
    assert 100 * frame["is_correct"].mean() == pytest.approx(result["mixture_top1"], abs=0.01)
    assert frame["probability"].to_numpy() == pytest.approx(table["probability"].to_numpy())


def test_probabilities_have_a_column_for_each_class(result: EvaluationResult) -> None:
    frame, predictions = result.probabilities, result.predictions
    assert list(frame.columns) == list(COLORS)
    assert list(frame.index) == list(predictions["path"])
    assert frame.sum(axis=1).to_numpy() == pytest.approx(np.ones(12), abs=1e-5)
    assert list(frame.idxmax(axis=1)) == list(predictions["predicted"])


def test_confusions_and_classes_follow_from_the_predictions(result: EvaluationResult) -> None:
    frame, confusion = result.predictions, result.confusion
    for label in COLORS:
        for other in COLORS:
            expected = ((frame["label"] == label) & (frame["predicted"] == other)).sum()
            assert confusion.loc[label, other] == expected
        row = result.per_class.loc[label]
        assert row["num_photos"] == 4
        hits = int(confusion[label].to_dict()[label])
        assert row["recall"] == pytest.approx(100 * hits / 4, abs=0.01)
    assert (confusion.index.name, confusion.columns.name) == ("label", "predicted")
    assert result.per_class["precision"].dtype == "float64"


def test_a_result_shows_itself_and_is_copied(result: EvaluationResult) -> None:
    assert result["headline"] in repr(result)
    assert "accuracy" in repr(result)
    assert all(label in result._repr_html_() for label in COLORS)
    for other in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert other == result
        assert other.predictions.equals(result.predictions)


def test_a_comparison_is_a_dictionary_and_two_tables(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", data=run.parent / "photos", num_experts=1)
    result = mge.compare([str(run), str(other)], output=tmp_path / "out", resamples=100)
    assert isinstance(result, ComparisonResult)
    assert result == json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(result.runs.index) == [row["name"] for row in result["runs"]]
    assert list(result.runs["low"]) == [row["interval"][0] for row in result["runs"]]
    assert result.pairs.loc[0, "difference"] == result["pairs"][0]["difference"]
    assert repr(result).startswith("Comparison on 12 test photos of ")
    assert "other" in result._repr_html_()
