"""Where a mixture that was trained without boxes finds things, and how well that fits boxes where there are some."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mge.core.attention import attention_map, enlarge, scale_to_unit, uniform_weights
from mge.core.crop import box_iou, compose_boxes
from mge.data.photo import open_photo
from mge.data.records import Record
from mge.evaluation.connected import THRESHOLDS, threshold_ious
from mge.evaluation.localization_metrics import is_inside, map_peaks, max_box_accuracy, max_box_accuracy_v2
from mge.evaluation.run_model import percent
from mge.inference.classifier import Classifier, Prepared
from mge.models.expert import Expert
from mge.models.mixture import ExpertPass

MAP_SIDE = 64  # pixels of the maps that boxes are made of; their cells are much larger
FOUND_FROM = 0.5  # intersection over union from which a thing counts as found
POINTING_MARGIN = 15.0  # pixels of the photo that the pointing game forgives where it is played as published


class Known(NamedTuple):
    """How well one photo's boxes and maps fit its true box; one value an expert."""

    iou: Tensor  # (E,) of the box that the expert found by itself
    class_iou: Tensor  # (E,) of the box that it finds when it is told the class
    largest: Tensor  # (E, T) of its map's largest part, at each threshold, told the class
    best: Tensor  # (E, T) of the part that fits best
    largest_of_any: Tensor  # (E, T) of the largest part of the map of all classes
    is_hit: Tensor  # (E,) whether the highest point of that map lies in the true box
    is_near: Tensor  # (E,) whether it lies there or at most `POINTING_MARGIN` beside it
    whole_iou: float  # of everything that the mixture was given
    center_is_hit: bool
    center_is_near: bool


class LocatedPhoto(NamedTuple):
    """What was found in one photo; boxes in its own pixels."""

    record: Record
    size: tuple[int, int]  # width and height
    label: str
    probability: float
    views_xyxy: Tensor  # (E, 4) what each expert saw
    found_xyxy: Tensor  # (E, 4) the box around the attention of each: what the next one sees
    known: Known | None  # where the photo has a true box


class _PhotoBatch(NamedTuple):
    records: Sequence[Record]
    sizes: Sequence[tuple[int, int]]
    prepared: Sequence[Prepared]
    images: Tensor


def locate(classifier: Classifier, records: Sequence[Record], *, batch_size: int) -> Iterator[LocatedPhoto]:
    """Finds things in photos that can be read, one batch after the other."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(records), batch_size):
            chosen = records[start : start + batch_size]
            opened = list(pool.map(lambda record: _open(classifier, record), chosen))
            sizes, prepared = [size for size, _ in opened], [item for _, item in opened]
            yield from _locate_batch(
                classifier, _PhotoBatch(chosen, sizes, prepared, torch.stack([item.image for item in prepared]))
            )


def measure_localization(located: Sequence[LocatedPhoto]) -> dict[str, Any]:
    """The figures of the photos that have a true box, in percent; none where no photo has one.

    Source: Choe et al., "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020; the pointing game:
    Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016.
    Differs: `gt_known` and `top1_localization` take the model's own box and threshold; the pointing game is played as
    published (`pointing_game_15px`), and also without its margin of 15 pixels (`pointing_game`); `max_box_acc_of_any`
    asks for no class (`uniform_weights`).
    """
    pairs = [(each, each.known) for each in located if each.known is not None]
    if not pairs:
        return {"num_with_box": 0}
    known = [each for _, each in pairs]
    is_right = torch.tensor([each.label == each.record.label for each, _ in pairs])
    num_experts = len(known[0].iou)
    return {
        "num_with_box": len(known),
        "whole": {
            "gt_known": percent(torch.tensor([each.whole_iou for each in known]) >= FOUND_FROM),
            "pointing_game": percent(torch.tensor([each.center_is_hit for each in known])),
            "pointing_game_15px": percent(torch.tensor([each.center_is_near for each in known])),
        },
        "experts": [_measure_expert(known, is_right, number=number) for number in range(num_experts)],
    }


def _measure_expert(known: Sequence[Known], is_right: Tensor, *, number: int) -> dict[str, float]:
    largest = torch.stack([each.largest[number] for each in known], dim=1)  # (T, N)
    best = torch.stack([each.best[number] for each in known], dim=1)
    of_any = torch.stack([each.largest_of_any[number] for each in known], dim=1)
    iou = torch.stack([each.iou[number] for each in known])
    class_iou = torch.stack([each.class_iou[number] for each in known])
    return {
        "top1_localisation": percent(is_right & (iou >= FOUND_FROM)),
        "gt_known": percent(class_iou >= FOUND_FROM),
        "mean_iou": round(100 * float(class_iou.mean()), 2),
        "max_box_acc": round(100 * float(max_box_accuracy(largest, iou_threshold=FOUND_FROM)), 2),
        "best_threshold": float(THRESHOLDS[int((largest >= FOUND_FROM).sum(1).argmax())]),
        "max_box_acc_v2": round(100 * float(max_box_accuracy_v2(best)), 2),
        "max_box_acc_of_any": round(100 * float(max_box_accuracy(of_any, iou_threshold=FOUND_FROM)), 2),
        "pointing_game": percent(torch.stack([each.is_hit[number] for each in known])),
        "pointing_game_15px": percent(torch.stack([each.is_near[number] for each in known])),
    }


def _open(classifier: Classifier, record: Record) -> tuple[tuple[int, int], Prepared]:
    photo = open_photo(record.content, name=str(record.path))
    return photo.size, classifier.prepare(photo)


@torch.inference_mode()
def _locate_batch(classifier: Classifier, batch: _PhotoBatch) -> list[LocatedPhoto]:
    model = classifier.model
    device = next(model.parameters()).device
    pictures = model.normalize(batch.images.to(device))
    passes = list(model.run_experts(pictures))
    probabilities = classifier.probabilities(model.combine(passes).logits).cpu()
    views, found = _boxes(passes, batch)
    knowns: list[Known | None] = [None] * len(batch.records)
    if any(record.box_xyxy for record in batch.records):
        numbers = {name: number for number, name in enumerate(classifier.class_names)}
        labels = torch.tensor([numbers[record.label] for record in batch.records], device=device)
        knowns = _compare_with_truth(classifier, batch, found, list(model.run_experts(pictures, labels)))
    best = probabilities.max(1)
    return [
        LocatedPhoto(
            record, batch.sizes[row], classifier.class_names[int(best.indices[row])], float(best.values[row]),
            views[row], found[row], knowns[row],
        )
        for row, record in enumerate(batch.records)
    ]  # fmt: skip


def _boxes(passes: Sequence[ExpertPass], batch: _PhotoBatch) -> tuple[Tensor, Tensor]:
    """What each expert saw and what it found, (B, E, 4) each, in pixels of the photos and inside them."""
    views = torch.stack([expert_pass.boxes_xyxy for expert_pass in passes], dim=1).float().cpu()
    found = torch.stack(
        [
            compose_boxes(
                expert_pass.boxes_xyxy,
                expert_pass.next_boxes_xyxy,
                size=(expert_pass.view.shape[2], expert_pass.view.shape[3]),
            )
            for expert_pass in passes
        ],
        dim=1,
    )
    found = found.float().cpu()
    in_photos = []
    for boxes in (views, found):
        rows = [prepared.geometry.to_photo(boxes[row]) for row, prepared in enumerate(batch.prepared)]
        limits = torch.tensor([(*size, *size) for size in batch.sizes], dtype=torch.float32)
        in_photos.append(torch.stack(rows).clamp_min(0).minimum(limits.unsqueeze(1)))
    return in_photos[0], in_photos[1]


def _compare_with_truth(
    classifier: Classifier, batch: _PhotoBatch, found: Tensor, told: Sequence[ExpertPass]
) -> list[Known | None]:
    """How well a batch fits its true boxes.

    Args:
        classifier: The model.
        batch: The photos.
        found: (B, E, 4) what the experts found by themselves.
        told: The experts' turns when they are told the classes.
    """
    config = classifier.model.config
    class_views, class_found = _boxes(told, batch)
    offset = config.attention_offset / config.size
    cells = torch.stack([expert_pass.attention.float() for expert_pass in told], dim=1).cpu()
    experts = classifier.model.experts_in_turn
    of_any = torch.stack(
        [_object_map(expert, expert_pass.output.features) for expert_pass, expert in zip(told, experts, strict=True)],
        dim=1,
    )
    maps, maps_of_any = (_enlarge_all(each, offset=offset) for each in (cells, of_any.cpu()))
    return [
        None if record.box_xyxy is None else _compare_one(
            torch.tensor(record.box_xyxy, dtype=torch.float32), found[row], class_views[row], class_found[row],
            maps[row], maps_of_any[row], map_peaks(cells[row], class_views[row], offset=offset),
        )
        for row, record in enumerate(batch.records)
    ]  # fmt: skip


def _object_map(expert: Expert, features: Tensor) -> Tensor:
    """Where anything of any class is, (B, h, w)."""
    num_cells = features.shape[2] * features.shape[3]
    weights = uniform_weights(expert.large_head.weight, batch_size=len(features), num_cells=num_cells)
    return attention_map(features, expert.pull_back(features, weights))


def _enlarge_all(cells: Tensor, *, offset: float) -> Tensor:
    """Maps (B, E, h, w) at the side that boxes are cut from, from 0 to 1."""
    enlarged = enlarge(cells.flatten(0, 1), side=MAP_SIDE, offset=offset * MAP_SIDE)
    return scale_to_unit(enlarged).view(*cells.shape[:2], MAP_SIDE, MAP_SIDE)


def _compare_one(
    truth: Tensor, found: Tensor, class_views: Tensor, class_found: Tensor, maps: Tensor, maps_of_any: Tensor,
    peaks: Tensor,
) -> Known:  # fmt: skip
    truths = truth.expand(len(found), 4)
    in_maps = [_in_map(truth, view) for view in class_views]
    ious = [threshold_ious(score_map, box) for score_map, box in zip(maps.numpy(), in_maps, strict=True)]
    of_any = [threshold_ious(score_map, box) for score_map, box in zip(maps_of_any.numpy(), in_maps, strict=True)]
    whole = class_views[:1]
    center = (whole[:, :2] + whole[:, 2:]) / 2
    return Known(
        iou=box_iou(found, truths),
        class_iou=box_iou(class_found, truths),
        largest=torch.from_numpy(np.stack([each.largest for each in ious])),
        best=torch.from_numpy(np.stack([each.best for each in ious])),
        largest_of_any=torch.from_numpy(np.stack([each.largest for each in of_any])),
        is_hit=is_inside(peaks, truths),
        is_near=is_inside(peaks, truths, margin=POINTING_MARGIN),
        whole_iou=float(box_iou(whole, truths[:1])),
        center_is_hit=bool(is_inside(center, truths[:1])),
        center_is_near=bool(is_inside(center, truths[:1], margin=POINTING_MARGIN)),
    )


def _in_map(box_xyxy: Tensor, view_xyxy: Tensor) -> NDArray[np.float64]:
    """A box of the photo in pixels of the map that lies over a view."""
    corner, size = view_xyxy[:2].repeat(2), (view_xyxy[2:] - view_xyxy[:2]).repeat(2)
    return ((box_xyxy - corner) * MAP_SIDE / size).double().numpy()
