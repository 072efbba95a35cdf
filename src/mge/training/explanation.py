"""A mixture's output turned into what the pictures show."""

import numpy as np
import torch
from torch import Tensor

from mge.classifier import Classifier
from mge.core.outputs import MixtureOutput
from mge.data.dataset import PhotoDataset
from mge.report.figures import ExpertView, Explanation


@torch.inference_mode()
def explain_photos(classifier: Classifier, photos: PhotoDataset, *, indices: list[int]) -> list[Explanation]:
    """What the experts saw in some photos of a data set, in pixels of the crop that the network was given."""
    samples = [photos[0, index] for index in indices]
    images = torch.stack([sample.image for sample in samples])
    device = next(classifier.model.parameters()).device
    output = MixtureOutput(*(tensor.float().cpu() for tensor in classifier.model(images.to(device))))
    return [
        _explanation(images[row], output, row=row, names=classifier.class_names, true_label=int(sample.label))
        for row, sample in enumerate(samples)
    ]


def _explanation(
    image: Tensor, output: MixtureOutput, *, row: int, names: tuple[str, ...], true_label: int
) -> Explanation:
    probabilities = output.logits[row].softmax(0)
    expert_probs = output.joint_logits[row].softmax(1)
    views = []
    for expert, (box, attention) in enumerate(zip(output.boxes_xyxy[row], output.attention[row], strict=True)):
        x1, y1, x2, y2 = box.tolist()
        best = int(expert_probs[expert].argmax())
        views.append(
            ExpertView(
                attention.numpy(), (x1, y1, x2, y2), names[best], float(expert_probs[expert, best]),
                float(output.gate_probs[row, expert]),
            )
        )  # fmt: skip
    best = int(probabilities.argmax())
    picture = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return Explanation(picture, views, names[best], float(probabilities[best]), names[true_label])
