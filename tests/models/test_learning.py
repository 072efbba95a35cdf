"""The whole method learns something."""

import torch

from mge.core.losses import classification_loss, expert_loss, mix_experts
from mge.models.mixture import MixtureOfExperts
from tests.models.networks import SIZE, build

CLASSES = 4
STEPS = 30


def spotted_photos() -> tuple[torch.Tensor, torch.Tensor]:
    """16 photos with a disc each, somewhere; its colour and the stripe through it make the class."""
    torch.manual_seed(5)
    labels = torch.arange(16) % CLASSES
    photos = 0.3 * torch.randn(16, 3, SIZE, SIZE)
    for photo, label in zip(photos, labels.tolist(), strict=True):
        x, y = torch.randint(8, SIZE - 24, (2,)).tolist()
        photo[label % 2, y : y + 16, x : x + 16] += 2
        if label > 1:
            photo[:, y + 6 : y + 10, x : x + 16] -= 3
    return photos, labels


def accuracies(net: MixtureOfExperts, photos: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Of each expert's joint head, and of the mixture; with batch statistics, as it was trained."""
    with torch.no_grad():
        output = net(photos)
    answers = [*output.joint_logits.unbind(1), output.logits]
    return [float((answer.argmax(1) == labels).float().mean()) for answer in answers]


def test_a_tiny_mixture_learns_16_photos_by_heart() -> None:
    net = build(num_experts=2, num_classes=CLASSES, gate="shared", mix="probs").train()
    photos, labels = spotted_photos()
    before = accuracies(net, photos, labels)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        answers: list[torch.Tensor] = []
        for expert_pass in net.run_experts(photos, labels):
            terms = expert_loss(expert_pass.output, answers[-1] if answers else None, labels)
            terms.total(diversity_weight=1.0).backward()
            answers.append(expert_pass.output.joint_logits.detach())
            if len(answers) == 1:
                first_view, first_features = expert_pass.view, expert_pass.output.large_features.detach()
        mixed = mix_experts(torch.stack(answers, dim=1), net.weigh(first_view, first_features), mix="probs")
        loss = classification_loss(mixed, labels)
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    assert max(before) < 0.7
    assert losses[-1] < 0.2 * losses[0]
    assert accuracies(net, photos, labels) == [1.0, 1.0, 1.0]
