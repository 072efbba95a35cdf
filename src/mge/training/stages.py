"""Which experts take part in a stage of training, which of them learn, and how."""

from torch.nn.modules.batchnorm import _BatchNorm

from mge.config import TrainConfig
from mge.models.mixture import MixtureOfExperts


def choose_experts(model: MixtureOfExperts, *, stage: int, config: TrainConfig, is_new: bool) -> None:
    """Lets one more expert take part under the progressive schedule, and decides which of them learn.

    Args:
        model: The mixture.
        stage: Number of the stage.
        config: How it learns.
        is_new: Whether the stage begins, so that the new expert and the gate get what they start from.
    """
    experts = model.experts
    model.active_experts = stage + 1
    if is_new and stage > 0 and config.start == "former":
        experts[stage].load_state_dict(experts[stage - 1].state_dict())
    if is_new and model.gate is not None:
        model.gate.start_even()
    for number, expert in enumerate(experts):
        is_former = number < stage
        expert.requires_grad_(number == stage or (is_former and not config.freeze_former))


def set_modes(model: MixtureOfExperts, *, config: TrainConfig) -> None:
    """Training mode for what learns; what is frozen keeps the statistics of its batch norm."""
    model.train()
    for expert in model.experts:
        expert.train(any(parameter.requires_grad for parameter in expert.parameters()))
    if config.batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
