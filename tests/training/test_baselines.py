import pytest

from mge.config import Baseline, ModelConfig, TrainConfig
from mge.training.baselines import plan_baselines, training_cost

MIXTURE = ModelConfig(experts=3, size=64, zoom_resolution=4, gate="own")


def test_plain_networks_see_the_same_view_or_as_many_pixels_as_the_mixture() -> None:
    plans = plan_baselines(MIXTURE, TrainConfig(epochs=12, schedule="joint", baseline="both"))
    same, same_config = plans["plain"]
    larger, larger_config = plans["plain_equal_compute"]
    assert (same.size, same.zoom_resolution, same.experts, same.part_filters) == (64, 4, 1, 0)
    assert larger.size == 128  # four backbones of 64 px have the pixels of one of 128
    assert round(larger.size * larger.zoom_resolution) == 256
    assert same_config.epochs == larger_config.epochs == 12
    assert same_config.schedule == "joint"


def test_under_the_progressive_schedule_they_pass_the_photos_as_often_or_cost_as_much() -> None:
    config = TrainConfig(epochs=12, schedule="progressive", baseline="both")
    model = ModelConfig(experts=3, size=64, gate="shared")
    # Three stages: one expert; one and a frozen one (a third of a pass); one and two frozen ones.
    assert training_cost(model, config) == pytest.approx(1 + 4 / 3 + 5 / 3)
    plans = plan_baselines(model, config)
    assert plans["plain"][1].epochs == 36
    assert plans["plain_equal_compute"][1].epochs == 16


@pytest.mark.parametrize(
    ("baseline", "names"), [("none", []), ("same_view", ["plain"]), ("equal_compute", ["plain_equal_compute"])]
)
def test_only_what_is_asked_for_is_planned(baseline: Baseline, names: list[str]) -> None:
    assert list(plan_baselines(MIXTURE, TrainConfig(baseline=baseline))) == names
