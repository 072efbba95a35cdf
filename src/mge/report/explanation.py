"""Explanations of predictions: the data behind the pictures of `mge explain`."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mge.core.attention import channel_weights, class_evidence, enlarge
from mge.core.outputs import MixtureOutput
from mge.data.dataset import PhotoDataset
from mge.data.photo import open_photo
from mge.errors import ConfigError, DataError
from mge.inference.classifier import Classifier, Prepared
from mge.inference.prediction import Photo, name_of
from mge.models.expert import Expert
from mge.models.mixture import ExpertPass
from mge.report.explanation_card import draw_card, draw_parts
from mge.report.figures import Contrast, ExpertView, Explanation, Ranking, fit_and_cut

MAP_SIDE = 56  # pixels that a map is enlarged to; drawing enlarges it further
NUM_RANKED = 3


class Opened(NamedTuple):
    """An opened photo to explain."""

    photo: Image.Image
    prepared: Prepared
    path: str
    true_label: str | None = None


def explain_photos(classifier: Classifier, photos: PhotoDataset, *, indices: Sequence[int]) -> list[Explanation]:
    """Explain the predictions for some photos of a data set."""
    records = [photos.records[index] for index in indices]
    opened = [_open(classifier, record.content, path=str(record.path), true_label=record.label) for record in records]
    return explain_batch(classifier, opened) if opened else []


def explain_stream(
    classifier: Classifier, photos: Iterable[str], *, other_label: str | None = None, batch_size: int = 16
) -> Iterator[Explanation | DataError]:
    """Explain the predictions for photos, one batch after the other.

    Args:
        classifier: The model.
        photos: Their files.
        other_label: Class to contrast each prediction with, if any.
        batch_size: Photos at a time.

    Yields:
        For each photo, in order, its explanation, or the error of reading it.
    """
    remaining = iter(photos)
    while batch := list(islice(remaining, batch_size)):
        opened = [_try_to_open(classifier, file) for file in batch]
        readable = [item for item in opened if isinstance(item, Opened)]
        explained = iter(explain_batch(classifier, readable, other_label=other_label) if readable else ())
        for item in opened:
            yield item if isinstance(item, DataError) else next(explained)


def draw_explanation(classifier: Classifier, photo: Photo, *, against: str | None = None) -> Image.Image:
    """Draw the explanation of one photo, as `mge explain` does.

    Args:
        classifier: The model.
        photo: The photo.
        against: Name of a class to contrast the prediction with.

    Raises:
        DataError: the photo cannot be read.
        ConfigError: there is no such class.
    """
    other_label = None if against is None else find_class(against, classifier.class_names)
    opened = _open(classifier, photo, path=name_of(photo))
    (explanation,) = explain_batch(classifier, [opened], other_label=other_label)
    return draw_card(explanation, draw_parts(explanation))


@torch.inference_mode()
def explain_batch(
    classifier: Classifier, photos: Sequence[Opened], *, other_label: str | None = None
) -> list[Explanation]:
    """Explain the predictions for one batch of photos."""
    model = classifier.model
    device = next(model.parameters()).device
    images = torch.stack([photo.prepared.image for photo in photos]).to(device)
    passes = list(model.run_experts(model.normalize(images)))
    output = MixtureOutput(*(tensor.float().cpu() for tensor in model.combine(passes)))
    labels, probabilities = output.logits.argmax(1), classifier.probabilities(output.logits)
    others = None if other_label is None else _others(output.logits, classifier.class_names.index(other_label))
    contrasts = [] if others is None else [
        _contrasts(expert_pass, expert, labels=labels.to(device), others=others.to(device),
                   offset=_offset(classifier))
        for expert_pass, expert in zip(passes, model.experts_in_turn, strict=False)
    ]  # fmt: skip
    maps = enlarge(output.attention.flatten(0, 1), side=MAP_SIDE, offset=_offset(classifier))
    maps = maps.clamp(0, 1).unflatten(0, output.attention.shape[:2])
    return [
        _explanation(
            photo, output, probabilities[row], row=row, maps=maps[row], names=classifier.class_names,
            contrasts=[contrast[row] for contrast in contrasts],
            other_label=None if others is None else classifier.class_names[int(others[row])],
        )
        for row, photo in enumerate(photos)
    ]  # fmt: skip


def find_class(name: str, class_names: Sequence[str]) -> str:
    """Find a class by name, ignoring case, spaces, hyphens and underscores.

    Raises:
        ConfigError: there is no such class.
    """
    plain = {_plain(known): known for known in class_names}
    if name in class_names:
        return name
    if _plain(name) in plain:
        return plain[_plain(name)]
    near = [plain[match] for match in difflib.get_close_matches(_plain(name), plain, n=3)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"accepted: {', '.join(class_names[:5])}, …"
    raise ConfigError(f"against is {name!r}, which is not one of the {len(class_names)} classes; {hint}")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _open(classifier: Classifier, content: Photo, *, path: str, true_label: str | None = None) -> Opened:
    photo = open_photo(content, name=path)
    return Opened(photo, classifier.prepare(photo), path, true_label)


def _try_to_open(classifier: Classifier, file: str) -> Opened | DataError:
    try:
        return _open(classifier, file, path=file)
    except DataError as error:
        return error


def _offset(classifier: Classifier) -> float:
    """Return the offset of the cells' receptive fields in pixels of an enlarged map; see `Backbone.measure_offset`."""
    config = classifier.model.config
    return config.attention_offset * MAP_SIDE / config.size


def _others(logits: Tensor, label: int) -> Tensor:
    """Return the class to contrast each prediction with; the second most probable if the prediction is that class."""
    ranked = logits.topk(2, dim=1).indices
    return torch.where(ranked[:, 0] == label, ranked[:, 1], torch.full_like(ranked[:, 0], label))


def _contrasts(
    expert_pass: ExpertPass, expert: Expert, *, labels: Tensor, others: Tensor, offset: float
) -> list[Contrast]:
    """Return one expert's evidence for the predicted class and for the other class, photo by photo."""
    features = expert_pass.output.features
    num_cells = features.shape[2] * features.shape[3]
    maps = []
    for chosen in (labels, others):
        weights = expert.pull_back(features, channel_weights(expert.large_head.weight, chosen, num_cells=num_cells))
        maps.append(enlarge(class_evidence(features, weights), side=MAP_SIDE, offset=offset).cpu().numpy())
    logits = [
        expert_pass.output.large_logits.float().gather(1, chosen.unsqueeze(1)).squeeze(1).tolist()
        for chosen in (labels, others)
    ]
    return [Contrast(*row) for row in zip(*maps, *logits, strict=True)]


def _explanation(
    photo: Opened, output: MixtureOutput, probabilities: Tensor, *, row: int, maps: Tensor, names: tuple[str, ...],
    contrasts: list[Contrast], other_label: str | None,
) -> Explanation:  # fmt: skip
    boxes = [tuple(box) for box in photo.prepared.geometry.to_photo(output.boxes_xyxy[row]).tolist()]
    picture, cut = fit_and_cut(photo.photo, boxes)
    views = [
        ExpertView(
            picture=cut[number], attention=maps[number].numpy(), box_xyxy=box,
            top=_ranking(output.joint_logits[row, number].softmax(0), names),
            gate_prob=float(output.gate_probs[row, number]), contrast=contrasts[number] if contrasts else None,
        )
        for number, box in enumerate(boxes)
    ]  # fmt: skip
    top = _ranking(probabilities, names)
    return Explanation(picture, photo.photo.size, views, top, photo.true_label, other_label, photo.path)


def _ranking(probabilities: Tensor, names: tuple[str, ...]) -> Ranking:
    shares, labels = probabilities.topk(min(NUM_RANKED, len(names)))
    return tuple((names[label], share) for label, share in zip(labels.tolist(), shares.tolist(), strict=True))
