"""How far the gate's opinion counts: validation photos choose between what it learned and an even hand.

A gate learns on photos that the experts have learned by heart, often blended ones. There it sees who remembers best,
not who is right about new photos. So what it says is tempered: its logits are multiplied by a number from 0 (all
experts count the same) to 1 (as it learned): the one under which validation photos are answered with the smallest loss.
"""

import dataclasses

from mge.storage.model_folder import StoredModel
from mge.training.measure import TRUSTS, Answers

LAST_LAYER = ("gate.layers.1.weight", "gate.layers.1.bias")


def choose_trust(answers: Answers) -> float:
    """The trust of the smallest loss on these photos; the greatest one of several that are as good."""
    losses = answers.trust_losses.double().mean(0).tolist()
    return max(zip(TRUSTS, losses, strict=True), key=lambda pair: (-pair[1], pair[0]))[0]


def with_trust(stored: StoredModel, trust: float) -> StoredModel:
    """The model with its gate's logits multiplied, which the metadata then say."""
    scaled = {name: stored.state[name] * trust for name in LAST_LAYER}
    metadata = {**stored.metadata, "gate_trust": trust}
    return dataclasses.replace(stored, state={**stored.state, **scaled}, metadata=metadata)
