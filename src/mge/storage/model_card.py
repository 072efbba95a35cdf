"""The model card: README of a model folder, also shown on the Hugging Face Hub."""

from collections.abc import Mapping, Sequence
from typing import Any

from mge.config import ModelConfig
from mge.storage.fitted_parameters import read_least_probability, read_thresholds

NUM_LISTED = 200  # classes listed by name

# Metadata for the Hub: the library that loads the model, and its tags.
HEAD = """---
library_name: mge
pipeline_tag: image-classification
tags:
- image-classification
- fine-grained
"""


def write_card(config: ModelConfig, class_names: Sequence[str], metadata: Mapping[str, Any]) -> str:
    """Write the card of a model, as Markdown.

    Args:
        config: The architecture.
        class_names: Names of the classes.
        metadata: The other content of model.json.
    """
    sections = {
        "Usage": _usage(),
        "Accuracy": _figures(config, metadata),
        "Inference": _answers(config, metadata),
        f"Classes ({len(class_names)})": _classes(class_names),
        "Limitations": _limits(len(class_names), metadata),
        "Provenance": "\n".join(f"- {name}: {value}" for name, value in _provenance(metadata).items()),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items() if body)
    is_single = config.experts == 1  # a plain network, or a student
    tag = "" if is_single else "- mixture-of-experts\n"
    title = "Image classifier" if is_single else "Mixture of granularity-specific experts"
    return f"{HEAD}{tag}---\n\n# {title}\n\n{_summary(config, class_names)}\n\n{text}\n"


def _summary(config: ModelConfig, class_names: Sequence[str]) -> str:
    told = f"Classifies photos into {len(class_names)} classes. Trained with MGE:"
    if config.experts == 1:
        return f"{told} one network, backbone {config.backbone}, input size {config.size} px."
    return (
        f"{told} {config.experts} experts, backbone {config.backbone}, input size {config.size} px. Each expert after "
        "the first sees the region that its predecessor attended to, enlarged; a gate weights the experts."
    )


def _usage() -> str:
    return """```python
import mge

classifier = mge.load("FOLDER")  # this folder, or hf:owner/name
prediction = classifier.predict("photo.jpg")
print(prediction.label, prediction.probability, prediction.boxes_xyxy)
```

`mge predict FOLDER photo.jpg` does the same from the command line, and `mge export FOLDER` converts it to one ONNX
file that runs without PyTorch. The folder contains tensors and text only: no code is executed, and modified files are
rejected."""


def _figures(config: ModelConfig, metadata: Mapping[str, Any]) -> str:
    """Format the accuracies, by component, on the validation photos that selected this epoch, if recorded."""
    noted = _provenance(metadata)
    names = {"val_top1_mixture": "network" if config.experts == 1 else "mixture"}
    if config.experts > 1:
        names |= {
            name: f"expert {name.rpartition('expert')[2]}" for name in noted if name.startswith("val_top1_expert")
        }
    rows = [
        f"| {title} | {noted[name]:.1f} |" for name, title in names.items() if isinstance(noted.get(name), int | float)
    ]
    if not rows:
        return ""
    table = "\n".join(["| model | top-1 accuracy (%) |", "| --- | ---: |", *rows])
    return (
        f"{table}\n\nMeasured on the validation photos, which also selected the best epoch. Use `mge evaluate` for the "
        "test accuracy."
    )


def _answers(config: ModelConfig, metadata: Mapping[str, Any]) -> str:
    preprocessing = metadata.get("preprocessing", {})
    resize = "resized to a square" if preprocessing.get("resize") == "squash" else "resized by its shorter side"
    lines = [
        f"- Preprocessing: the photo is {resize} and center-cropped to {config.photo_side} x {config.photo_side} px; "
        "normalization is part of the network."
    ]
    if "calibration" in metadata:
        lines.append(
            f"- Probabilities are calibrated by temperature scaling (T = {metadata['calibration']['temperature']:.3g})."
        )
    least = read_least_probability(metadata)
    if least is not None:
        lines.append(f"- Photos with a top-1 probability below {100 * least:.1f} % are labelled `unknown`.")
    if read_thresholds(metadata) is not None:
        lines.append("- Early-exit thresholds are stored: later experts can be skipped when the first are confident.")
    return "\n".join(lines)


def _classes(class_names: Sequence[str]) -> str:
    rest = f", and {len(class_names) - NUM_LISTED} more" if len(class_names) > NUM_LISTED else ""
    return ", ".join(class_names[:NUM_LISTED]) + rest


def _limits(num_classes: int, metadata: Mapping[str, Any]) -> str:
    unknown = "" if "rejection" in metadata else " It cannot detect photos that show none of them."
    return (
        f"The model knows these {num_classes} classes only.{unknown} Its accuracy may drop on photos from other "
        "cameras, places or seasons: evaluate it on your own photos first."
    )


def _provenance(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    provenance: Mapping[str, Any] = metadata.get("provenance", {})
    return provenance
