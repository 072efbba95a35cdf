"""The loss of a student that is distilled from a teacher."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def distillation_loss(
    logits: Float[Tensor, "B C"], teacher_logits: Float[Tensor, "B C"], targets: Float[Tensor, "B C"], *,
    temperature: float, teacher_weight: float,
) -> Float[Tensor, ""]:  # fmt: skip
    """Compute the distillation loss, averaged over the photos.

        L = (1 - w) * CE(targets, student) + w * T^2 * KL(softmax(teacher / T) || softmax(student / T))

    Dividing the logits by the temperature T reduces the gradient of the divergence by T^2; the factor compensates, so
    that the weight w means the same at each temperature.

    Args:
        logits: The student's logits.
        teacher_logits: The teacher's logits (or log-probabilities), which receive no gradient.
        targets: Soft targets of the cross-entropy; see `mge.core.losses.smooth_targets`.
        temperature: Temperature T. 1 leaves the probabilities unchanged; higher values give more weight to improbable
            classes.
        teacher_weight: Weight w, from 0 (targets only) to 1 (teacher only).

    Source: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2.
    """
    hard = functional.cross_entropy(logits.float(), targets)
    soft = functional.kl_div(
        functional.log_softmax(logits.float() / temperature, dim=1),
        functional.log_softmax(teacher_logits.detach().float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - teacher_weight) * hard + teacher_weight * temperature**2 * soft
