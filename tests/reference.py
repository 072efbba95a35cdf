"""The slow, obvious version of every formula of `mge.core`: loops over photos, classes and pixels, in double precision.

Nothing here is shared with the code that it checks. A picture is an array (channels, rows, columns), a box is
x1, y1, x2, y2 in pixels and end-exclusive, and the pixel in column i has its centre at x = i + 0.5.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]
Size = tuple[int, int]


# ------------------------------------------------------------------------------------------------------------ attention
def grad_cam(features: Tensor, head: nn.Linear, labels: Sequence[int], *, positive: bool = False) -> Array:
    """Grad-CAM by autograd, photo by photo: gradient of the class's logit behind mean pool and linear layer."""
    maps = []
    for photo, label in zip(features.detach(), labels, strict=True):
        cells = photo.double().requires_grad_()
        pooled = cells.mean(dim=(1, 2))
        logit = (head.weight.detach().double() @ pooled + head.bias.detach().double())[label]
        (gradient,) = torch.autograd.grad(logit, cells)
        maps.append(cam(cells.detach().numpy(), gradient.numpy(), positive=positive))
    return np.stack(maps)


def grad_cam_of_network(expert: nn.Module, view: Tensor, labels: Sequence[int], *, positive: bool = False) -> Array:
    """Grad-CAM with a hook on the backbone and a backward pass through the expert's large-part head, photo by photo."""
    caught: list[Tensor] = []
    hook = expert.get_submodule("backbone").register_forward_hook(
        lambda _module, _given, maps: caught.append(maps.large)
    )
    maps = []
    for photo, label in zip(view, labels, strict=True):
        with torch.enable_grad():
            logits = expert(photo.unsqueeze(0)).large_logits
            (gradient,) = torch.autograd.grad(logits[0, label], caught[-1])
        maps.append(cam(caught[-1][0].detach().double().numpy(), gradient[0].double().numpy(), positive=positive))
    hook.remove()
    return np.stack(maps)


def cam(features: Array, gradient: Array, *, positive: bool = False) -> Array:
    """Grad-CAM's second half for one photo: pooled gradients weigh the channels, negative evidence is cut off."""
    channels, height, width = features.shape
    total = np.zeros((height, width))
    for k in range(channels):
        slope = np.maximum(gradient[k], 0) if positive else gradient[k]
        total += slope.mean() * features[k]
    return np.maximum(total, 0)


def scale_to_unit(picture: Array) -> Array:
    """From 0 to 1; without contrast, 0."""
    low, high = picture.min(), picture.max()
    return np.zeros_like(picture) if high == low else (picture - low) / (high - low)


def attention_box(cells: Array, *, size: Size, threshold: float, aligned: bool = False) -> list[int]:
    """The box around the pixels that count, found by looking at each pixel of the enlarged map.

    `aligned` is the authors' program: aligned corners, last row and column left out, the whole view where nothing is
    left.
    """
    height, width = size
    enlarged = scale_to_unit(enlarge(cells, size=size, aligned=aligned))
    rows, columns = [], []
    for row in range(height):
        for column in range(width):
            if enlarged[row, column] >= threshold:
                rows.append(row)
                columns.append(column)
    whole = [0, 0, width, height]
    if not rows:
        return whole
    last = 0 if aligned else 1
    box = [min(columns), min(rows), max(columns) + last, max(rows) + last]
    return whole if box[0] == box[2] or box[1] == box[3] else box


def enlarge(cells: Array, *, size: Size, aligned: bool = False) -> Array:
    """A map resized bilinearly to `size`."""
    whole = [0.0, 0.0, float(cells.shape[1]), float(cells.shape[0])]
    (enlarged,) = zoom(cells[None], whole, size=size, aligned=aligned)
    return np.asarray(enlarged)


# ----------------------------------------------------------------------------------------------------------------- zoom
def bilinear(channel: Array, x: float, y: float) -> float:
    """The brightness at a point, between the centres of four pixels; outside, that of the nearest pixel inside."""
    height, width = channel.shape
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            share = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
            total += share * float(channel[min(max(row, 0), height - 1), min(max(column, 0), width - 1)])
    return total


def zoom(
    picture: Array, box: Sequence[float], *, size: Size, aligned: bool = False, supersample: int = 1
) -> Array:  # fmt: skip
    """The part of one picture inside a box, resized."""
    height, width = size
    xs = _points(box[0], box[2], width * supersample, aligned=aligned)
    ys = _points(box[1], box[3], height * supersample, aligned=aligned)
    view = np.zeros((len(picture), height, width))
    for number, channel in enumerate(picture):
        for row, y in enumerate(ys):
            for column, x in enumerate(xs):
                view[number, row // supersample, column // supersample] += bilinear(channel, x, y) / supersample**2
    return view


def _points(start: float, end: float, count: int, *, aligned: bool) -> list[float]:
    if aligned:
        first, last = start + 0.5, end - 0.5
        return [first + i * (last - first) / max(count - 1, 1) for i in range(count)]
    return [start + (i + 0.5) * (end - start) / count for i in range(count)]


def compose_box(outer: Sequence[float], inner: Sequence[float], *, size: Size) -> list[float]:
    """Where a point of a view lies in the picture, for both corners of a box."""
    height, width = size

    def to_picture(x: float, y: float) -> list[float]:
        return [outer[0] + x / width * (outer[2] - outer[0]), outer[1] + y / height * (outer[3] - outer[1])]

    return to_picture(inner[0], inner[1]) + to_picture(inner[2], inner[3])


# --------------------------------------------------------------------------------------------------------------- losses
def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    powers = [math.exp(logit - top) for logit in logits]
    return [power / sum(powers) for power in powers]


def cross_entropy(logits: Array, labels: Sequence[int], *, label_smoothing: float = 0.0) -> float:
    losses = []
    for row, label in zip(logits, labels, strict=True):
        probs = softmax(list(row))
        targets = [label_smoothing / len(row)] * len(row)
        targets[label] += 1 - label_smoothing
        losses.append(-sum(target * math.log(prob) for target, prob in zip(targets, probs, strict=True)))
    return sum(losses) / len(losses)


def divergence_of_wrong(logits: Sequence[float], previous: Sequence[float], label: int) -> float:
    """KL(former || this) over the wrong classes, renormalised, for one photo."""
    wrong = [c for c in range(len(logits)) if c != label]
    this_probs = softmax([logits[c] for c in wrong])
    previous_probs = softmax([previous[c] for c in wrong])
    return sum(p * math.log(p / q) for p, q in zip(previous_probs, this_probs, strict=True))


def diversity_paper(logits: Array, previous: Array, labels: Sequence[int]) -> float:
    terms = [
        math.exp(-divergence_of_wrong(list(row), list(before), label))
        for row, before, label in zip(logits, previous, labels, strict=True)
    ]
    return sum(terms) / len(terms)


def diversity_authors(logits: Array, previous: Array, labels: Sequence[int]) -> float:
    terms = []
    for row, before, label in zip(logits, previous, labels, strict=True):
        this_probs, previous_probs = softmax(list(row)), softmax(list(before))
        for c in range(len(row)):
            p, q = previous_probs[c], this_probs[c]
            terms.append(1.0 if c == label else math.exp(-p * (math.log(p) - math.log(q))))
    return sum(terms) / len(terms)


def distillation(
    logits: Array, teacher: Array, labels: Sequence[int], *, temperature: float, teacher_weight: float,
    label_smoothing: float = 0.0,
) -> float:  # fmt: skip
    divergences = []
    for row, answer in zip(logits, teacher, strict=True):
        student_probs = softmax([value / temperature for value in row])
        teacher_probs = softmax([value / temperature for value in answer])
        divergences.append(sum(p * math.log(p / q) for p, q in zip(teacher_probs, student_probs, strict=True)))
    soft = temperature**2 * sum(divergences) / len(divergences)
    hard = cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return (1 - teacher_weight) * hard + teacher_weight * soft


def mix_experts(joint_logits: Array, gate_probs: Array, *, mix: str) -> Array:
    """Mixed logits, or logarithms of mixed probabilities."""
    photos, experts, classes = joint_logits.shape
    mixed = np.zeros((photos, classes))
    for photo in range(photos):
        for expert in range(experts):
            answer = list(joint_logits[photo, expert])
            for c, value in enumerate(answer if mix == "logits" else softmax(answer)):
                mixed[photo, c] += gate_probs[photo, expert] * value
    return mixed if mix == "logits" else np.log(mixed)


# -------------------------------------------------------------------------------------------------------------- cascade
def top2_margin(logits: Sequence[float]) -> float:
    """What the likeliest class has of the probability of the two likeliest."""
    best, second = sorted(softmax(list(logits)), reverse=True)[:2]
    return best / (best + second)


def stopping_expert(margins: Sequence[float], thresholds: Sequence[float]) -> int:
    """The number of the expert after which one photo leaves."""
    for number, threshold in enumerate(thresholds):
        if margins[number] >= threshold:
            return number
    return len(thresholds)


def choose_thresholds(
    margins: Sequence[Sequence[float]], risks: Sequence[Sequence[float]], *, max_lost: float, costs: Sequence[int]
) -> tuple[float, ...]:
    """All combinations of thresholds, one after the other: the cheapest, then what loses least, then the highest.

    A threshold is 2, which is never reached, or lies halfway between a lead and the next lower one, or 0.
    """
    choices = []
    for number in range(len(costs) - 1):
        values = sorted({row[number] for row in margins}, reverse=True)
        choices.append([2.0] + [(high + low) / 2 for high, low in zip(values, [*values[1:], 0.0], strict=True)])
    best = None
    for thresholds in itertools.product(*choices):
        cost, lost = 0, 0.0
        for row, its_risks in zip(margins, risks, strict=True):
            stop = stopping_expert(row, thresholds)
            cost += costs[stop]
            lost += its_risks[stop] if stop < len(thresholds) else 0
        price = (cost, lost, *(-threshold for threshold in thresholds))
        if lost <= max_lost and (best is None or price < best[0]):
            best = (price, thresholds)
    assert best is not None
    return best[1]


# --------------------------------------------------------------------------------------------------------- localisation
def box_iou(box: Sequence[int], true_box: Sequence[int]) -> float:
    """By counting pixels, for boxes with whole numbers."""
    pixels, true_pixels = _pixels(box), _pixels(true_box)
    return len(pixels & true_pixels) / len(pixels | true_pixels) if pixels | true_pixels else 0.0


def _pixels(box: Sequence[int]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}


def connected_parts(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """The parts of a mask whose pixels touch, at least at a corner: a flood fill."""
    left = {(x, y) for y, x in zip(*mask.nonzero(), strict=True)}
    parts = []
    while left:
        part, border = set(), [left.pop()]
        while border:
            x, y = border.pop()
            part.add((x, y))
            near = {(x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)} & left
            left -= near
            border += near
        parts.append(part)
    return parts


def box_around(pixels: set[tuple[int, int]]) -> list[int]:
    """The smallest box with all pixels in it, end-exclusive."""
    columns, rows = [x for x, _ in pixels], [y for _, y in pixels]
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


def max_box_accuracy(ious: Array, *, iou_threshold: float) -> float:
    best = 0.0
    for row in ious:
        found = sum(1 for iou in row if iou >= iou_threshold)
        best = max(best, found / len(row))
    return best


def map_peak(cells: Array, box: Sequence[float]) -> tuple[float, float]:
    """The centre of the highest cell of a map that lies over a box."""
    height, width = cells.shape
    best, peak = -math.inf, (0.0, 0.0)
    for row in range(height):
        for column in range(width):
            if cells[row, column] > best:
                x = box[0] + (column + 0.5) * (box[2] - box[0]) / width
                y = box[1] + (row + 0.5) * (box[3] - box[1]) / height
                best, peak = cells[row, column], (x, y)
    return peak


# ---------------------------------------------------------------------------------------------------------------- heads
def part_features(features: Array, weight: Array, bias: Array, *, padding: int = 0) -> Array:
    """The largest response of each 1x1 filter over one photo's map, at least 0; padding is a border of zero cells."""
    padded = np.pad(features, ((0, 0), (padding, padding), (padding, padding)))
    best = np.zeros(len(weight))
    for number in range(len(weight)):
        for row in range(padded.shape[1]):
            for column in range(padded.shape[2]):
                response = bias[number] + sum(weight[number][k] * padded[k, row, column] for k in range(len(padded)))
                best[number] = max(best[number], response)
    return best


def unit(features: Sequence[float], *, length: float = 10.0) -> list[float]:
    norm = math.sqrt(sum(value * value for value in features))
    return [length * value / norm for value in features]


# ------------------------------------------------------------------------------------------------------------- calculus
def slopes(function: Callable[[Array], float], point: Array, *, step: float = 1e-5) -> Array:
    """The gradient of a function of an array by central differences, one entry at a time."""
    gradient = np.zeros_like(point)
    for index in np.ndindex(*point.shape):
        above, below = point.copy(), point.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient


def spread_box(cells: Array, *, size: Size, threshold: float) -> list[float]:
    """The box of mean and spread of a map, cell by cell; size is (height, width)."""
    (height, width), scaled = size, scale_to_unit(cells)
    rows, columns = scaled.shape
    if not (scaled > threshold).any():
        return [0, 0, width, height]
    edges: list[list[float]] = []
    for length, count, axis in ((width, columns, 1), (height, rows, 0)):
        cell = length / count
        weights = [0.0] * count
        for row, column in np.ndindex(rows, columns):
            weights[(row, column)[axis]] += max(0.0, float(scaled[row, column]) - threshold)
        mean = sum(weight * (number + 0.5) * cell for number, weight in enumerate(weights)) / sum(weights)
        # The even distribution over a cell has a variance of its own.
        variance = sum(
            weight * (((number + 0.5) * cell - mean) ** 2 + cell**2 / 12) for number, weight in enumerate(weights)
        ) / sum(weights)
        half = math.sqrt(12 * variance) / 2
        edges.append([max(0.0, mean - half), min(float(length), mean + half)])
    (x1, x2), (y1, y2) = edges
    return [x1, y1, x2, y2]
