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
    outputs["probabilities"][0] += 3e-4


def shift_a_box(outputs: dict[str, Array]) -> None:
    outputs["boxes_xyxy"][0, 1, 2] += 1.5


def say_another_class(outputs: dict[str, Array]) -> None:
    outputs["probabilities"][0] = np.roll(outputs["probabilities"][0], 1)


def lose_a_number(outputs: dict[str, Array]) -> None:
    outputs["boxes_xyxy"][0, 0, 0] = np.nan


@pytest.mark.parametrize("change", [shift_probabilities, shift_a_box, say_another_class, lose_a_number])
def test_any_difference_that_matters_is_refused(model: MixtureOfExperts, images: Images, change: Change) -> None:
    parity = measure_parity(Changed(model, change), model, images[:3])
    assert not parity.is_same
    with pytest.raises(ExportError, match=r"does not answer as the model does, and was not written: \d of 3 with"):
        check_parity(parity, name="model.onnx")


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
