"""What a student learns from its teacher."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mge.core.losses import Blend, classification_loss


def distillation_loss(
    logits: Float[Tensor, "B C"],
    teacher_logits: Float[Tensor, "B C"],
    labels: Int[Tensor, " B"],
    *,
    temperature: float,
    teacher_weight: float,
    label_smoothing: float = 0.0,
    blend: Blend | None = None,
    class_weights: Float[Tensor, " C"] | None = None,
) -> Float[Tensor, ""]:
    """`(1 - w) * CE(labels, student) + w * T² * KL(teacher || student)`, the mean over the photos.

    Both distributions of the divergence are softened: logits are divided by the temperature T. That makes its gradient
    smaller by T², which the factor puts right, so that the weight w means the same at each temperature.

    Args:
        logits: The student's.
        teacher_logits: The teacher's (or log-probabilities), which receive no gradient.
        labels: True classes.
        temperature: T. 1 takes the probabilities as they are; the higher, the more the unlikely classes count.
        teacher_weight: w, from 0 (the labels alone) to 1 (the teacher alone).
        label_smoothing: Probability mass that the cross-entropy gives to the wrong classes.
        blend: The second photo in each picture, for the cross-entropy; the teacher has seen it too.
        class_weights: By how much a photo of each class counts in the cross-entropy.

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    hard = classification_loss(
        logits, labels, label_smoothing=label_smoothing, blend=blend, class_weights=class_weights
    )
    soft = functional.kl_div(
        functional.log_softmax(logits.float() / temperature, dim=1),
        functional.log_softmax(teacher_logits.detach().float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - teacher_weight) * hard + teacher_weight * temperature**2 * soft
