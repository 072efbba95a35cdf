"""How far the gate's opinion counts: validation photos choose between what it learned and an even hand.

A gate learns on photos that the experts have learned by heart, often blended ones. There it sees who remembers best,
not who is right about new photos. So what it says is tempered: its logits are multiplied by a number from 0 (all
experts count the same) to 1 (as it learned): the one under which validation photos are answered with the smallest loss.
"""

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mge.config import Mix
from mge.core.losses import mix_experts, temper_gate
from mge.core.outputs import MixtureOutput
from mge.data.batches import Batch
from mge.storage.model_folder import StoredModel

TRUSTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # how far the gate's opinion may count
LAST_LAYER = ("gate.layers.1.weight", "gate.layers.1.bias")


class TrustLosses(NamedTuple):
    """What N photos say about each trust."""

    indices: Tensor  # (N,) the photos' numbers in their data set
    losses: Tensor  # (N, T) the mixture's loss if the gate counted as far as each of TRUSTS


def try_trusts(output: MixtureOutput, batch: Batch, *, mix: Mix) -> TrustLosses:
    """The losses of one batch: as many mixtures as there are trusts, so only for photos that shall choose."""
    mixtures = [mix_experts(output.joint_logits, temper_gate(output.gate_probs, trust), mix=mix) for trust in TRUSTS]
    losses = [functional.cross_entropy(logits, batch.labels, reduction="none") for logits in mixtures]
    return TrustLosses(batch.indices.cpu(), torch.stack(losses, dim=1).cpu())


def choose_trust(losses: Tensor) -> float:
    """The trust of the smallest loss on N photos, out of (N, T); the greatest one of several that are as good."""
    means = losses.double().mean(0).tolist()
    return max(zip(TRUSTS, means, strict=True), key=lambda pair: (-pair[1], pair[0]))[0]


def with_trust(stored: StoredModel, trust: float) -> StoredModel:
    """The model with its gate's logits multiplied, which the metadata then say."""
    scaled = {name: stored.state[name] * trust for name in LAST_LAYER}
    metadata = {**stored.metadata, "gate_trust": trust}
    return dataclasses.replace(stored, state={**stored.state, **scaled}, metadata=metadata)
