"""Shared state of a run's networks: the photos, the training options, the devices."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from mge.config import DataConfig, ModelConfig, TrainConfig
from mge.console.display import announce
from mge.console.tables import print_notes
from mge.data.check.broken import Broken
from mge.data.dataset import PhotoDataset
from mge.data.records import PhotoSet, Split
from mge.evaluation.inspection import skip_broken
from mge.models.mixture import MixtureOfExperts
from mge.storage.model_folder import StoredModel, save_model
from mge.storage.run_folder import Run
from mge.training.baselines import plan_baselines
from mge.training.batch_size import find_batch_size
from mge.training.machine_check import check_weights, fit_memory
from mge.training.resume_guard import keep_or_check
from mge.training.time_limit import TimeLimit

PREPROCESSING = ("resize", "interpolation", "crop_fraction")  # the options of DataConfig that a stored model needs


@dataclasses.dataclass(frozen=True)
class Session:
    """The photos, the training options and the devices of a run."""

    fabric: Fabric
    photos: PhotoSet
    data: DataConfig
    config: TrainConfig
    broken: tuple[Broken, ...] = ()  # left out of the photos
    tell_pace: Callable[[float], str] = lambda rate: ""  # returns a line about the work per second
    limit: TimeLimit | None = None

    def dataset(self, split: Split, *, model: ModelConfig, is_training: bool = False) -> PhotoDataset | None:
        """Return one split as a data set for a network of this configuration; None if the split is empty."""
        records = self.photos.split(split)
        if not records:
            return None
        return PhotoDataset(
            records, self.photos.class_names, side=model.photo_side, config=self.data, train=is_training,
            view_side=model.size if self.config.schedule == "crops" else None, seed=self.config.seed,
        )  # fmt: skip

    def save_model(self, folder: Path, model: MixtureOfExperts, row: Mapping[str, Any]) -> None:
        """Write a model folder."""
        data = self.data.to_dict()
        metadata = {
            "preprocessing": {name: data[name] for name in PREPROCESSING},
            "provenance": {"data": self.photos.name, "source": self.photos.source, "seed": self.config.seed, **row},
        }
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_model(folder, StoredModel(model.config, self.photos.class_names, state, metadata))


def open_session(
    fabric: Fabric, photos: PhotoSet, model_config: ModelConfig, data_config: DataConfig, config: TrainConfig, *,
    run: Run,
) -> Session:  # fmt: skip
    """Look at the machine, scan the photos, resolve automatic options, and record the origin of the run."""
    if fabric.is_global_zero:
        announce(photos)
        print_notes(photos.notes)
    if run.origin() is None:
        check_weights(model_config, config)
    if config.batch_size != "auto":
        data_config, config = _fit_memory(fabric, photos, model_config, data_config, config, run=run)
    readable, broken = skip_broken(fabric, photos, run=run, max_fraction=data_config.max_broken_fraction)
    session = Session(fabric, readable, data_config, config, broken)
    if config.batch_size == "auto":
        session = _with_batch_size(session, model_config)
        if fabric.is_global_zero:
            run.write_config({**run.config(), "batch_size": session.config.batch_size})
    fabric.barrier()  # all read what the first process wrote
    keep_or_check(fabric, photos, run=run, settings=run.config())
    return session


def _fit_memory(
    fabric: Fabric, photos: PhotoSet, model_config: ModelConfig, data_config: DataConfig, config: TrainConfig, *,
    run: Run,
) -> tuple[DataConfig, TrainConfig]:  # fmt: skip
    """Return the options that fit into the memory; a new run stores those that its result depends on."""
    plans = [(model_config, config), *plan_baselines(model_config, config).values()]
    is_new = run.origin() is None
    fabric.barrier()  # all have looked before the first process writes it
    data_config, fitting = fit_memory(fabric, photos, plans, data_config, config, is_new=is_new)
    if fitting != config and fabric.is_global_zero:
        run.write_config({**run.config(), "batch_size": fitting.batch_size, "accumulate": fitting.accumulate})
    return data_config, fitting


def _with_batch_size(session: Session, model_config: ModelConfig) -> Session:
    """Return the session with the largest batch size that all its networks can be trained with."""
    photos, config = session.photos, session.config
    num_classes, num_photos = len(photos.class_names), len(photos.split("train"))
    plain = [each for each, _ in plan_baselines(model_config, config).values()]
    batch_size = min(
        find_batch_size(session.fabric, each, num_classes=num_classes, num_photos=num_photos, config=config)
        for each in (model_config, *plain)
    )
    if session.fabric.is_global_zero:
        fits = "the largest power of two that fits" + (" on each device" if session.fabric.world_size > 1 else "")
        note = f"batch size {batch_size} (auto) is {fits}; the default learning rates are tuned for 16 photos"
        print_notes([f"{note}; raise them for much larger batches"])
    return dataclasses.replace(session, config=dataclasses.replace(config, batch_size=batch_size))
