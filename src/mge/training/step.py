"""The training step: forward, loss and backward expert by expert."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from mge.config import TrainConfig
from mge.core.losses import expert_loss, mix_experts, smooth_targets
from mge.data.loader import Batch
from mge.models.mixture import ExpertPass, MixtureOfExperts


class Network(NamedTuple):
    """A mixture and its parts as Fabric wrapped them: one wrapped module for each independent graph."""

    model: MixtureOfExperts
    experts: Sequence[nn.Module]
    gate: nn.Module | None
    gate_learns: bool = True  # whether the gate is trained in this step


class StepFigures(NamedTuple):
    """Metrics of a step, as tensors: reading their values would make the accelerator wait."""

    losses: Tensor  # (E + 1,) each expert's loss with all its terms, then the mixture's
    hits: Tensor  # (E + 1,) number of correct predictions of each expert, then of the mixture
    diversity: Tensor  # (E,) each expert's diversity term, 0 for the first


class Step(Protocol):
    """Protocol of a training step: `train_step` or a replacement."""

    def __call__(
        self, fabric: Fabric, network: Network, batch: Batch, targets: Tensor, /, *, config: TrainConfig
    ) -> StepFigures:
        """Accumulate one batch's gradients."""


def wrap(fabric: Fabric, model: MixtureOfExperts) -> Network:
    """Wrap trainable modules, each expert and the gate by itself: they are independent graphs with a backward each."""

    def wrapped(module: nn.Module) -> nn.Module:
        learns = any(parameter.requires_grad for parameter in module.parameters())
        return fabric.setup_module(module) if learns else module

    gate = wrapped(model.gate) if model.gate is not None and model.active_experts > 1 else None
    experts = {expert: wrapped(expert) for expert in dict.fromkeys(model.experts_in_turn[: model.active_experts])}
    return Network(model, [experts[expert] for expert in model.experts_in_turn[: model.active_experts]], gate)


def train_step(fabric: Fabric, network: Network, batch: Batch, targets: Tensor, *, config: TrainConfig) -> StepFigures:
    """Accumulate one batch's gradients, holding the activations of one expert at a time.

        L = sum_t (L_cls^t + diversity_weight * L_KL^t) + L_gate

    Every expert's loss is followed by its backward before the next expert runs. No gradient flows between experts, so
    this gives the gradients of a single backward on the sum.

    Args:
        fabric: Lightning Fabric, launched.
        network: The mixture and its wrapped parts.
        batch: Photos on the device. Attention follows `batch.labels`, and accuracy counts them.
        targets: (B, C) soft targets of the losses: one-hot labels, times class weights, blended where photos are. The
            experts' are smoothed, as the options say.
        config: Training options.

    Source: L of the paper, section 3.
    """
    pictures = network.model.normalize(batch.images)
    followed = batch.labels if config.train_cam_class == "label" else None
    passes = network.model.run_experts(pictures, followed, experts=network.experts)
    return learn_from(fabric, network, passes, batch, targets, config=config)


def learn_from(
    fabric: Fabric, network: Network, passes: Iterator[ExpertPass], batch: Batch, targets: Tensor, *,
    config: TrainConfig,
) -> StepFigures:  # fmt: skip
    """Accumulate the gradients of the experts' passes, one after the other, and of the gate; see `train_step`."""
    share = 1 / config.accumulate
    smoothed = smooth_targets(targets, config.label_smoothing)
    losses: list[Tensor] = []
    hits: list[Tensor] = []
    diversity: list[Tensor] = []
    answers: list[Tensor] = []
    first_view = first_features = torch.empty(0)
    for expert_pass in passes:
        terms = expert_loss(
            expert_pass.output, answers[-1] if answers else None, smoothed, diversity=config.diversity,
            has_parts=network.model.config.has_parts,
        )  # fmt: skip
        total = terms.total(diversity_weight=config.diversity_weight)
        if total.requires_grad:
            fabric.backward(total * share)
        answers.append(expert_pass.output.joint_logits.detach().float())
        if len(answers) == 1:
            first_view, first_features = expert_pass.view, expert_pass.output.large_features.detach()
        losses.append(total.detach())
        diversity.append(terms.diversity.detach())
        hits.append((answers[-1].argmax(1) == batch.labels).sum())
        del expert_pass, terms, total
    with torch.set_grad_enabled(network.gate_learns):
        gate_probs = network.model.weigh(first_view, first_features, gate=network.gate)
    mixture = mix_experts(torch.stack(answers, dim=1), gate_probs, mix=network.model.config.mix)
    loss = functional.cross_entropy(mixture, targets)
    if loss.requires_grad:
        fabric.backward(loss * share)
    losses.append(loss.detach())
    hits.append((mixture.argmax(1) == batch.labels).sum())
    return StepFigures(torch.stack(losses), torch.stack(hits), torch.stack(diversity))
