import pytest
import torch
from lightning_fabric import Fabric
from torch.nn import functional

from mge.config import TrainConfig
from mge.core.losses import diversity_paper
from mge.data.loader import Batch
from mge.models.mixture import MixtureOfExperts, create_model
from mge.training.step import train_step, wrap
from mge.training.train_state import RunningMetrics
from tests.targets import one_hot


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def make_batch(count: int = 4, side: int = 64) -> Batch:
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    return Batch(images, torch.arange(count) % 3, torch.arange(count))


def targets_of(batch: Batch) -> torch.Tensor:
    return one_hot(batch.labels, 3)


def make_model(**options: object) -> MixtureOfExperts:
    torch.manual_seed(1)
    return create_model("test_resnet", num_classes=3, experts=3, pretrained=False, **options)  # type: ignore[arg-type]


def test_gradients_equal_those_of_one_backward_on_the_sum_of_all_terms(fabric: Fabric) -> None:
    batch, config = make_batch(), TrainConfig(label_smoothing=0.1, diversity_weight=0.5, train_cam_class="label")
    model, twin = make_model(), make_model()
    measured = train_step(fabric, wrap(fabric, model), batch, targets_of(batch), config=config)

    output = twin(batch.images, batch.labels)
    total = functional.cross_entropy(output.logits, batch.labels)
    for logits in (output.large_logits, output.part_logits, output.joint_logits):
        for expert in range(3):
            total = total + functional.cross_entropy(logits[:, expert], batch.labels, label_smoothing=0.1)
    joint = output.joint_logits
    for expert in (1, 2):
        total = total + 0.5 * diversity_paper(joint[:, expert], joint[:, expert - 1].detach(), targets_of(batch))
    # The mixture's loss trains the gate alone.
    mixture = (output.gate_probs.unsqueeze(2) * joint.detach()).sum(1)
    total = (
        total - functional.cross_entropy(output.logits, batch.labels) + functional.cross_entropy(mixture, batch.labels)
    )
    total.backward()

    assert measured.losses.sum().item() == pytest.approx(total.item(), rel=1e-5)
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert other.grad is not None, name
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-4, atol=1e-5), name


def test_accumulated_steps_add_up_to_their_mean(fabric: Fabric) -> None:
    batch = make_batch()
    once, twice = make_model().eval(), make_model().eval()
    train_step(fabric, wrap(fabric, once), batch, targets_of(batch), config=TrainConfig())
    for _ in range(2):
        train_step(fabric, wrap(fabric, twice), batch, targets_of(batch), config=TrainConfig(accumulate=2))
    for parameter, other in zip(once.parameters(), twice.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_a_plain_network_has_one_term(fabric: Fabric) -> None:
    torch.manual_seed(1)
    model = create_model("test_resnet", num_classes=3, experts=1, part_filters=0, pretrained=False)
    batch = make_batch()
    measured = train_step(fabric, wrap(fabric, model), batch, targets_of(batch), config=TrainConfig())
    expected = functional.cross_entropy(model(batch.images).logits, batch.labels)
    assert measured.losses[0].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_tally_is_exact_for_uneven_batches(fabric: Fabric) -> None:
    model, tally = make_model().eval(), RunningMetrics()
    network = wrap(fabric, model)
    whole = make_batch(5)
    expected = train_step(fabric, network, whole, targets_of(whole), config=TrainConfig())
    for part in (slice(0, 4), slice(4, 5)):
        batch = Batch(*(column[part] for column in whole))
        tally.add(
            train_step(fabric, network, batch, targets_of(batch), config=TrainConfig()), num_photos=len(batch.labels)
        )
    figures = tally.figures()
    assert figures["train_loss_expert0"] == pytest.approx(expected.losses[0].item(), abs=1e-4)
    assert figures["train_top1_mixture"] == pytest.approx(100 * expected.hits[3].item() / 5, abs=0.01)
    assert figures["diversity_expert1"] == pytest.approx(expected.diversity[1].item(), abs=1e-4)


def test_blended_photos_and_class_weights_count_in_every_classification_term(fabric: Fabric) -> None:
    batch, config = make_batch(), TrainConfig(label_smoothing=0.1, diversity_weight=0.5, train_cam_class="label")
    weights, others = torch.tensor([0.5, 2.0, 1.5]), batch.labels.roll(1)
    targets = weights * (0.7 * one_hot(batch.labels, 3) + 0.3 * one_hot(others, 3))
    model, twin = make_model(), make_model()
    measured = train_step(fabric, wrap(fabric, model), batch, targets, config=config)

    def naive(logits: torch.Tensor, *, smoothing: float) -> torch.Tensor:
        total = torch.zeros(())
        for row, own, other in zip(logits, batch.labels, others, strict=True):
            log_probs = row.log_softmax(0)
            for label, share in ((own, 0.7), (other, 0.3)):
                smoothed = (1 - smoothing) * log_probs[label] + smoothing * log_probs.mean()
                total = total - share * weights[label] * smoothed / len(logits)
        return total

    output = twin(batch.images, batch.labels)
    joint = output.joint_logits
    total = naive((output.gate_probs.unsqueeze(2) * joint.detach()).sum(1), smoothing=0)
    for expert in range(3):
        for logits in (output.large_logits, output.part_logits, joint):
            total = total + naive(logits[:, expert], smoothing=0.1)
        if expert:
            term = diversity_paper(joint[:, expert], joint[:, expert - 1].detach(), targets)
            total = total + 0.5 * term
    total.backward()

    assert measured.losses.sum().item() == pytest.approx(total.item(), rel=1e-5)
    assert measured.hits[3] == (output.logits.argmax(1) == batch.labels).sum()
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert other.grad is not None, name
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-4, atol=1e-5), name


def test_a_gate_that_does_not_learn_yet_has_no_gradient_and_the_experts_have_theirs(fabric: Fabric) -> None:
    model = make_model(gate="own")
    network = wrap(fabric, model)._replace(gate_learns=False)
    batch = make_batch()
    measured = train_step(fabric, network, batch, targets_of(batch), config=TrainConfig())
    assert model.gate is not None
    assert all(parameter.grad is None for parameter in model.gate.parameters())
    assert all(parameter.grad is not None for parameter in model.experts.parameters())
    assert torch.isfinite(measured.losses).all()
