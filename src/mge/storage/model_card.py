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
        "How to use it": _usage(),
        "How good it is": _figures(config, metadata),
        "How it answers": _answers(config, metadata),
        f"Its {len(class_names)} classes": _classes(class_names),
        "What to keep in mind": _limits(len(class_names), metadata),
        "Where it comes from": "\n".join(f"- {name}: {value}" for name, value in _provenance(metadata).items()),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items() if body)
    is_single = config.experts == 1  # a plain network, or a student
    tag = "" if is_single else "- mixture-of-experts\n"
    title = "A single network" if is_single else "A mixture of granularity-specific experts"
    return f"{HEAD}{tag}---\n\n# {title}\n\n{_summary(config, class_names)}\n\n{text}\n"


def _summary(config: ModelConfig, class_names: Sequence[str]) -> str:
    told = f"Tells {len(class_names)} classes apart in photos. Trained with MGE:"
    if config.experts == 1:
        return f"{told} one network, backbone {config.backbone}, which sees a photo at {config.size} px."
    return (
        f"{told} {config.experts} experts, backbone {config.backbone}, views of {config.size} px. Each expert after "
        "the first looks at the part of the photo that the one before it found telling, and a gate weighs their "
        "answers."
    )


def _usage() -> str:
    return """```python
import mge

classifier = mge.load("FOLDER")  # this folder, or hf:owner/name
prediction = classifier.predict("photo.jpg")
print(prediction.label, prediction.probability, prediction.boxes_xyxy)
```

`mge predict FOLDER photo.jpg` does the same from the command line, and `mge export FOLDER` makes one ONNX file of it
that runs without PyTorch. The folder holds numbers and text: nothing is executed, and a changed file is refused."""


def _figures(config: ModelConfig, metadata: Mapping[str, Any]) -> str:
    """Format the accuracies, by component, on the validation photos that selected this epoch, if recorded."""
    noted = _provenance(metadata)
    names = {"val_top1_mixture": "the network" if config.experts == 1 else "the mixture"}
    if config.experts > 1:
        names |= {
            name: f"expert {name.rpartition('expert')[2]} alone" for name in noted if name.startswith("val_top1_expert")
        }
    rows = [
        f"| {title} | {noted[name]:.1f} |" for name, title in names.items() if isinstance(noted.get(name), int | float)
    ]
    if not rows:
        return ""
    table = "\n".join(["| what answers | right, % |", "| --- | ---: |", *rows])
    return (
        f"{table}\n\nOn validation photos, which also chose the best epoch; `mge evaluate` measures it on test photos."
    )


def _answers(config: ModelConfig, metadata: Mapping[str, Any]) -> str:
    preprocessing = metadata.get("preprocessing", {})
    resize = "squashed to a square" if preprocessing.get("resize") == "squash" else "scaled by its shorter side"
    lines = [
        f"- A photo is {resize}, and its middle of {config.photo_side} x {config.photo_side} px is looked at; "
        "normalisation is the network's own."
    ]
    if "calibration" in metadata:
        lines.append(
            f"- Probabilities are calibrated: logits are divided by {metadata['calibration']['temperature']:.3g}."
        )
    least = read_least_probability(metadata)
    if least is not None:
        lines.append(f"- A photo whose likeliest class has less than {100 * least:.1f} % is called `unknown`.")
    if read_thresholds(metadata) is not None:
        lines.append(
            "- It has thresholds for a cascade, in which later experts look only where the first are not sure."
        )
    return "\n".join(lines)


def _classes(class_names: Sequence[str]) -> str:
    rest = f", and {len(class_names) - NUM_LISTED} more" if len(class_names) > NUM_LISTED else ""
    return ", ".join(class_names[:NUM_LISTED]) + rest


def _limits(num_classes: int, metadata: Mapping[str, Any]) -> str:
    unknown = "" if "rejection" in metadata else " It has no way to say that a photo shows none of them."
    return (
        f"It knows its {num_classes} classes and nothing else.{unknown} It is as good as the photos that it learned "
        "from: on other cameras, places or seasons, measure it first on photos of your own."
    )


def _provenance(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    provenance: Mapping[str, Any] = metadata.get("provenance", {})
    return provenance
