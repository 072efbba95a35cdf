"""Export of each expert's network for timm: what other programs fine-tune, or take features from."""

import json
from pathlib import Path
from typing import cast

from mge.inference.classifier import Classifier
from mge.models.expert import Expert
from mge.models.timm_folder import ViewInput, write_timm_folder
from mge.storage.export_description import DESCRIPTION
from mge.storage.files import write_folder_atomically


def export_timm(classifier: Classifier, folder: Path) -> str:
    """Write a folder `expert_N` for each network of a mixture; experts that share one are one folder.

    Args:
        classifier: The mixture, on the CPU.
        folder: Folder of the export; an existing export is replaced.

    Returns:
        The name of the networks in timm.

    Raises:
        ConfigError: timm's network has other layers than the model.
        ExportError: timm's network has other features or logits than the expert; nothing is written.
        StorageError: the disk is full, or the folder cannot be written to.
    """
    model, data = classifier.model, classifier.data
    config = model.config
    interpolation = "bicubic" if data.interpolation == "bicubic" else "bilinear"
    mean, std = (tuple(round(value, 6) for value in each.flatten().tolist()) for each in (model.mean, model.std))
    given = ViewInput(config.size, mean, std, interpolation, data.crop_fraction)

    def fill(unfinished: Path) -> str:
        for number, expert in enumerate(model.experts):
            name = write_timm_folder(
                cast(Expert, expert), unfinished / f"expert_{number}", class_names=classifier.class_names, given=given,
                fixed_side=model.view_size, output_stride=config.output_stride,
            )  # fmt: skip
        described = {
            "graph": "timm", "network": name, "shared": config.share_experts, "view": given._asdict(),
            "class_names": list(classifier.class_names),
        }  # fmt: skip
        (unfinished / DESCRIPTION).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")
        return name

    return write_folder_atomically(folder, fill)
