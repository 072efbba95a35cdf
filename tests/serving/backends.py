"""A pretended mixture, whose answers can be worked out by hand."""

import dataclasses
import threading
import time

import numpy as np
from PIL import Image

from mge.data.photo import open_photo
from mge.inference.prediction import Answer, Photo, Prediction

CLASSES = ("blue", "green", "red")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A photo's mean colour and its size."""

    color: tuple[float, float, float]
    size: tuple[int, int]


def expected(photo: Photo) -> tuple[float, ...]:
    """What the pretended mixture is to say of a photo: its mean colour's shares of blue, green and red."""
    mean = np.asarray(open_photo(photo), dtype=np.float64).mean((0, 1)) + 1
    return tuple((mean / mean.sum())[::-1].tolist())


class Colors:
    """Says of a photo how blue, green and red it is; two experts, of which the second looks at the right half.

    Args:
        seconds: For which a batch lasts.
        poison: A photo whose first channel is above this makes its whole batch fail.
    """

    class_names = CLASSES
    side = 32

    def __init__(self, *, seconds: float = 0.0, poison: float = 1000.0) -> None:
        self.seconds, self.poison = seconds, poison
        self.batches: list[int] = []
        self.gate = threading.Event()  # nobody is answered while it is not set
        self.gate.set()

    def prepare(self, photo: Photo) -> Prepared:
        """A photo's mean colour."""
        image = photo if isinstance(photo, Image.Image) else open_photo(photo)
        red, green, blue = np.asarray(image, dtype=np.float64).mean((0, 1)).tolist()
        return Prepared((red, green, blue), image.size)

    def answer(self, prepared: list[Prepared]) -> list[Answer]:
        """One answer a photo; all fail where one is poisoned."""
        self.batches.append(len(prepared))
        time.sleep(self.seconds)
        self.gate.wait(30)
        if any(photo.color[0] > self.poison for photo in prepared):
            raise RuntimeError("a poisoned photo")
        return [self._answer_one(photo) for photo in prepared]

    def _answer_one(self, photo: Prepared) -> Answer:
        shares = np.array(photo.color) + 1
        probabilities = tuple((shares / shares.sum())[::-1].tolist())
        best = int(np.argmax(probabilities))
        width, height = map(float, photo.size)
        prediction = Prediction(
            path="", label=CLASSES[best], probability=probabilities[best], probabilities=probabilities,
            class_names=CLASSES, expert_labels=(CLASSES[best], "red"), gate_probs=(0.75, 0.25),
            boxes_xyxy=((0.0, 0.0, width, height), (width / 2, 0.0, width, height)),
        )  # fmt: skip
        attention = np.zeros((2, 4, 4), np.float32)
        attention[0, 1, 2] = attention[1, 3, 0] = 1
        return Answer(prediction, attention)
