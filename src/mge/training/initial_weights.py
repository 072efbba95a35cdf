"""Initial weights from a trained mixture, for fine-tuning that goes on from it."""

import re
from collections.abc import Sequence
from pathlib import Path

from mge.errors import ConfigError
from mge.models.mixture import MixtureOfExperts
from mge.storage.hub import is_hub
from mge.storage.model_folder import StoredModel
from mge.storage.run_folder import find_model_folder


def find_trained(weights: object) -> Path | None:
    """Return the model folder of the run or model that `weights` names; None if it names a file, or nothing.

    Raises:
        ModelFolderError: there is no complete model.
    """
    if not isinstance(weights, str) or not (is_hub(weights) or Path(weights).is_dir()):
        return None
    return find_model_folder(weights)


def copy_weights(stored: StoredModel, model: MixtureOfExperts, *, class_names: Sequence[str]) -> str:
    """Copy a trained mixture's weights to a new one of the same backbone.

    Heads and gate are copied if the classes are the same, each tensor if its shape is. Experts that the trained mixture
    does not have start as its first one.

    Args:
        stored: The trained mixture.
        model: The new one.
        class_names: Its classes.

    Returns:
        One line that says what was copied.

    Raises:
        ConfigError: the backbones differ.
    """
    state = model.state_dict()
    has_same_classes = stored.class_names == tuple(class_names)
    num_heads = 0
    for name, tensor in state.items():
        is_backbone = ".backbone." in name
        sources = (name, re.sub(r"^experts\.\d+\.", "experts.0.", name), re.sub(r"^gate\.", "experts.0.", name))
        source = next((stored.state[each] for each in sources if each in stored.state), None)
        if source is not None and source.shape == tensor.shape and (is_backbone or has_same_classes):
            state[name] = source
            num_heads += not is_backbone
        elif is_backbone:
            raise ConfigError(
                f"weights is a model with the backbone {stored.config.backbone}, which does not fit "
                f"{model.config.backbone} ({name}); use --backbone {stored.config.backbone}, or other weights"
            )
    model.load_state_dict(state)
    heads = f"{num_heads} tensors of heads and gate" if has_same_classes else "no heads, because the classes differ"
    return f"initial weights: the backbone of a trained mixture, and {heads}"
