"""Weights, optimiser and averaged weights of a stage of training."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mge.config import TrainConfig
from mge.models.mixture import MixtureOfExperts
from mge.storage.run_folder import Run
from mge.training.optimizer import backbones, build_optimizer
from mge.training.step import Network
from mge.training.train_state import explain_mismatch


class Learner:
    """A mixture's weights, their optimiser, and their moving average if there is one.

    Args:
        fabric: Lightning Fabric, launched.
        network: The mixture as Fabric wrapped it, with the initial weights of the stage.
        run: Run of the checkpoint `saved`.
        config: Training options.
        saved: A checkpoint inside the stage. None: the stage starts.

    Raises:
        ModelFolderError: the checkpoint is from another run.
    """

    def __init__(
        self, fabric: Fabric, network: Network, *, run: Run, config: TrainConfig, saved: Mapping[str, Any] | None
    ) -> None:
        self.network, self.model, self.config = network, network.model, config
        optimizer = build_optimizer(self.model, config)
        self.averaged: AveragedModel | None = None
        if config.ema:
            self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        if saved is not None:
            with explain_mismatch(run):
                optimizer.load_state_dict(saved["optimizer"])
                if self.averaged is not None:
                    self.averaged.load_state_dict(saved["averaged"])
        self.optimizer = cast(Optimizer, fabric.setup_optimizers(optimizer))

    @property
    def evaluated(self) -> MixtureOfExperts:
        """The model to evaluate: the averaged weights if there are any."""
        return self.model if self.averaged is None else self.averaged.module  # type: ignore[return-value]

    def update(self) -> None:
        """Update the weights with the accumulated gradients."""
        if self.config.clip_norm:
            for expert in self.model.experts:
                torch.nn.utils.clip_grad_norm_(expert.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def is_finite(self) -> bool:
        """Return whether all weights are finite."""
        return all(bool(torch.isfinite(parameter).all()) for parameter in self.model.parameters())

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
        }


def choose_experts(model: MixtureOfExperts, *, stage: int, config: TrainConfig, is_new: bool) -> None:
    """Activate one more expert under the progressive schedule, and select the experts to train.

    Args:
        model: The mixture.
        stage: Index of the stage.
        config: Training options.
        is_new: Whether the stage starts, so that the new expert and the gate are initialised.
    """
    experts = model.experts
    model.active_experts = stage + 1
    if is_new and stage > 0 and config.expert_init == "previous":
        experts[stage].load_state_dict(experts[stage - 1].state_dict())
    if is_new and model.gate is not None:
        model.gate.start_uniform()
    for number, expert in enumerate(experts):
        is_previous = number < stage
        expert.requires_grad_(number == stage or (is_previous and not config.freeze_previous))


def freeze_backbones(model: MixtureOfExperts) -> None:
    """Exclude the backbones from training; `set_modes` keeps their batch norm statistics."""
    for backbone in backbones(model):
        backbone.requires_grad_(False)


def set_modes(model: MixtureOfExperts, *, config: TrainConfig) -> None:
    """Set training mode for trainable experts; frozen ones keep their batch norm statistics."""
    model.train()
    for expert in model.experts:
        expert.train(any(parameter.requires_grad for parameter in expert.parameters()))
    if config.freeze_backbone:
        for backbone in backbones(model):
            backbone.eval()
    if config.batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
