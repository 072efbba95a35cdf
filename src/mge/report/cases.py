"""Which photos a report shows: of confused classes, the surest mistakes, and those whose label looks wrong."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mge.data.dataset import PhotoDataset
from mge.evaluation.metrics import ConfusedPair, find_doubtful_labels
from mge.evaluation.run_model import EvalOutputs
from mge.inference.probabilities import calibrated
from mge.report.cards import Shown, show

NUM_EXAMPLES = 2  # mistakes of a pair that are shown each way
NUM_MISTAKES = 12  # photos of the other lists


class ConfusedPhotos(NamedTuple):
    """Two classes that are taken for each other, in photos."""

    first: str
    second: str
    num_first_as_second: int
    num_second_as_first: int
    right: list[Shown]  # one of each class that was told right, where there is one
    wrong: list[Shown]


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """What the mixture says about each photo, with the temperature that it has.

    Args:
        answers: Its answers about all photos.
        photos: The photos.
        class_names: Names of the classes.
        temperature: What logits are divided by for probabilities to mean what they say.
    """

    answers: EvalOutputs
    photos: PhotoDataset
    class_names: Sequence[str]
    temperature: float

    @cached_property
    def probs(self) -> Tensor:
        """(N, C) the probabilities of the classes."""
        return calibrated(self.answers.logits, temperature=self.temperature)

    @cached_property
    def predicted(self) -> Tensor:
        """(N,) the likeliest classes."""
        return self.answers.logits.argmax(1)

    @cached_property
    def confidences(self) -> Tensor:
        """(N,) their probabilities."""
        return self.probs.amax(1)

    @cached_property
    def label_probs(self) -> Tensor:
        """(N,) the probabilities of the labels."""
        return self.probs.gather(1, self.answers.labels.unsqueeze(1)).squeeze(1)

    @cached_property
    def is_doubtful(self) -> Tensor:
        """(N,) whether the label looks wrong, and all experts agree about what it should be."""
        agree = (self.answers.joint_labels == self.predicted.unsqueeze(1)).all(1)
        return find_doubtful_labels(self.probs, self.answers.labels) & agree

    def show(self, number: int) -> Shown:
        """One photo for the page."""
        answers, names = self.answers, self.class_names
        picture = Image.fromarray(self.photos[0, number].image.permute(1, 2, 0).contiguous().numpy())
        boxes = [(x1, y1, x2, y2) for x1, y1, x2, y2 in answers.boxes_xyxy[number].tolist()]
        return show(
            picture, boxes, path=str(self.photos.records[number].path), label=names[int(answers.labels[number])],
            answer=names[int(self.predicted[number])], percent=100 * float(self.confidences[number]),
            label_percent=100 * float(self.label_probs[number]), gate_probs=answers.gate_probs[number].tolist(),
            expert_labels=[names[label] for label in answers.joint_labels[number].tolist()],
            is_doubtful=bool(self.is_doubtful[number]),
        )  # fmt: skip


def show_pairs(verdicts: Verdicts, pairs: Sequence[ConfusedPair]) -> list[ConfusedPhotos]:
    """The photos of confused classes, the surest first."""
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
    """Numbers of the mistakes with the highest probabilities."""
    is_wrong = verdicts.predicted != verdicts.answers.labels
    return _ranked(is_wrong, verdicts.confidences)[:NUM_MISTAKES]


def most_doubtful(verdicts: Verdicts, *, but: Sequence[int]) -> list[int]:
    """Numbers of the photos whose label looks most wrong, but for those that are shown already."""
    ranked = _ranked(verdicts.is_doubtful, verdicts.confidences - verdicts.label_probs)
    return [number for number in ranked if number not in but][:NUM_MISTAKES]


def _surest(verdicts: Verdicts, *, label: int, answer: int) -> list[int]:
    """Photos of one class that were given another, the surest first."""
    chosen = (verdicts.answers.labels == label) & (verdicts.predicted == answer)
    return _ranked(chosen, verdicts.confidences)


def _ranked(chosen: Tensor, scores: Tensor) -> list[int]:
    """Numbers of the chosen photos, those with the highest scores first."""
    numbers = chosen.nonzero().squeeze(1)
    order = torch.argsort(scores[numbers], descending=True, stable=True)
    return [int(number) for number in numbers[order]]
