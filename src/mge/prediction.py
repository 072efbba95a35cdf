"""What is said about one photo, by whatever runs the mixture. Imports no torch."""

import dataclasses
from pathlib import Path

from PIL import Image

Photo = str | Path | bytes | Image.Image
UNKNOWN = "unknown"  # the label of a photo that the mixture is not sure enough about


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a mixture says about one photo.

    Args:
        path: Where the photo came from; empty for a picture in memory.
        label: Name of the likeliest class, or `unknown` where the mixture is not sure enough of it; see `reason`.
        probability: The likeliest class's probability according to the mixture, from 0 to 1.
        probabilities: The probability of every class, in the order of `class_names`.
        class_names: Names of the classes.
        expert_labels: The class that each expert by itself holds for likeliest.
        gate_probs: How much each expert counted.
        boxes_xyxy: What each expert saw, in the photo's own pixels, end-exclusive.
        reason: Why the label is `unknown`; empty where it is a class.

    In a cascade, an expert that did not look at the photo is left out of the three before `reason`.
    """

    path: str
    label: str
    probability: float
    probabilities: tuple[float, ...]
    class_names: tuple[str, ...]
    expert_labels: tuple[str, ...]
    gate_probs: tuple[float, ...]
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]
    reason: str = ""

    @property
    def likeliest(self) -> str:
        """Name of the likeliest class, however sure the mixture is of it."""
        return self.top(1)[0][0]

    @property
    def num_experts_run(self) -> int:
        """How many experts looked at the photo."""
        return len(self.boxes_xyxy)

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k likeliest classes with their probabilities, likeliest first."""
        ranked = sorted(zip(self.class_names, self.probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[:k]


def reject(prediction: Prediction, *, threshold: float) -> Prediction:
    """The same prediction, labelled `unknown` where its probability does not reach the threshold."""
    if prediction.probability >= threshold:
        return prediction
    reason = (
        f"the likeliest class, {prediction.likeliest}, has {100 * prediction.probability:.1f} %, and at least "
        f"{100 * threshold:.1f} % is needed"
    )
    return dataclasses.replace(prediction, label=UNKNOWN, reason=reason)
