"""What validation answers choose for a model: temperature and threshold of rejection; and what these are worth."""

from typing import Any

import pytest
import torch
from scipy import stats
from sklearn.metrics import accuracy_score

from mge.config import ModelConfig
from mge.errors import ConfigError
from mge.evaluation.fit_parameters import FitOptions, fit_parameters, measure_fitted
from mge.evaluation.quality import measure_experts, measure_hierarchy, measure_intervals
from mge.evaluation.rejection import choose_rejection, measure_rejection, measure_unknown
from mge.evaluation.run_model import EvalOutputs
from mge.evaluation.temperature import choose_temperature, measure_calibration

CONFIG = ModelConfig(backbone="test_resnet", experts=2)


def made_up(num_photos: int = 400, *, temperature: float = 2.0, seed: int = 0) -> EvalOutputs:
    """Answers whose probabilities would be right if their logits were divided by the temperature."""
    torch.manual_seed(seed)
    logits = torch.randn(num_photos, 4) * 3
    labels = torch.distributions.Categorical(logits=logits).sample()
    nothing = torch.zeros(num_photos, 2)
    filled: dict[str, Any] = {"labels": labels, "logits": logits * temperature}
    filled["joint_labels"] = torch.stack([logits.argmax(1), torch.randint(0, 4, (num_photos,))], dim=1)
    filled["gate_probs"] = torch.tensor([[0.75, 0.25]]).repeat(num_photos, 1)
    return EvalOutputs(**{name: filled.get(name, nothing) for name in EvalOutputs._fields})


def test_the_stored_temperature_mends_other_photos_too() -> None:
    chosen = choose_temperature(made_up())
    assert chosen["temperature"] == pytest.approx(2, rel=0.2)
    assert chosen["validation"]["num_photos"] == 400
    others = measure_calibration(made_up(2000, seed=1), temperature=chosen["temperature"])
    assert others["ece_after"] < 4 < others["ece_before"]
    assert others["loss_after"] < others["loss_before"]


def test_a_handful_of_photos_that_are_all_right_do_not_make_the_model_certain() -> None:
    answers = made_up(8)
    answers = answers._replace(labels=answers.logits.argmax(1))
    temperature = choose_temperature(answers)["temperature"]
    assert float((answers.logits / temperature).softmax(1).amax(1).mean()) < 0.99


def test_a_threshold_keeps_its_target_on_validation_with_room_for_luck() -> None:
    answers = made_up()
    chosen = choose_rejection(answers, temperature=2.0, target_error=0.1)
    measured = measure_rejection(answers, threshold=chosen["threshold"], temperature=2.0)
    assert chosen["validation"] == {"num_photos": 400, **measured}
    confidences, predicted = (answers.logits / 2).softmax(1).max(1)
    accepted = confidences >= chosen["threshold"]
    wrong, total = int((accepted & (predicted != answers.labels)).sum()), int(accepted.sum())
    assert (measured["num_accepted"], measured["error_percent"]) == (total, round(100 * wrong / total, 2))
    interval = stats.binomtest(wrong, total).proportion_ci(0.95, method="wilson")
    assert measured["error_interval"] == pytest.approx([100 * edge for edge in interval], abs=0.01)
    assert stats.beta.ppf(0.95, wrong + 1, total - wrong) <= 0.1


def test_a_target_that_cannot_be_kept_is_refused_with_one_that_can() -> None:
    answers = made_up(40)
    with pytest.raises(
        ConfigError, match=r"target_error is 0.01, and 40 validation photos show no threshold"
    ) as caught:
        choose_rejection(answers, temperature=2.0, target_error=0.01)
    offered = float(str(caught.value).partition("accepted for this model: ")[2].partition(" or more")[0])
    assert choose_rejection(answers, temperature=2.0, target_error=offered)["validation"]["num_accepted"] > 0
    with pytest.raises(ConfigError):
        choose_rejection(answers, temperature=2.0, target_error=offered - 0.002)


def test_a_threshold_that_nothing_reaches_has_no_error() -> None:
    measured = measure_rejection(made_up(30), threshold=1.01, temperature=1.0)
    assert (measured["num_accepted"], measured["error_percent"]) == (0, None)


def test_a_new_temperature_takes_an_old_threshold_away() -> None:
    old = {"calibration": {"temperature": 1.0}, "rejection": {"threshold": 0.5}, "provenance": {"seed": 1}}
    found = fit_parameters(FitOptions(calibrate=True), old, made_up(), config=CONFIG)
    assert found["calibration"]["temperature"] == pytest.approx(2, rel=0.2)
    assert "rejection" not in found
    assert found["provenance"] == {"seed": 1}


def test_rejection_is_chosen_at_the_stored_temperature_or_at_a_new_one_where_there_is_none() -> None:
    choices = FitOptions(reject="auto", target_error=0.1)
    stored = {"calibration": {"temperature": 3.0}}
    found = fit_parameters(choices, stored, made_up(), config=CONFIG)
    assert found["calibration"] == stored["calibration"]
    assert found["rejection"] == choose_rejection(made_up(), temperature=3.0, target_error=0.1)
    assert fit_parameters(choices, {}, made_up(), config=CONFIG)["calibration"]["temperature"] < 3


def test_thresholds_of_a_former_cascade_are_left_out() -> None:
    found = fit_parameters(FitOptions(calibrate=True), {"cascade": {"thresholds": [0.9]}}, made_up(), config=CONFIG)
    assert "cascade" not in found
    kept = fit_parameters(FitOptions(calibrate=True), {"cascade": {"leads": [0.9]}}, made_up(), config=CONFIG)
    assert kept["cascade"] == {"leads": [0.9]}


def test_a_threshold_can_be_given_and_taken_away() -> None:
    given = fit_parameters(FitOptions(reject=0.8), {}, None, config=CONFIG)
    assert given == {"rejection": {"threshold": 0.8}}
    assert fit_parameters(FitOptions(reject="off"), given, None, config=CONFIG) == {}
    figures = measure_fitted(given, made_up(), config=CONFIG)
    assert figures["rejection"]["threshold"] == 0.8
    assert figures["calibration"]["ece_before"] == figures["calibration"]["ece_after"]


def test_unknown_photos_are_counted_below_the_threshold() -> None:
    known, others = torch.tensor([0.9, 0.8, 0.4]), torch.tensor([0.3, 0.85])
    assert measure_unknown(known, others, threshold=0.5) == {"num_photos": 2, "auroc": 0.6667, "rejected_percent": 50.0}
    assert "rejected_percent" not in measure_unknown(known, others, threshold=None)


def test_each_level_of_coarser_classes_has_its_accuracy() -> None:
    answers = made_up()
    parents = {"a": "x", "b": "x", "c": "y"}
    rows = measure_hierarchy(answers, class_names=["a", "b", "c", "y2"], parents=parents)
    family = {0: 0, 1: 0, 2: 1, 3: 2}
    labels, predicted = answers.labels.tolist(), answers.logits.argmax(1).tolist()
    coarse = 100 * accuracy_score([family[x] for x in labels], [family[x] for x in predicted])
    fine = 100 * accuracy_score(labels, predicted)
    assert [row["num_classes"] for row in rows] == [3, 4]
    assert [row["top1"] for row in rows] == pytest.approx([coarse, fine], abs=0.005)
    assert rows[1]["right_above_percent"] == pytest.approx(100 * (coarse - fine) / (100 - fine), abs=0.1)
    assert measure_hierarchy(answers, class_names=["a", "b", "c", "d"], parents={}) == []


def test_figures_about_experts_are_numbers_that_json_knows() -> None:
    answers = made_up()._replace(labels=torch.zeros(400, dtype=torch.long), joint_labels=torch.zeros(400, 2).long())
    figures = measure_experts(answers)
    assert figures["gate_picks_percent"] == [100.0, 0.0]
    assert figures["disagreement_percent"] == [[0.0, 0.0], [0.0, 0.0]]
    assert figures["error_correlation"] == [[None, None], [None, None]]


def test_the_interval_of_accuracy_is_wilsons_in_percent() -> None:
    answers = made_up()
    right = int((answers.logits.argmax(1) == answers.labels).sum())
    expected = stats.binomtest(right, 400).proportion_ci(0.95, method="wilson")
    assert measure_intervals(answers)["mixture_interval"] == pytest.approx([100 * edge for edge in expected], abs=0.01)
