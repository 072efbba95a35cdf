"""The loss of a student that is distilled from a teacher."""

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
    """Compute the distillation loss, averaged over the photos.

        L = (1 - w) * CE(labels, student) + w * T^2 * KL(softmax(teacher / T) || softmax(student / T))

    Dividing the logits by the temperature T reduces the gradient of the divergence by T^2; the factor compensates, so
    that the weight w means the same at each temperature.

    Args:
        logits: The student's logits.
        teacher_logits: The teacher's logits (or log-probabilities), which receive no gradient.
        labels: True classes.
        temperature: Temperature T. 1 leaves the probabilities unchanged; higher values give more weight to improbable
            classes.
        teacher_weight: Weight w, from 0 (labels only) to 1 (teacher only).
        label_smoothing: Probability mass that the cross-entropy gives to the wrong classes.
        blend: The second photo in each image, for the cross-entropy; the teacher has seen it too.
        class_weights: Weight of each class in the cross-entropy.

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
