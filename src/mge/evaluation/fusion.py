"""Fusion fitted on validation photos: the number of experts, their heads, and the gate temperature.

Experts, gate and heads soon memorise the training photos, so training cannot tell which of them help on new photos.
Validation photos can. Simpler models are preferred by the one-standard-error rule: with few photos, or where later
experts add little, fewer experts are used, down to the first one's large head alone, which is the plain network.

Source: the one-standard-error rule is that of Breiman, Friedman, Olshen and Stone, "Classification and Regression
Trees", 1984, section 3.4.3.
"""

import dataclasses
from typing import Any, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mge.config import FusedHeads, Mix, ModelConfig
from mge.core.losses import fuse_heads, mix_experts, temper_gate
from mge.core.outputs import MixtureOutput
from mge.data.loader import Batch
from mge.storage.model_folder import StoredModel

GATE_SCALES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # factors of the gate's logits: 0 is a uniform gate
TEMPERATURES = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)  # each candidate is evaluated at its best one
GATE_LAYER = ("gate.layers.1.weight", "gate.layers.1.bias")


class Fusion(NamedTuple):
    """A combination of experts, heads and gate temperature for inference."""

    experts: int  # number of experts, from the first
    heads: FusedHeads  # of each expert
    gate_scale: float  # factor of the gate's logits


class FusionLosses(NamedTuple):
    """Cross-entropies of N photos under each of K fusions."""

    indices: Tensor  # (N,) the photos' numbers in their data set
    losses: Tensor  # (N, K, T) at each of TEMPERATURES


def list_fusions(config: ModelConfig, *, only_gate: bool = False) -> list[Fusion]:
    """Return the candidate fusions, those with fewer experts first.

    Args:
        config: The mixture as it was trained.
        only_gate: Whether to use all experts with their joint heads, and vary only the gate temperature.
    """
    if only_gate:
        return [Fusion(config.experts, "joint", scale) for scale in GATE_SCALES]
    heads: tuple[FusedHeads, ...] = get_args(FusedHeads) if config.has_parts else ("joint",)
    return [
        Fusion(experts, each, scale)
        for experts in range(1, config.experts + 1)
        for each in heads
        for scale in (GATE_SCALES if experts > 1 else (1.0,))
    ]


def fusion_losses(output: MixtureOutput, batch: Batch, *, fusions: list[Fusion], mix: Mix) -> FusionLosses:
    """Compute the losses of one batch under each fusion."""
    fused = {
        heads: fuse_heads(output.large_logits, output.part_logits, output.joint_logits, heads=heads).float()
        for heads in {fusion.heads for fusion in fusions}
    }
    columns = []
    for experts, heads, scale in fusions:
        gate_probs = temper_gate(output.gate_probs[:, :experts], scale)
        logits = mix_experts(fused[heads][:, :experts], gate_probs, mix=mix)
        at_each = [functional.cross_entropy(logits / t, batch.labels, reduction="none") for t in TEMPERATURES]
        columns.append(torch.stack(at_each, dim=1))
    return FusionLosses(batch.indices.cpu(), torch.stack(columns, dim=1).cpu())


def choose_fusion(losses: Float[Tensor, "N K T"], fusions: list[Fusion]) -> Fusion:
    """Return the fusion with the fewest experts whose mean loss is within one standard error of the smallest.

    Among those with as many experts, the smallest loss decides; of equal ones the gate with the largest weight.

    Args:
        losses: Cross-entropies of the validation photos.
        fusions: The fusions of their columns.
    """
    best_temperature = losses.double().mean(0).argmin(1)
    at_best = losses.double()[:, torch.arange(len(fusions)), best_temperature]
    means = at_best.mean(0).tolist()
    order = sorted(range(len(fusions)), key=lambda number: (means[number], -fusions[number].gate_scale))
    overall = order[0]
    for experts in sorted({fusion.experts for fusion in fusions}):
        number = next(each for each in order if fusions[each].experts == experts)
        difference = at_best[:, number] - at_best[:, overall]
        standard_error = float(difference.std(unbiased=False)) / max(1, len(difference)) ** 0.5
        if float(difference.mean()) <= standard_error:
            return fusions[number]
    return fusions[overall]


def apply_fusion(stored: StoredModel, fusion: Fusion) -> StoredModel:
    """Return the model of a fusion, without the experts and heads that it leaves out."""
    config = dataclasses.replace(stored.config, experts=fusion.experts, fused_heads=fusion.heads)
    dropped = [f"experts.{number}." for number in range(fusion.experts, stored.config.experts)]
    if fusion.experts == 1:
        dropped.append("gate.")
        config = dataclasses.replace(config, gate="shared", share_experts=False)
        if fusion.heads == "large":
            dropped += [f"experts.0.{part}." for part in ("part_filters", "part_head", "joint_head")]
            config = dataclasses.replace(config, part_filters=0, fused_heads="joint")
    state = {name: tensor for name, tensor in stored.state.items() if not name.startswith(tuple(dropped))}
    for name in set(GATE_LAYER) & state.keys():
        state[name] = (state[name][: fusion.experts] * fusion.gate_scale).contiguous()
    metadata = {**stored.metadata, "gate_trust": fusion.gate_scale, "fusion": describe(fusion, of=stored.config)}
    return dataclasses.replace(stored, config=config, state=state, metadata=metadata)


def describe(fusion: Fusion, *, of: ModelConfig) -> dict[str, Any]:
    """Return the entry of a fusion in model.json and summary.json."""
    return {**fusion._asdict(), "trained_experts": of.experts}
