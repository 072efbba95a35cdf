"""What a cascade is worth, out of the answers of the whole mixture."""

import json
from typing import Any

import pytest
import torch
from torch.nn import functional

from mge.cascade.runner import run_cascade
from mge.cascade.thresholds import exit_risks
from mge.config import ModelConfig
from mge.core.outputs import MixtureOutput
from mge.data.loader import Batch
from mge.evaluation.early_exit import choose_cascade, measure_cascade, network_costs, trace_curve
from mge.evaluation.run_model import EvalOutputs, summarize
from mge.evaluation.temperature import best_temperature
from tests import reference
from tests.models.networks import build, draw

CONFIG = ModelConfig(backbone="test_resnet", experts=3)


def answers_of(labels: list[int], so_far: list[list[int]], margins: list[list[float]]) -> EvalOutputs:
    """Answers of which a cascade's fields alone are filled."""
    nothing = torch.zeros(len(labels), 3)
    whole = torch.tensor([row[-1] for row in so_far])
    confidences = torch.tensor([row[-1] for row in margins])[:, None].clamp(0.3, 0.99)
    filled: dict[str, Any] = {
        "labels": torch.tensor(labels),
        "logits": torch.where(functional.one_hot(whole, 4) == 1, confidences, (1 - confidences) / 3).log(),
        "prefix_labels": torch.tensor(so_far),
        "prefix_margins": torch.tensor(margins),
    }
    return EvalOutputs(**{name: filled.get(name, nothing) for name in EvalOutputs._fields})


def made_up(num_photos: int, *, seed: int = 3) -> EvalOutputs:
    """Experts that are right more often the later they come, and the surer they are."""
    torch.manual_seed(seed)
    margins = torch.rand(num_photos, 3).sort(1).values
    labels = torch.randint(0, 4, (num_photos,))
    is_right = torch.rand(num_photos, 3) < margins
    so_far = torch.where(is_right, labels.unsqueeze(1), (labels.unsqueeze(1) + 1) % 4)
    return answers_of(labels.tolist(), so_far.tolist(), margins.tolist())


def test_figures_by_hand() -> None:
    # Right at once and sure; right later; wrong by being sure too early; right only because it stopped early.
    answers = answers_of(
        [0, 1, 2, 3],
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 3, 0]],
        [[0.9, 0.9, 0.9], [0.5, 0.5, 0.9], [0.9, 0.5, 0.9], [0.5, 0.8, 0.9]],
    )
    shared = {
        "top1": 75.0,
        "lost_top1": 0.0,
        "mean_experts": 1.75,
        "mean_networks": 1.75,
        "saved_percent": 62.5,
        "leaving_percent": [50.0, 25.0, 25.0],
    }
    assert measure_cascade(answers, [0.75, 0.75], config=CONFIG) == shared
    own = measure_cascade(answers, [0.75, 0.75], config=ModelConfig(backbone="test_resnet", experts=3, gate="own"))
    assert own == {**shared, "mean_networks": 2.25}


@pytest.mark.parametrize(("gate", "costs"), [("shared", [1, 2, 3]), ("own", [1, 3, 4])])
def test_a_gate_of_its_own_is_a_network_that_runs_from_the_second_expert_on(gate: str, costs: list[int]) -> None:
    assert network_costs(ModelConfig(backbone="test_resnet", experts=3, gate=gate)) == costs  # type: ignore[arg-type]


def test_new_photos_lose_no_more_than_allowed() -> None:
    answers, others = made_up(200), made_up(20000, seed=4)
    previous = -1.0
    for allowed in (0.0, 0.2, 0.5, 3.0):
        chosen = choose_cascade(answers, config=CONFIG, max_accuracy_loss=allowed)
        found = measure_cascade(others, chosen["leads"], config=CONFIG)
        assert found["lost_top1"] <= allowed
        assert found["saved_percent"] >= previous
        previous = found["saved_percent"]
        assert chosen["validation"] == {
            "num_photos": 200,
            **measure_cascade(answers, chosen["leads"], config=CONFIG),
        }
        assert json.loads(json.dumps(chosen)) == chosen


def test_cross_validated_figures_are_of_photos_that_chose_nothing() -> None:
    """By a loop over the five parts, with the exhaustive search."""
    answers = made_up(35)
    found = choose_cascade(answers, config=CONFIG, max_accuracy_loss=8.0)["cross_validated"]
    margins, labels = answers.prefix_margins.tolist(), answers.labels.tolist()
    so_far = answers.prefix_labels.tolist()
    experts = lost = 0
    for part in range(5):
        others = [row for row in range(35) if row % 5 != part]
        previous = [margins[row][:2] for row in others]
        temperature = best_temperature(EvalOutputs(*(column[others] for column in answers)))
        confidence = [max(reference.softmax([z / temperature for z in answers.logits[row].tolist()])) for row in others]
        chances = [
            [chance * (so_far[row][2] != so_far[row][k]) for k in (0, 1)]
            for row, chance in zip(others, confidence, strict=True)
        ]
        risks = exit_risks(torch.tensor(previous), torch.tensor(chances))
        allowed = 0.08 * 28
        thresholds = reference.choose_thresholds(previous, risks.tolist(), max_lost=allowed, costs=[1, 2, 3])
        for row in range(part, 35, 5):
            stop = reference.stopping_expert(margins[row][:2], thresholds)
            experts += stop + 1
            lost += (so_far[row][2] == labels[row]) - (so_far[row][stop] == labels[row])
    assert found["mean_experts"] == pytest.approx(experts / 35, abs=1e-4)
    assert found["lost_top1"] == pytest.approx(100 * lost / 35, abs=0.01)


def test_a_handful_of_photos_is_not_cross_validated() -> None:
    assert "cross_validated" not in choose_cascade(made_up(4), config=CONFIG)


def test_photos_about_which_the_mixture_says_no_number_leave_the_choice_as_it_is() -> None:
    answers = made_up(60)
    unsure = answers._replace(logits=answers.logits.clone(), prefix_margins=answers.prefix_margins.clone())
    unsure.logits[-3:] = unsure.prefix_margins[-3:] = torch.nan
    thresholds = choose_cascade(unsure, config=CONFIG, max_accuracy_loss=8.0)["leads"]
    assert all(0 < threshold <= 2 for threshold in thresholds)
    assert measure_cascade(unsure, thresholds, config=CONFIG)["leaving_percent"][-1] >= 5.0  # these three, to the end


def test_the_curve_goes_from_the_whole_mixture_s_accuracy_to_one_expert() -> None:
    curve = trace_curve(made_up(150), made_up(150), config=CONFIG)
    means = [point["mean_experts"] for point in curve]
    assert means == sorted(means, reverse=True)
    assert means[-1] == 1
    assert curve[0]["lost_top1"] <= 0


@pytest.mark.parametrize("mix", ["logits", "probs"])
def test_figures_out_of_the_mixtures_answers_are_those_of_a_cascade_that_runs(mix: str) -> None:
    net, images = build(num_experts=3, mix=mix), draw(8)
    batch = Batch(images, torch.arange(8) % 5, torch.arange(8))
    with torch.inference_mode():
        output: MixtureOutput = net(images)
    answers = summarize(output, batch, mix=net.config.mix)
    assert torch.equal(answers.prefix_labels[:, -1], output.logits.argmax(1))
    thresholds = [float(answers.prefix_margins[:, number].median()) + 1e-4 for number in (0, 1)]
    ran = run_cascade(net, images, thresholds=thresholds)
    figures = measure_cascade(answers, thresholds, config=net.config)
    assert figures["mean_experts"] == ran.num_experts_run.double().mean()
    assert figures["top1"] == 100 * (ran.mixture.logits.argmax(1) == batch.labels).double().mean()
