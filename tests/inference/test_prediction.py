"""What is said about a photo that the mixture is not sure about."""

import pytest

from mge.inference.prediction import UNKNOWN, Prediction, reject

PREDICTION = Prediction(
    path="a.jpg", label="plum", probability=0.7, probabilities=(0.3, 0.7), class_names=("apple", "plum"),
    expert_labels=("plum",), gate_probs=(1.0,), boxes_xyxy=((0.0, 0.0, 8.0, 8.0),),
)  # fmt: skip


def test_below_the_threshold_a_photo_is_unknown_and_its_likeliest_class_is_kept() -> None:
    rejected = reject(PREDICTION, threshold=0.75)
    assert rejected.label == UNKNOWN == "unknown"
    assert rejected.likeliest == "plum"
    assert rejected.probability == 0.7
    assert rejected.probabilities == PREDICTION.probabilities
    assert rejected.reason == "the most likely class, plum, has 70.0 %, below the threshold of 75.0 %"


def test_a_prediction_is_shown_without_the_figures_of_thousands_of_classes() -> None:
    assert repr(PREDICTION).startswith(
        "Prediction(path='a.jpg', label='plum', probability=0.7, expert_labels=('plum',)"
    )


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_a_photo_that_reaches_the_threshold_stays_as_it_is(threshold: float) -> None:
    assert reject(PREDICTION, threshold=threshold) is PREDICTION
    assert PREDICTION.reason == ""
