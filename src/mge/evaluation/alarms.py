"""Alarms: signs that a training went wrong, each with its likely cause and the command that mends it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

FLAT = 0.98  # of the loss of the first epoch: a lowest loss above that has not fallen
RISEN = 3.0  # points of training accuracy that show that something is learned
LEARNED = 20.0  # points of training accuracy above chance that show that the photos were memorised
EXPLODED = 3.0  # times the loss of guessing: learning rates that are far too high

Rows = Sequence[Mapping[str, float]]


def loss_alarm(rows: Rows, *, network: str, num_classes: int, settings: Mapping[str, Any]) -> str:
    """Return an alarm if the training loss does not fall, or stays far above that of guessing; empty otherwise.

    Args:
        rows: Metrics of the epochs of a stage so far.
        network: Name of the network.
        num_classes: Number of classes.
        settings: Settings of the run.
    """
    losses = [row["train_loss_mixture"] for row in rows]
    accuracies = [row["train_top1_mixture"] for row in rows]
    if len(rows) < 2:
        return ""
    guessing = math.log(max(num_classes, 2))
    if losses[-1] > EXPLODED * guessing:
        tenth = (f"--{name.replace('_', '-')} {settings[name] / 10:g}" for name in ("backbone_lr", "head_lr"))
        return (
            f"the training loss of the {network} is far above that of guessing ({losses[-1]:.2f} and {guessing:.2f}): "
            f"the learning rates are probably too high; start again with {' '.join(tenth)}"
        )
    if min(losses[1:]) < FLAT * losses[0] or max(accuracies[1:]) > accuracies[0] + RISEN:
        return ""
    return (
        f"the training loss of the {network} does not fall ({losses[0]:.2f} in epoch 1, {losses[-1]:.2f} now): the "
        "labels probably do not match the photos, or the learning rates are too low; look at the photos with mge check "
        f"{quote(str(settings['data']))}"
    )


def chance_alarm(rows: Rows, labels: Sequence[object], *, network: str, settings: Mapping[str, Any]) -> str:
    """Return an alarm if the validation accuracy is that of always predicting the most frequent class; empty otherwise.

    Args:
        rows: Metrics of the epochs of a stage.
        labels: The true classes of the validation photos.
        network: Name of the network.
        settings: Settings of the run.
    """
    accuracies = [row["val_top1_mixture"] for row in rows if "val_top1_mixture" in row]
    if not accuracies or not labels:
        return ""
    chance = 100 * Counter(labels).most_common(1)[0][1] / len(labels)
    spread = math.sqrt(chance * (100 - chance) / len(labels))
    if max(accuracies) > chance + spread:
        return ""
    said = (
        f"the validation accuracy of the {network} is at chance (at most {max(accuracies):.1f} %; always predicting "
        f"the most frequent class has {chance:.1f} %)"
    )
    data = quote(str(settings["data"]))
    if max(row["train_top1_mixture"] for row in rows) > chance + LEARNED:
        return (
            f"{said}, while it has learned the training photos: their labels probably do not match, or the validation "
            f"photos are of another kind; look at them with mge check {data}"
        )
    return (
        f"{said}: it was probably trained too briefly, or the labels do not match the photos; train longer with "
        f"--epochs {3 * int(settings['epochs'])}, or look at the photos with mge check {data}"
    )


def worse_alarm(*, gain: float, is_significant: bool, opponent: str, figures: Mapping[str, Any], data: str) -> str:
    """Return an alarm if a mixture is worse than its first expert or a plain network; empty otherwise.

    Args:
        gain: Difference in points.
        is_significant: Whether it is more than chance.
        opponent: Name of the other network.
        figures: Accuracies of the mixture in percent.
        data: The run's data.
    """
    if gain >= 0 or not is_significant:
        return ""
    experts = figures["experts_top1"]
    said = f"the mixture is {-gain:.1f} points below {opponent}"
    remedy = f"use a plain network: mge train {quote(data)} --experts 1 --part-filters 0, or train longer"
    cause = "there are probably too few photos or epochs for several experts"
    if len(experts) > 1 and min(experts[1:]) < experts[0]:
        cause = f"its later experts are less accurate than the first ({min(experts[1:]):.1f} and {experts[0]:.1f} %)"
    return f"{said}: {cause}; {remedy}"
