"""A whole run: photos in, a folder with a trained and measured mixture out."""

import dataclasses
import functools
import itertools
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from mge.classifier import Classifier
from mge.config import DataConfig, DistillConfig, ModelConfig, TrainConfig, split_options, take_distillation
from mge.data.batches import num_workers
from mge.data.broken import Broken
from mge.data.dataset import PhotoDataset
from mge.data.records import PhotoSet, Split
from mge.data.sources import read_photos
from mge.errors import DataError, MgeError, ModelFolderError, StorageError
from mge.models.backbone import synchronise_batch_norm
from mge.models.mixture import DENSE_UP_TO, MixtureOfExperts
from mge.report.figures import draw_experts
from mge.report.tables import PICTURE, print_notes, print_summary
from mge.storage.model_folder import StoredModel, load_model, save_model
from mge.storage.run_folder import NAMED, Run, open_run
from mge.training.baselines import Plan, plan_baselines
from mge.training.calibration import count_classes
from mge.training.cascade import MAX_ACCURACY_LOSS
from mge.training.choices import Choices, choose, measure_chosen, store_choices
from mge.training.devices import build_fabric, check_shares, synchronises_batch_norm
from mge.training.display import Display, announce
from mge.training.distillation import StudentStep, check_held_out, match_classes, open_teacher
from mge.training.explanation import explain_photos
from mge.training.gate_trust import TrustLosses, choose_trust, try_trusts, with_trust
from mge.training.loop import Training
from mge.training.measure import Answers, Keep, measure, run_over, summarise
from mge.training.memory import explain_memory, find_batch_size
from mge.training.origin import check_settings, keep_or_check
from mge.training.skipping import skip_broken
from mge.training.step import Step

NUM_DRAWN = 8  # photos in the picture of what each expert saw
PREPROCESSING = ("resize", "crop_fraction")  # the options of DataConfig that a stored model needs


@dataclasses.dataclass(frozen=True)
class Session:
    """What all networks of a run have in common: the photos, the way of learning, the devices."""

    fabric: Fabric
    photos: PhotoSet
    data: DataConfig
    config: TrainConfig
    broken: tuple[Broken, ...] = ()  # left out of the photos

    def dataset(self, split: Split, *, model: ModelConfig, is_training: bool = False) -> PhotoDataset | None:
        """One split as a network of this configuration wants it; None where the split is empty."""
        records = self.photos.split(split)
        if not records:
            return None
        side = round(model.size * model.detail)
        names = self.photos.class_names
        return PhotoDataset(records, names, side=side, config=self.data, train=is_training, seed=self.config.seed)

    def train(self, model_config: ModelConfig, *, run: Run, title: str, step: Step | None = None) -> dict[str, Any]:
        """Trains one network, or goes on with it, and measures its best epoch.

        Args:
            model_config: The network.
            run: Its run.
            title: What a person calls it.
            step: What is done with each batch. None: `train_step`.

        Returns:
            The figures of its summary.json. A network that is done already is not trained again.
        """
        if run.summary():
            return run.summary()
        torch.manual_seed(self.config.seed)
        model = MixtureOfExperts.from_config(
            model_config, num_classes=len(self.photos.class_names), pretrained=self.config.pretrained,
            weights=self.config.weights,
        )  # fmt: skip
        if synchronises_batch_norm(self.config, self.fabric):
            model = cast(MixtureOfExperts, synchronise_batch_norm(model))
        if self.config.channels_last:
            model = model.to(memory_format=torch.channels_last)
        if self.config.measure_offset and model_config.experts > 1:
            model.measure_offset()
        photos = self.dataset("train", model=model_config, is_training=True)
        assert photos is not None, "read_photos refuses data without training photos"
        if len(photos) < self.fabric.world_size:
            raise DataError(
                f"{len(photos)} training photos cannot be dealt out to {self.fabric.world_size} processes; use fewer"
            )
        display = Display(title, is_quiet=not self.fabric.is_global_zero)
        if model_config.part_head == "auto" and model_config.part_filters and model.num_classes > DENSE_UP_TO:
            display.note(
                f"part_head is classwise for {model.num_classes} classes (auto: from {DENSE_UP_TO + 1} on): each class "
                "reads its own part filters only; --part_head dense reads all of them, as in the paper"
            )
        training = Training(
            self.fabric, model.to(self.fabric.device), photos=photos,
            val_photos=self.dataset("val", model=model_config), run=run, config=self.config, data=self.data,
            display=display, save_model=self.save_model, step=step,
        )  # fmt: skip
        with explain_memory(self.config):
            training.fit(resume=run.checkpoint_path.exists())
            self.fabric.barrier()
            summary = self.evaluate(run, model_config, stores_choices=True)
        if self.fabric.is_global_zero:
            run.write_summary(summary)
        return summary

    def with_batch_size(self, model_config: ModelConfig) -> "Session":
        """The same session with the largest batch that all its networks can be trained on."""
        num_classes, num_photos = len(self.photos.class_names), len(self.photos.split("train"))
        plain = [config for config, _ in plan_baselines(model_config, self.config).values()]
        batch_size = min(
            find_batch_size(self.fabric, each, num_classes=num_classes, num_photos=num_photos, config=self.config)
            for each in (model_config, *plain)
        )
        if self.fabric.is_global_zero:
            note = (
                f"batch size {batch_size} (auto) is the largest power of two that fits; the default learning rates are"
            )
            print_notes([f"{note} meant for 16 photos, so raise them for many more"])
        return dataclasses.replace(self, config=dataclasses.replace(self.config, batch_size=batch_size))

    def baseline(self, name: str, plan: Plan, *, run: Run) -> float:
        """The accuracy of a plain network, which is a run of its own inside the mixture's."""
        model_config, config = plan
        folder = run.folder / name
        options = {**run.config(), **model_config.to_dict(), **config.to_dict()}
        plain_run = _enter_run(self.fabric, options, folder, may_exist=True)
        session = dataclasses.replace(self, config=config)
        summary = session.train(model_config, run=plain_run, title=f"plain network, {model_config.size} px")
        top1: float = summary["mixture_top1"]
        return top1

    def distill(self, model_config: ModelConfig, distillation: DistillConfig, *, run: Run) -> dict[str, Any]:
        """Trains a student, and measures it, its teacher, and the plain networks beside that on the same photos."""
        if "teacher_top1" in run.summary():
            return run.summary()
        teacher = open_teacher(distillation)
        stored = load_model(teacher.best)
        order = torch.tensor(match_classes(self.photos, stored.class_names), device=self.fabric.device)
        check_held_out(self.photos, settings=run.config(), data=self.data, teacher=teacher)
        mixture = Classifier.from_stored(stored).model.to(self.fabric.device)
        if self.config.channels_last:
            mixture = mixture.to(memory_format=torch.channels_last)
        step = StudentStep(mixture, order, distillation)
        summary = self.train(model_config, run=run, title=f"student of {teacher.folder.name}", step=step)
        known = {"teacher": teacher, **{name: Run(teacher.folder / name) for name in ("plain", "plain_equal_compute")}}
        for name, other in known.items():
            if other.best.is_dir():
                config = load_model(other.best).config
                summary[f"{name}_top1"] = self.evaluate(other, config)["mixture_top1"]
        return {"student_top1": summary["mixture_top1"], **summary}

    def evaluate(self, run: Run, model_config: ModelConfig, *, stores_choices: bool = False) -> dict[str, Any]:
        """Measures a run's best model on the test split, or on validation where there is none.

        Args:
            run: The run.
            model_config: Its network.
            stores_choices: Whether validation photos choose the model's temperature and, where it has several experts,
                the thresholds of a cascade, to be stored with it.
        """
        split: Split = "test" if self.photos.split("test") else "val" if self.photos.split("val") else "train"
        photos = self.dataset(split, model=model_config)
        assert photos is not None
        val_photos = self.dataset("val", model=model_config) if stores_choices else None  # a cache decodes all of them
        stored = load_model(run.best)
        if val_photos is not None and model_config.experts > 1 and self.config.gate_trust == "chosen":
            stored = self._temper_gate(run, stored, val_photos)
        answers = self._ask(stored, photos)
        num_broken = sum(photo.split == split for photo in self.broken)
        figures = {"split": split, "num_broken": num_broken, **measure(answers)}
        if val_photos is not None:
            choices = Choices(MAX_ACCURACY_LOSS if model_config.experts > 1 else None, calibrate=True)
            train_counts = count_classes([record.label for record in self.photos.split("train")], stored.class_names)
            metadata = choose(
                choices, stored.metadata, answers if split == "val" else self._ask(stored, val_photos),
                config=model_config, train_counts=train_counts,
            )  # fmt: skip
            figures |= measure_chosen(metadata, answers, config=model_config)
            if self.fabric.is_global_zero:
                store_choices(run.best, stored, metadata)
        return figures

    def _ask(self, stored: StoredModel, photos: PhotoDataset) -> Answers:
        """What a stored model answers, as it will when it is used: in float32."""
        return Answers(*self._run_over(stored, photos, keep=functools.partial(summarise, mix=stored.config.mix)))

    def _run_over(self, stored: StoredModel, photos: PhotoDataset, *, keep: Keep) -> tuple[Tensor, ...]:
        model = Classifier.from_stored(stored).model.to(self.fabric.device)
        workers, size = num_workers(self.data, photos), self.config.photos_a_step
        return run_over(self.fabric, model, photos, keep=keep, batch_size=size, workers=workers, in_float32=True)

    def _temper_gate(self, run: Run, stored: StoredModel, val_photos: PhotoDataset) -> StoredModel:
        """The model with its gate trusted as far as validation photos say, and stored so; only once."""
        if "gate_trust" not in stored.metadata:
            keep = functools.partial(try_trusts, mix=stored.config.mix)
            tried = TrustLosses(*self._run_over(stored, val_photos, keep=keep))
            stored = with_trust(stored, choose_trust(tried.losses))
            if self.fabric.is_global_zero:
                save_model(run.best, stored)
            self.fabric.barrier()
        return stored

    def draw(self, run: Run, *, model_config: ModelConfig, split: Split) -> None:
        """Draws what each expert saw in a few photos, spread over a split."""
        photos = self.dataset(split, model=model_config)
        assert photos is not None
        count = min(NUM_DRAWN, len(photos))
        indices = [number * len(photos) // count for number in range(count)]
        explanations = explain_photos(Classifier.from_stored(load_model(run.best)), photos, indices=indices)
        run.report.mkdir(exist_ok=True)
        draw_experts(explanations, run.report / PICTURE, title=f"What each expert saw ({split} photos)")

    def save_model(self, folder: Path, model: MixtureOfExperts, row: Mapping[str, Any]) -> None:
        """Writes a model folder."""
        data = self.data.to_dict()
        metadata = {
            "preprocessing": {name: data[name] for name in PREPROCESSING},
            "provenance": {"data": self.photos.name, "source": self.photos.source, "seed": self.config.seed, **row},
        }
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_model(folder, StoredModel(model.config, self.photos.class_names, state, metadata))


def train_run(settings: Mapping[str, Any], *, folder: Path | None, is_new: bool, manifest: str | None = None) -> Run:
    """Trains what the settings ask for: a student, or the mixture and the plain networks to compare it with.

    The plain networks are runs of their own, in folders inside the run's.

    Args:
        settings: What `config.yaml` holds: the data, how to read it, the preset and every option.
        folder: The run's folder. None: a new one in `runs/`.
        is_new: Whether it has to be made; a run that exists is gone on with.
        manifest: The text of a manifest that a new run keeps as its data, in place of what the settings say.

    Returns:
        The finished run.
    """
    options = dict(settings)
    _, source_format, preset = (options.pop(name, "") for name in NAMED)
    distillation = take_distillation(options)
    model_config, data_config, config = split_options(options, preset=preset)
    fabric = build_fabric(config)
    check_shares(config, world=fabric.world_size)
    run = _enter_run(fabric, settings, folder, manifest=manifest) if is_new else _go_on_with(fabric, settings, folder)
    data = run.data() if manifest is None else run.manifest_path
    try:
        with fabric.rank_zero_first():  # one process draws the beetles, the others find them
            photos = read_photos(data, config=data_config, seed=config.seed, format=source_format)
        session = _open_session(fabric, photos, model_config, data_config, config, run=run)
        plain = {
            f"{name}_top1": session.baseline(name, plan, run=run)
            for name, plan in plan_baselines(model_config, session.config).items()
        }
        if distillation is None:
            summary = session.train(model_config, run=run, title=f"{model_config.experts} experts")
        else:
            summary = session.distill(model_config, distillation, run=run)
    except BaseException as error:
        has_begun = any(run.folder.rglob("*.ckpt"))
        if is_new and fabric.is_global_zero and not has_begun:
            shutil.rmtree(run.folder, ignore_errors=True)  # nothing was trained: there is nothing to go on with
        if isinstance(error, StorageError) and has_begun:
            raise StorageError(f"{error}, then go on with: mge train --resume {run.folder}") from error
        raise
    if fabric.is_global_zero:
        run.write_summary({**summary, **plain})
        session.draw(run, model_config=model_config, split=summary["split"])
        print_summary(run)
    return run


def _open_session(
    fabric: Fabric, photos: PhotoSet, model_config: ModelConfig, data_config: DataConfig, config: TrainConfig, *,
    run: Run,
) -> Session:  # fmt: skip
    """Looks at the photos, decides what the options leave to the machine, and notes with what the run begins."""
    if fabric.is_global_zero:
        announce(photos)
        print_notes(photos.notes)
    readable, broken = skip_broken(fabric, photos, run=run, max_fraction=data_config.max_broken_fraction)
    session = Session(fabric, readable, data_config, config, broken)
    if config.batch_size == "auto":
        session = session.with_batch_size(model_config)
        if fabric.is_global_zero:
            run.write_config({**run.config(), "batch_size": session.config.batch_size})
    fabric.barrier()  # all read what the first process wrote
    keep_or_check(fabric, photos, run=run, settings=run.config())
    return session


def _go_on_with(fabric: Fabric, settings: Mapping[str, Any], folder: Path | None) -> Run:
    """A run that exists, with the settings that it began with, and without what it was writing when it was killed."""
    run = open_run(folder or "")
    lacking = [name for name in NAMED if name not in settings]
    if lacking:
        raise ModelFolderError(f"{run.folder / 'config.yaml'} has no {lacking[0]}; copy it again or train anew")
    check_settings(settings, run=run)
    if fabric.is_global_zero:
        run.clear_unfinished()
    return run


def _enter_run(
    fabric: Fabric, settings: Mapping[str, Any], folder: Path | None, *, may_exist: bool = False,
    manifest: str | None = None,
) -> Run:  # fmt: skip
    """The run that the first process makes, or finds where it may exist, for all of them."""
    result: Path | MgeError | None = None
    if fabric.is_global_zero:
        taught = f"{Path(settings['teacher']).name}-student" if "teacher" in settings else ""
        chosen = folder or _free_folder(taught or _short_name(settings["data"]))
        try:
            is_there = may_exist and chosen.exists()
            entered = open_run(chosen) if is_there else Run.create(chosen, config=settings, manifest=manifest)
            result = entered.folder
        except MgeError as error:
            result = error
    result = fabric.broadcast(result)
    if isinstance(result, MgeError):
        raise result
    return Run(Path(str(result)))


def _short_name(data: str) -> str:
    """`birds` of `/photos/birds`, of `birds.csv` and of `hf:owner/birds:config@v1.0`."""
    if data.startswith("hf:"):
        return re.split("[:@]", data.removeprefix("hf:"))[0].rpartition("/")[2]
    return Path(data).stem


def _free_folder(name: str) -> Path:
    """`runs/name`, or `runs/name-2` and so on where that exists."""
    candidates = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in candidates if not folder.exists())
