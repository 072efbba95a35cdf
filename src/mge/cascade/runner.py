"""The mixture as a cascade: experts look only at the photos that those before them were not sure about."""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

from mge.cascade.margin import prefix_gate, top2_margin
from mge.config import Mix
from mge.core.losses import mix_experts
from mge.core.outputs import CascadeOutput, MixtureOutput
from mge.errors import ConfigError
from mge.models.mixture import ExpertPass, MixtureOfExperts


@torch.inference_mode()
def run_cascade(
    model: MixtureOfExperts, images: Shaped[Tensor, "B 3 H W"], *, thresholds: Sequence[float]
) -> CascadeOutput:
    """Classifies a batch; a photo leaves after the first expert with which the mixture so far is sure enough.

    Nothing is computed for a photo that has left. A gate with a backbone of its own runs for those that stay after the
    first expert, whose answer alone needs no weighing. Where no photo leaves, the numbers are the mixture's to the bit;
    where some do, the batch is smaller and those of the others may differ in their last digits.

    Args:
        model: The mixture, in the mode of evaluation.
        images: Pictures as `MixtureOfExperts.forward` takes them.
        thresholds: For each expert but the last, the lead of the likeliest class from which a photo leaves; see
            `cascade.margin.top2_margin`.

    Returns:
        The answers in the order of the images, and how many experts looked at each.

    Raises:
        ConfigError: there is not one threshold for each expert but the last.
    """
    if len(thresholds) != model.active_experts - 1:
        given = f"there are {len(thresholds)} thresholds for {model.active_experts} experts"
        raise ConfigError(f"{given}; give one for each but the last")
    passes = model.run_experts(model.normalize(images))
    expert_pass = next(passes)
    result = _blank_output(expert_pass, num_experts=model.active_experts)
    rows = torch.arange(len(images), device=images.device)  # the photos that are still there
    gate_probs = torch.ones(len(images), 1, device=images.device)
    for number, threshold in enumerate((*thresholds, None)):
        _write_pass(result, expert_pass, rows=rows, number=number)
        so_far = _answer_so_far(result, gate_probs, rows=rows, number=number, mix=model.config.mix)
        if threshold is None:
            break
        staying = (~(top2_margin(so_far) >= threshold)).nonzero().squeeze(1)
        if not len(staying):
            break
        if number == 0:
            gate_probs = model.weigh(expert_pass.view[staying], expert_pass.output.large_features[staying])
        else:
            gate_probs = gate_probs[staying]
        expert_pass = passes.send(staying if len(staying) < len(rows) else None)  # no copies where nobody leaves
        rows = rows[staying]
    return result


def _blank_output(expert_pass: ExpertPass, *, num_experts: int) -> CascadeOutput:
    """An output like that of the mixture in which nothing has been said yet."""

    def blank(example: Tensor) -> Tensor:
        return example.new_full((len(example), num_experts, *example.shape[1:]), torch.nan)

    logits = expert_pass.output.logits
    mixture = MixtureOutput(
        logits=torch.zeros_like(logits, dtype=torch.float32),
        gate_probs=torch.zeros(len(logits), num_experts, device=logits.device),
        large_logits=blank(expert_pass.output.large_logits),
        part_logits=blank(expert_pass.output.part_logits),
        joint_logits=blank(logits),
        attention=blank(expert_pass.attention),
        boxes_xyxy=blank(expert_pass.boxes_xyxy),
    )
    return CascadeOutput(mixture, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def _write_pass(result: CascadeOutput, expert_pass: ExpertPass, *, rows: Tensor, number: int) -> None:
    """Puts what one expert said about some photos into their rows."""
    result.num_experts_run[rows] = number + 1
    result.mixture.large_logits[rows, number] = expert_pass.output.large_logits
    result.mixture.part_logits[rows, number] = expert_pass.output.part_logits
    result.mixture.joint_logits[rows, number] = expert_pass.output.logits
    result.mixture.attention[rows, number] = expert_pass.attention
    result.mixture.boxes_xyxy[rows, number] = expert_pass.boxes_xyxy


def _answer_so_far(result: CascadeOutput, gate_probs: Tensor, *, rows: Tensor, number: int, mix: Mix) -> Tensor:
    """Mixes what the experts up to one said about some photos, which is their answer unless others look at them."""
    weights = prefix_gate(gate_probs, num_experts=number + 1)
    so_far = mix_experts(result.mixture.joint_logits[rows, : number + 1], weights, mix=mix)
    result.mixture.logits[rows], result.mixture.gate_probs[rows, : number + 1] = so_far, weights
    return so_far
