"""Photos that a report shows: of confused classes, the most confident mistakes, and probable label errors."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mge.data.dataset import PhotoDataset
from mge.evaluation.metrics import ConfusedPair
from mge.evaluation.quality import suspect_labels
from mge.evaluation.recorded_photos import below
from mge.evaluation.run_model import EvalOutputs
from mge.inference.probabilities import calibrated
from mge.report.cards import Shown, show

NUM_EXAMPLES = 2  # mistakes shown per pair and direction
NUM_MISTAKES = 12  # photos of the other lists


class ConfusedPhotos(NamedTuple):
    """Photos of two classes that are confused with each other."""

    first: str
    second: str
    num_first_as_second: int
    num_second_as_first: int
    right: list[Shown]  # one correct prediction of each class, if there is one
    wrong: list[Shown]


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """Predictions of the mixture for each photo, after temperature scaling.

    Args:
        answers: Its outputs for all photos.
        photos: The photos.
        class_names: Names of the classes.
        temperature: Softmax temperature of the probabilities.
        root: Folder of the data; the photos are named relative to it.
    """

    answers: EvalOutputs
    photos: PhotoDataset
    class_names: Sequence[str]
    temperature: float
    root: str

    @cached_property
    def probs(self) -> Tensor:
        """Class probabilities, (N, C)."""
        return calibrated(self.answers.logits, temperature=self.temperature)

    @cached_property
    def predicted(self) -> Tensor:
        """Predicted classes, (N,)."""
        return self.answers.logits.argmax(1)

    @cached_property
    def confidences(self) -> Tensor:
        """Probabilities of the predicted classes, (N,)."""
        return self.probs.amax(1)

    @cached_property
    def label_probs(self) -> Tensor:
        """Probabilities of the labels, (N,)."""
        return self.probs.gather(1, self.answers.labels.unsqueeze(1)).squeeze(1)

    @cached_property
    def is_doubtful(self) -> Tensor:
        """Photos (N,) whose label is probably wrong, and for which all experts predict the same other class."""
        return suspect_labels(self.answers, self.probs)

    def show(self, number: int) -> Shown:
        """Prepare one photo for the page."""
        answers, names = self.answers, self.class_names
        picture = Image.fromarray(self.photos[0, number].image.permute(1, 2, 0).contiguous().numpy())
        boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in answers.boxes_xyxy[number].tolist()]
        path = below(self.root, self.photos.records[number].path)
        return show(
            picture, boxes, path=path, label=names[int(answers.labels[number])],
            answer=names[int(self.predicted[number])], percent=100 * float(self.confidences[number]),
            label_percent=100 * float(self.label_probs[number]), gate_probs=answers.gate_probs[number].tolist(),
            expert_labels=[names[label] for label in answers.joint_labels[number].tolist()],
            is_doubtful=bool(self.is_doubtful[number]),
        )  # fmt: skip


def show_pairs(verdicts: Verdicts, pairs: Sequence[ConfusedPair]) -> list[ConfusedPhotos]:
    """Return the photos of confused classes, the most confident first."""
    return [
        ConfusedPhotos(
            verdicts.class_names[pair.first], verdicts.class_names[pair.second], pair.num_first_as_second,
            pair.num_second_as_first,
            [
                verdicts.show(number)
                for label in (pair.first, pair.second)
                for number in _surest(verdicts, label=label, answer=label)[:1]
            ],
            [
                verdicts.show(number)
                for label, answer in ((pair.first, pair.second), (pair.second, pair.first))
                for number in _surest(verdicts, label=label, answer=answer)[:NUM_EXAMPLES]
            ],
        )
        for pair in pairs
    ]  # fmt: skip


def surest_mistakes(verdicts: Verdicts) -> list[int]:
    """Return the indices of the mistakes with the highest probabilities."""
    is_wrong = verdicts.predicted != verdicts.answers.labels
    return _ranked(is_wrong, verdicts.confidences)[:NUM_MISTAKES]


def most_doubtful(verdicts: Verdicts, *, but: Sequence[int]) -> list[int]:
    """Return the indices of the photos with the most doubtful labels, except those already shown."""
    ranked = _ranked(verdicts.is_doubtful, verdicts.confidences - verdicts.label_probs)
    return [number for number in ranked if number not in but][:NUM_MISTAKES]


def _surest(verdicts: Verdicts, *, label: int, answer: int) -> list[int]:
    """Return the photos of one class that were predicted as another, the most confident first."""
    chosen = (verdicts.answers.labels == label) & (verdicts.predicted == answer)
    return _ranked(chosen, verdicts.confidences)


def _ranked(chosen: Tensor, scores: Tensor) -> list[int]:
    """Return the indices of the selected photos, in falling order of their scores."""
    numbers = chosen.nonzero().squeeze(1)
    order = torch.argsort(scores[numbers], descending=True, stable=True)
    return [int(number) for number in numbers[order]]
