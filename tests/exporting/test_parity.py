"""A graph that answers otherwise than its model is told from one that rounds otherwise."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mge.errors import ExportError
from mge.exporting.graph import OUTPUTS
from mge.exporting.parity import Parity, check_parity, cut, measure_parity
from mge.inference.prediction import Array
from mge.models.mixture import MixtureOfExperts
from tests.exports import build_tiny


@pytest.fixture(scope="module")
def model() -> MixtureOfExperts:
    return build_tiny()


@pytest.fixture(scope="module")
def images() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (11, 3, 128, 128), dtype=np.uint8)


Change = Callable[[dict[str, Array]], None]


class Changed:
    """Answers as the model does, but for a change, and notes how many photos it is asked about."""

    def __init__(self, model: MixtureOfExperts, change: Change | None = None) -> None:
        self.model, self.change, self.asked = model, change, list[int]()

    def __call__(self, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> dict[str, Array]:
        self.asked.append(len(images))
        with torch.no_grad():
            said = self.model(torch.from_numpy(images))
        tensors = (*said, said.logits.softmax(1))
        outputs = {name: tensor.numpy().copy() for name, tensor in zip(OUTPUTS, tensors, strict=True)}
        if self.change:
            self.change(outputs)
        return outputs


Images = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


def test_the_model_agrees_with_itself_in_batches_of_every_size(model: MixtureOfExperts, images: Images) -> None:
    run = Changed(model)
    parity = measure_parity(run, model, images, batch_sizes=(1, 7))
    assert run.asked == [1, 7, 1, 2]
    assert (parity.num_photos, parity.num_same_top1) == (11, 11)
    assert parity.probability_difference < 1e-5
    assert parity.is_same
    check_parity(parity, name="graph")


def shift_probabilities(outputs: dict[str, Array]) -> None:
    outputs["probabilities"][0] += 2e-2


def shift_a_box(outputs: dict[str, Array]) -> None:
    outputs["boxes_xyxy"][0, 1, 2] += 1.5


def say_another_class(outputs: dict[str, Array]) -> None:
    outputs["probabilities"][0] = np.eye(3)[outputs["probabilities"][0].argmin()]


def lose_a_number(outputs: dict[str, Array]) -> None:
    outputs["boxes_xyxy"][0, 0, 0] = np.nan


def lose_a_probability(outputs: dict[str, Array]) -> None:
    outputs["probabilities"][0, 1] = np.nan


REFUSED = [
    (shift_probabilities, r"max probability difference 2\.0e-02 exceeds the tolerance 1\.0e-02 \(--tolerance\)"),
    (shift_a_box, r"max box difference 1\.5 px exceeds 1 px"),
    (say_another_class, r"max probability difference [5-9]\.\de-01 exceeds the tolerance"),
    (lose_a_number, r"max box difference nan px exceeds 1 px"),
    (lose_a_probability, r"max probability difference nan exceeds the tolerance"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_any_difference_that_matters_is_refused(
    model: MixtureOfExperts, images: Images, change: Change, reason: str
) -> None:
    parity = measure_parity(Changed(model, change), model, images[:3])
    assert not parity.is_same
    with pytest.raises(ExportError, match=f"^ONNX verification failed: .*{reason}.*; nothing was written"):
        check_parity(parity, name="ONNX")


def shift_a_little(outputs: dict[str, Array]) -> None:
    outputs["probabilities"][0] += 3e-4


def test_a_difference_within_the_tolerance_is_accepted_and_told_from_none(
    model: MixtureOfExperts, images: Images
) -> None:
    parity = measure_parity(Changed(model, shift_a_little), model, images[:3])
    assert not parity.is_same
    check_parity(parity, name="ONNX")
    with pytest.raises(ExportError, match=r"difference 3\.0e-04 exceeds the tolerance 2\.0e-04 \(--tolerance\)"):
        check_parity(parity, name="ONNX", tolerance=2e-4)
    assert parity.to_dict()["max_probability_difference"] == pytest.approx(3e-4, rel=0.01)


@pytest.mark.parametrize(
    ("margin", "difference", "tolerance", "is_accepted"),
    [(0.004, 0.003, 0.01, True), (0.011, 0.009, 0.01, False), (0.004, 0.003, 0.002, False), (0.3, 0.2, 0.5, True)],
)
def test_another_class_is_accepted_only_where_the_two_are_closer_than_the_tolerance(
    margin: float, difference: float, tolerance: float, *, is_accepted: bool
) -> None:
    parity = Parity(32, 31, difference, 0.0, changed_margin=margin)
    assert not parity.is_same
    if is_accepted:
        check_parity(parity, name="ONNX", tolerance=tolerance)
        return
    with pytest.raises(ExportError, match=r"exceeds? the tolerance|apart by more than the tolerance"):
        check_parity(parity, name="ONNX", tolerance=tolerance)


def test_the_margin_of_a_changed_class_is_that_of_the_models_probabilities(
    model: MixtureOfExperts, images: Images
) -> None:
    def swap_two(outputs: dict[str, Array]) -> None:
        for row in outputs["probabilities"]:
            second, best = row.argsort()[-2:]
            row[[second, best]] = row[[best, second]]

    with torch.no_grad():
        probabilities = model(torch.from_numpy(images[:3])).logits.softmax(1).sort(1).values
    margins = probabilities[:, -1] - probabilities[:, -2]
    parity = measure_parity(Changed(model, swap_two), model, images[:3])
    assert parity.num_same_top1 == 0
    assert parity.changed_margin == pytest.approx(float(margins.max()), abs=1e-5)


def test_the_temperature_is_that_of_the_probabilities(model: MixtureOfExperts, images: Images) -> None:
    def cool(outputs: dict[str, Array]) -> None:
        outputs["probabilities"] = torch.from_numpy(outputs["logits"] / 2.5).softmax(1).numpy()

    assert measure_parity(Changed(model, cool), model, images[:3], temperature=2.5).is_same
    assert not measure_parity(Changed(model, cool), model, images[:3]).is_same


def test_differences_are_said_in_words() -> None:
    said = str(Parity(200, 199, 0.00012, 0.5))
    assert said == "199 of 200 photos with the same prediction, probabilities within 1.2e-04, boxes within 0.5 px"


def test_photos_are_cut_into_batches_in_turns(images: Images) -> None:
    assert [len(part) for part in cut(images, [3, 1])] == [3, 1, 3, 1, 3]
    assert np.array_equal(np.concatenate(list(cut(images, [4]))), images)
