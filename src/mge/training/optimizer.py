"""Learning rate schedules as a pure function of the step, without any state to save."""

import math

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from mge.config import TrainConfig
from mge.models.backbone import Backbone
from mge.models.mixture import MixtureOfExperts


def build_optimizer(model: MixtureOfExperts, config: TrainConfig) -> Optimizer:
    """Build one optimiser with parameter groups for backbones, heads and the gate's layers.

    Source: section 4.1 of the paper (SGD, momentum 0.9, a smaller rate for layers pretrained on ImageNet).
    """
    learning = {id(parameter): parameter for parameter in model.parameters() if parameter.requires_grad}
    of_backbones = [parameter for module in backbones(model) for parameter in module.parameters()]
    of_gate = [] if model.gate is None else list(model.gate.layers.parameters())
    learning_backbones, gate = (
        [learning.pop(id(parameter)) for parameter in part if id(parameter) in learning]
        for part in (of_backbones, of_gate)
    )
    groups = [
        {"params": learning_backbones, "peak": config.backbone_lr},
        {"params": list(learning.values()), "peak": config.head_lr},
        {"params": gate, "peak": config.gate_lr},
    ]
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.head_lr, weight_decay=config.weight_decay, foreach=True)
    return SGD(groups, lr=config.head_lr, momentum=0.9, weight_decay=config.weight_decay, foreach=True)


def set_learning_rate(optimizer: Optimizer, *, epoch: float, config: TrainConfig) -> None:
    """Set the learning rate of each group to its peak times the current factor."""
    factor = learning_rate_factor(epoch, config=config)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def learning_rate_factor(epoch: float, *, config: TrainConfig) -> float:
    """Return the fraction of the peak learning rate after a (fractional) number of epochs of the stage."""
    if epoch < config.warmup_epochs:
        return max(epoch, 1e-3) / config.warmup_epochs
    if config.decay == "step":
        return float(0.1 ** int(epoch // config.decay_epochs))
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def backbones(model: MixtureOfExperts) -> list[nn.Module]:
    """Return the backbones of a mixture, its gate's included, each once."""
    return [module for module in model.modules() if isinstance(module, Backbone)]
