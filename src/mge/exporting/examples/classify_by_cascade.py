"""Classification of photos with early exit: python classify_by_cascade.py photo.jpg ...

Needs numpy, Pillow and onnxruntime, and shows how the graphs of a cascade are chained.
"""

import json
import sys
from pathlib import Path

import numpy
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent
description = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))
side, resized_side = description["input"]["side"], description["input"]["resized_side"]
num_experts, mix = description["architecture"]["experts"], description["architecture"]["mix"]
thresholds = [*description.get("cascade", {}).get("leads", [2.0] * (num_experts - 1)), 0.0]
temperature = description.get("calibration", {}).get("temperature", 1.0)
graphs = {file.stem: onnxruntime.InferenceSession(str(file)) for file in HERE.glob("*.onnx")}


def ask(graph: str, known: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Run a graph on its inputs by name: `images`, or `former_` and the name of a previous output."""
    session = graphs[graph]
    wanted = {value.name: known[value.name.removeprefix("former_")] for value in session.get_inputs()}
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, wanted), strict=True))


def softmax(logits: numpy.ndarray) -> numpy.ndarray:
    """Return the softmax over the last axis."""
    powers = numpy.exp(logits - logits.max(-1, keepdims=True))
    return numpy.asarray(powers / powers.sum(-1, keepdims=True))


for file in sys.argv[1:]:
    photo = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    lengths = (1, 1) if description["input"]["resize"] == "squash" else photo.size
    width, height = (max(resized_side, round(resized_side * length / min(lengths))) for length in lengths)
    photo = photo.resize((width, height), Image.Resampling[description["input"]["interpolation"].upper()])
    left, top = (width - side) // 2, (height - side) // 2
    crop = numpy.asarray(photo.crop((left, top, left + side, top + side)), dtype=numpy.uint8)
    known, said, gate = {"images": crop.transpose(2, 0, 1)[None]}, [], numpy.ones(1)
    for number, threshold in enumerate(thresholds):
        known |= ask(f"expert_{number}", known)  # the outputs include the boxes that the next expert zooms into
        said.append(known["joint_logits"][0])
        weights = gate[: number + 1, None] / gate[: number + 1].sum()
        answers = numpy.stack(said)
        logits = (weights * answers).sum(0) if mix == "logits" else numpy.log((weights * softmax(answers)).sum(0))
        second, first = numpy.partition(logits, -2)[-2:]
        if 1 / (1 + numpy.exp(second - first)) >= threshold:  # top-2 margin
            break
        gate = ask("gate", known)["gate_probs"][0] if number == 0 else gate
    best, probabilities = int(logits.argmax()), softmax(logits / temperature)
    label = f"{description['class_names'][best]} {100 * probabilities[best]:.1f} %"
    sys.stdout.write(f"{file}: {label}, after {len(said)} of {num_experts} experts\n")
