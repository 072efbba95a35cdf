import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning_fabric import Fabric
from torch import nn
from torch.nn import functional

import mge
from mge.config import DistillConfig, TrainConfig
from mge.core.crop import zoom
from mge.core.losses import smooth_targets
from mge.data.loader import Batch
from mge.data.records import PhotoSet
from mge.errors import ConfigError, DataError, Interrupted, ModelFolderError
from mge.models.mixture import MixtureOfExperts, create_model
from mge.storage.photo_record import PHOTOS, read_known_photos
from mge.storage.run_folder import Run
from mge.training.distillation import StudentStep, keep_statistics, match_classes, student_settings, teacher_forward
from mge.training.distillation_loss import distillation_loss
from mge.training.step import wrap
from tests.photos import write_class_folders, write_photo
from tests.targets import one_hot
from tests.tiny import TINY, digest

OPTIONS = {
    **TINY, "schedule": "joint", "epochs": 3, "backbone_lr": 3e-3, "head_lr": 3e-3, "jitter": 0.2, "workers": 0,
    "normalization": "imagenet",
}  # fmt: skip


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return mge.train(photos, out=tmp_path_factory.mktemp("runs") / "colours", baseline="same_view", **OPTIONS)


@pytest.fixture(scope="module")
def student(teacher: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A student that nobody stopped."""
    return mge.distill(teacher.folder, out=tmp_path_factory.mktemp("students") / "whole", epochs=4, ema=0.5)


# ----------------------------------------------------------------------------------------------------------------- step
@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def make_model(*, experts: int, part_filters: int) -> MixtureOfExperts:
    torch.manual_seed(experts)
    return create_model("test_resnet", num_classes=3, experts=experts, part_filters=part_filters, pretrained=False)


def make_batch() -> Batch:
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    return Batch(images, torch.tensor([0, 1, 2, 0]), torch.arange(4))


def lesson_config(**options: float) -> DistillConfig:
    return DistillConfig("teacher", "", **options)


def test_a_lesson_is_the_mixtures_answer_in_the_students_order_and_what_each_expert_saw() -> None:
    mixture, batch = make_model(experts=3, part_filters=2).eval(), make_batch()
    lesson = teacher_forward(mixture, batch.images, class_order=torch.tensor([2, 0, 1]))
    output = mixture(batch.images)
    assert lesson.logits.equal(output.logits[:, [2, 0, 1]])
    assert not lesson.logits.requires_grad
    pictures = mixture.normalize(batch.images)
    assert lesson.views[0].equal(pictures)
    for number in (1, 2):
        expected = zoom(pictures, output.boxes_xyxy[:, number], size=(64, 64))
        torch.testing.assert_close(lesson.views[number], expected)


@pytest.mark.parametrize("part_filters", [0, 2])
def test_gradients_equal_those_of_one_backward_on_the_weighted_sum(fabric: Fabric, part_filters: int) -> None:
    mixture, batch = make_model(experts=3, part_filters=2).eval(), make_batch()
    model, twin = (make_model(experts=1, part_filters=part_filters) for _ in range(2))
    order = torch.arange(3)
    step = StudentStep(mixture, order, lesson_config(temperature=2.0, teacher_weight=0.7, zoomed_weight=0.5))
    config, targets = TrainConfig(label_smoothing=0.1, accumulate=2), one_hot(batch.labels, 3)
    measured = step(fabric, wrap(fabric, model), batch, targets, config=config)

    lesson, views = teacher_forward(mixture, batch.images, class_order=order)
    total = torch.zeros(())
    for weight, view in zip((1.0, 0.25, 0.25), views, strict=True):
        output = twin.experts[0](view)
        heads = (output.large_logits, output.part_logits, output.joint_logits) if part_filters else output[:1]
        for logits in heads:
            smoothed = smooth_targets(targets, 0.1)
            loss = distillation_loss(logits, lesson, smoothed, temperature=2.0, teacher_weight=0.7)
            total = total + weight * loss
    (total / 2).backward()
    assert measured.losses[0].item() == pytest.approx(total.item(), rel=1e-5)
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert other.grad is not None, name
        assert torch.allclose(parameter.grad, other.grad, rtol=1e-4, atol=1e-5), name
    assert all(parameter.grad is None for parameter in mixture.parameters())


def test_the_figures_of_a_step_are_those_of_the_whole_photo(fabric: Fabric) -> None:
    mixture, model, batch = (
        make_model(experts=2, part_filters=2).eval(),
        make_model(experts=1, part_filters=0),
        make_batch(),
    )
    logits = model(batch.images).logits
    step = StudentStep(mixture, torch.arange(3), lesson_config())
    measured = step(fabric, wrap(fabric, model), batch, one_hot(batch.labels, 3), config=TrainConfig())
    hits = (logits.argmax(1) == batch.labels).sum().item()
    assert measured.hits.tolist() == [hits, hits]
    assert measured.losses[1].item() == pytest.approx(functional.cross_entropy(logits, batch.labels).item(), rel=1e-5)


def test_batch_norms_note_whole_photos_only(fabric: Fabric) -> None:
    mixture, batch = make_model(experts=3, part_filters=2).eval(), make_batch()
    model, twin = (make_model(experts=1, part_filters=0) for _ in range(2))
    StudentStep(mixture, torch.arange(3), lesson_config())(
        fabric, wrap(fabric, model), batch, one_hot(batch.labels, 3), config=TrainConfig()
    )
    twin.experts[0](twin.normalize(batch.images))
    for (name, buffer), other in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert name.endswith("num_batches_tracked") or buffer.equal(other), name


def test_statistics_are_noted_again_after_they_were_kept() -> None:
    norm = nn.BatchNorm2d(3)
    mean = norm.running_mean
    assert mean is not None
    with keep_statistics(norm):
        norm(torch.randn(4, 3, 5, 5) + 9)
    assert mean.abs().max() == 0
    with pytest.raises(ValueError, match="expected 4D"), keep_statistics(norm):
        norm(torch.randn(3))
    norm(torch.randn(4, 3, 5, 5) + 9)
    assert mean.min() > 0.5


# ------------------------------------------------------------------------------------------------------------------ run
def test_a_student_learns_what_its_teacher_knows(student: Run, teacher: Run) -> None:
    summary = student.summary()
    known = teacher.summary()
    assert summary["student_top1"] == summary["mixture_top1"] == 100
    assert summary["teacher_top1"] == known["mixture_top1"]
    assert summary["plain_top1"] == known["plain_top1"]
    assert "plain_equal_compute_top1" not in summary


def test_a_student_is_one_plain_network_of_the_teachers_view(student: Run, teacher: Run) -> None:
    model, mixture = mge.load(student.folder).model, mge.load(teacher.folder).model
    assert len(model.experts) == 1
    assert model.gate is None
    assert {name.split(".")[2] for name, _ in model.named_parameters()} == {"backbone", "large_head"}
    assert (model.config.size, model.config.zoom_resolution) == (mixture.config.size, mixture.config.zoom_resolution)


def test_the_configuration_names_the_teacher_and_its_checksum(student: Run, teacher: Run) -> None:
    settings = yaml.safe_load((student.folder / "config.yaml").read_text())
    assert settings["teacher"] == str(teacher.folder)
    assert settings["teacher_sha256"] == digest(teacher.best)
    same = ("data", "seed", "batch_size", "optimizer", "backbone_lr", "head_lr", "jitter", "size")
    assert {name: settings[name] for name in same} == {name: teacher.config()[name] for name in same}


def test_a_students_run_is_evaluated_and_asked_like_any_other(student: Run, photos: Path) -> None:
    assert mge.evaluate(student.folder)["mixture_top1"] == student.summary()["student_top1"]
    assert mge.load(student.folder).predict(photos / "lime" / "0.png").label == "lime"


def test_it_passes_the_photos_as_often_as_all_stages_of_the_teacher(teacher: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher.folder, tmp_path / "teacher"))
    (folder / "config.yaml").write_text(yaml.safe_dump({**teacher.config(), "schedule": "progressive"}))
    settings = student_settings(folder, changes={}, lesson={})
    assert settings["epochs"] == 2 * teacher.config()["epochs"]
    assert settings["schedule"] == "joint"


def test_weights_of_the_teachers_backbone_are_not_those_of_another(teacher: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher.folder, tmp_path / "teacher"))
    (folder / "config.yaml").write_text(yaml.safe_dump({**teacher.config(), "weights": "resnet.pth"}))
    assert student_settings(folder, changes={}, lesson={})["weights"] == "resnet.pth"
    assert student_settings(folder, changes={"backbone": "test_vit"}, lesson={})["weights"] is None


def test_a_student_may_have_parts_and_another_backbone_and_see_whole_photos_only(teacher: Run, tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": "test_vit", "part_filters": 1, "zoomed_weight": 0.0, "epochs": 1}
    config = mge.load(mge.distill(teacher.folder, out=tmp_path / "student", **options).folder).model.config
    assert (config.backbone, config.part_filters, config.experts) == ("test_vit", 1, 1)


def test_a_stopped_student_goes_on_and_ends_in_the_same_bits(
    student: Run, teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = StudentStep.__call__, iter(range(1, 1000))

    def step(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        if next(count) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(StudentStep, "__call__", step)
        with pytest.raises(Interrupted, match="mge train --resume"):
            mge.distill(teacher.folder, out=tmp_path / "stopped", epochs=4, ema=0.5)
    resumed = mge.train(resume=tmp_path / "stopped")
    assert digest(resumed.last) == digest(student.last)
    assert resumed.summary() == student.summary()


def test_a_finished_student_needs_its_teacher_no_more(student: Run, teacher: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(student.folder, tmp_path / "student"))
    settings = {**student.config(), "teacher": str(tmp_path / "gone")}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    assert mge.train(resume=folder).summary() == student.summary()


def test_a_student_lies_beside_other_runs_by_its_teachers_name(
    teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = mge.distill(teacher.folder, epochs=1)
    assert run.folder == Path("runs/colours-student")
    out = capsys.readouterr().out
    assert "teacher (whole mixture)" in out
    assert "Next: mge predict runs/colours-student photo.jpg" in out


# --------------------------------------------------------------------------------------------------------------- errors
def test_a_network_of_one_expert_is_no_teacher(student: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 1 expert.*give the run of a mixture"):
        mge.distill(student.folder, out=tmp_path / "student")
    with pytest.raises(ModelFolderError, match="not a run folder"):
        mge.distill(student.best, out=tmp_path / "student")


def test_a_teacher_has_to_be_done(teacher: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(teacher.folder, tmp_path / "teacher"))
    (folder / "summary.json").unlink()
    with pytest.raises(ConfigError, match="is not finished; resume it with: mge train --resume"):
        mge.distill(folder, out=tmp_path / "student")


def test_a_student_does_not_go_on_with_another_teacher(teacher: Run, student: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(student.folder, tmp_path / "student"))
    (folder / "summary.json").unlink()
    (folder / "config.yaml").write_text(yaml.safe_dump({**student.config(), "teacher_sha256": "0" * 64}))
    with pytest.raises(ConfigError, match=r"other weights \(SHA-256 .* began \(000000000000"):
        mge.train(resume=folder)


def test_data_with_other_classes_is_refused_by_their_names(teacher: Run, tmp_path: Path) -> None:
    data = write_class_folders(tmp_path / "more")
    for number in range(3):
        write_photo(data / "pear" / f"{number}.png", (180, 200, 60), seed=number)
    with pytest.raises(DataError, match="has a class 'pear' that the teacher does not have"):
        mge.distill(teacher.folder, data, out=tmp_path / "student")
    shutil.rmtree(data / "pear")
    shutil.rmtree(data / "lime")
    with pytest.raises(DataError, match="has no class 'lime', which the teacher has"):
        mge.distill(teacher.folder, data, out=tmp_path / "student")
    assert not (tmp_path / "student").exists()


def test_classes_are_matched_by_name() -> None:
    photos = PhotoSet("some", "folder", ("plum", "apple", "lime"), ())
    assert match_classes(photos, ("apple", "lime", "plum")) == [2, 0, 1]


def test_a_student_is_not_tested_on_what_its_teacher_was_trained_on(teacher: Run, tmp_path: Path) -> None:
    run = mge.distill(teacher.folder, out=tmp_path / "other-seed", seed=1, epochs=1)
    known, of_teacher = read_known_photos(run.folder), read_known_photos(teacher.folder)
    assert known == of_teacher  # in its splits, whatever the seed says
    previous = shutil.copytree(teacher.folder, tmp_path / "former")
    (previous / PHOTOS).unlink()  # as of a version that kept no record
    with pytest.raises(ConfigError, match=r"training photos of the teacher \(seed 0\), such as .*leave out --seed"):
        mge.distill(previous, out=tmp_path / "student", seed=1)
    data = write_class_folders(tmp_path / "split", per_class=4, splits=("train", "test"))
    with pytest.raises(ConfigError, match=r"tested on training photos of its teacher, such as .*/test/"):
        mge.distill(teacher.folder, data, out=tmp_path / "student", seed=1)  # the same files under other names
    data = write_class_folders(tmp_path / "unseen", per_class=4, splits=("train", "test"), seed=50)
    run = mge.distill(teacher.folder, data, out=tmp_path / "student", seed=1, epochs=1)
    assert run.config()["seed"] == 1


def test_wrong_weights_are_refused(teacher: Run, tmp_path: Path) -> None:
    for name, value in (("temperature", 0.0), ("teacher_weight", 1.5), ("zoomed_weight", -1.0)):
        wrong: dict[str, Any] = {name: value}
        with pytest.raises(ConfigError, match=f"{name} is {value}; accepted"):
            mge.distill(teacher.folder, out=tmp_path / "student", **wrong)
