"""A comparison's figures by hand, and what a network costs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mge.data.records import Record
from mge.evaluation.comparison import ComparedModel, Comparison, measure_differences, short_names, telling_order
from mge.evaluation.flops import Cost, count_cost
from tests.models.networks import build

# Six photos of the classes 0 and 1: what each of two runs gives the class 1.
LABELS = [0, 0, 0, 1, 1, 1]
FIRST = [0.1, 0.2, 0.9, 0.8, 0.4, 0.6]  # wrong about the third and the fifth
SECOND = [0.2, 0.1, 0.3, 0.7, 0.9, 0.3]  # wrong about the last


def comparison() -> Comparison:
    def probs(of_one: list[float]) -> torch.Tensor:
        return torch.tensor([[1 - share, share] for share in of_one])

    records = tuple(Record(Path(f"{number}.png"), "ab"[label], "test") for number, label in enumerate(LABELS))
    first, second = ComparedModel("x", probs(FIRST), Cost(10, 3)), ComparedModel("y", probs(SECOND), Cost(20, 4))
    return Comparison("fruit", ("a", "b"), records, torch.tensor(LABELS), (first, second))


def test_the_figures_by_hand() -> None:
    figures = measure_differences(comparison(), num_resamples=2000, seed=0)
    assert [run["top1"] for run in figures["runs"]] == [66.67, 83.33]
    assert [(run["multiply_adds"], run["parameters"]) for run in figures["runs"]] == [(10, 3), (20, 4)]
    (pair,) = figures["pairs"]
    assert (pair["first"], pair["second"], pair["difference"]) == ("x", "y", 16.67)
    assert (pair["num_only_first"], pair["num_only_second"], pair["p_value"]) == (1, 2, 1.0)
    for row in [*figures["runs"], pair]:
        middle = row.get("top1", row.get("difference"))
        assert row["interval"][0] < middle < row["interval"][1]


def test_the_most_telling_photos_come_first_and_those_they_agree_about_not_at_all() -> None:
    # The true class gets 0.1 and 0.7 about the third photo, 0.4 and 0.9 about the fifth, 0.6 and 0.3 about the last.
    assert telling_order(comparison()) == [2, 4, 5]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/birds", "runs/birds/plain", "runs/birds/plain_equal_compute"],
         ["birds", "birds/plain", "birds/plain_equal_compute"]),
        (["a/x/best", "a/y/best"], ["x/best", "y/best"]),
        (["one", "other"], ["one", "other"]),
    ],
)  # fmt: skip
def test_runs_are_called_by_what_tells_them_apart(paths: list[str], expected: list[str]) -> None:
    assert short_names([Path(path) for path in paths]) == expected


@pytest.mark.parametrize("options", [{"num_experts": 1, "part_filters": 0}, {"num_experts": 3, "zoom_resolution": 2}])
def test_multiply_adds_are_those_of_every_convolution_and_matrix(options: dict[str, Any]) -> None:
    model = build(**options)
    counted = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(module, torch.nn.Conv2d):
            per_output = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
            counted += output.numel() * per_output
        elif isinstance(module, torch.nn.Linear):
            counted += output.numel() * module.in_features

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    side = round(model.config.size * model.config.zoom_resolution)
    with torch.inference_mode():
        model(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    cost = count_cost(model)
    # The maps of attention are a matrix product too: 512 channels at most, 16 cells, each expert.
    assert counted <= cost.multiply_adds <= counted + 3 * 512 * 16
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
