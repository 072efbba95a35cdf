"""The training loop: stages, epochs, steps, validation, checkpoints.

Order of photos, augmentation and dropout are pure functions of (seed, stage, epoch, step, photo). So a checkpoint holds
no random state, and a resumed run computes exactly the same as an uninterrupted one.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.nn import functional

from mge.config import DataConfig, TrainConfig
from mge.console.display import Display, EpochPlace
from mge.data.balance import balanced_class_weights
from mge.data.blending import blend_batch
from mge.data.dataset import PhotoDataset
from mge.data.loader import Batch, epoch_batches, load_batches, num_workers
from mge.errors import DataError, DivergedError, Interrupted
from mge.evaluation.alarms import loss_alarm
from mge.evaluation.run_model import measure, predict_photos
from mge.models.mixture import MixtureOfExperts
from mge.storage.checkpoint import load_checkpoint, save_checkpoint
from mge.storage.run_folder import Run
from mge.training.checkpoint_mark import check_mark, mark
from mge.training.feature_cache import FeatureCache
from mge.training.learner import Learner, choose_experts, freeze_backbones, set_modes
from mge.training.optimizer import set_learning_rate
from mge.training.process_group import ProcessGroupGuard
from mge.training.step import Step, train_step, wrap
from mge.training.stop_signal import StopRequest
from mge.training.time_limit import EpochFitter, Limit
from mge.training.train_state import RunningMetrics, TrainState, explain_mismatch
from mge.training.workload import Workload

EARLY = 3  # epochs after which a loss that does not fall raises an alarm
SaveModel = Callable[[Path, MixtureOfExperts, Mapping[str, Any]], None]


class Training:
    """Training of one mixture.

    Args:
        fabric: Lightning Fabric, launched.
        model: The mixture; it is trained in place and ends with the weights of the last epoch.
        photos: Training photos.
        val_photos: Validation photos that choose the epoch to keep: the last whose accuracy is within one standard
            error of the highest. None: the last epoch.
        run: The folder for metrics, checkpoints and models.
        config: Training options.
        data: Data loading and augmentation options.
        display: Progress display.
        save_model: Writes the given weights, with the metrics of their epoch, as a model folder.
        step: Training step for each batch. None: `train_step`.
        tell_pace: Returns a line, if there is any to say, about the work per second in a few timed steps.
        cache: Cached features to train on in place of the photos.
        limit: Returns the seconds that a stage has left. None: every stage has all its epochs.
    """

    def __init__(
        self, fabric: Fabric, model: MixtureOfExperts, *, photos: PhotoDataset, val_photos: PhotoDataset | None,
        run: Run, config: TrainConfig, data: DataConfig, display: Display, save_model: SaveModel,
        step: Step | None = None, cache: FeatureCache | None = None,
        tell_pace: Callable[[float], str] = lambda rate: "", limit: Limit | None = None,
    ) -> None:  # fmt: skip
        self.fabric, self.model, self.run, self.config, self.data = fabric, model, run, config, data
        self.photos, self.val_photos, self.display, self.save_model = photos, val_photos, display, save_model
        self.cache, self.tell_pace = cache, tell_pace
        self.step = cache.step if cache is not None else step or train_step
        self.position = TrainState()
        num_val_photos = 0 if val_photos is None else len(val_photos)
        rest = len(photos) % config.global_batch_size if len(photos) > config.global_batch_size else 0
        self.work = Workload(model.config, config, num_photos=len(photos) - rest, num_val_photos=num_val_photos)
        self.num_stages = self.work.num_stages
        weights = balanced_class_weights(photos.labels) if config.balance == "loss" else torch.ones(model.num_classes)
        self.class_weights = weights.to(fabric.device)
        self.learner: Learner
        self.process_group = ProcessGroupGuard(fabric, patience=config.process_timeout, run=run)
        self._mark = mark(run)
        self._saved_at = time.monotonic()
        self.fitter = EpochFitter(fabric, self.work, limit)

    def fit(self, *, resume: bool = False) -> None:
        """Train to the end, or resume from the run's checkpoint.

        Raises:
            DataError: a photo cannot be read any more; a checkpoint was written.
            DivergedError: the loss is no longer finite.
            Interrupted: a signal was received; a checkpoint was written.
            LostProcessError: another process died or hangs.
        """
        saved = load_checkpoint(self.run.checkpoint_path) if resume else None
        if saved is not None:
            with explain_mismatch(self.run):
                check_mark(saved, run=self.run)
                self.position = TrainState.from_dict(saved["position"], num_epochs=self.config.epochs)
                self._check_position()
                if not self.fabric.is_global_zero:  # sums over all processes, to be counted once
                    self.position.tally = self.position.tally.scaled(0)
        self._start_display()
        with StopRequest() as stop, self.display, self.process_group:
            while self.position.stage < self.num_stages:
                self._begin_stage(saved)
                saved = None
                if self.cache is not None:
                    self.cache.prepare(self.model, check=lambda: self._save_or_stop(stop))
                while self.position.epoch < self._num_epochs:
                    self._go_through_epoch(stop)
                self.position = self.position.next_stage()

    def _go_through_epoch(self, stop: StopRequest) -> None:
        """Train and validate for one epoch; save a checkpoint if a photo cannot be read any more."""
        try:
            self._train_epoch(stop)
            self._end_epoch()
            with self.process_group.extended_timeout():  # the first process may still be writing files
                number, _ = stop.agreed(self.fabric)
            self._stop_where_asked(number)
        except DataError:
            if self.position.batch and self._is_step_whole(len(self._batches())):
                # No collective is possible now: the other processes are assumed to have the same metrics.
                self._save_checkpoint(self.position.tally.scaled(self.fabric.world_size))
            raise

    def _begin_stage(self, saved: Mapping[str, Any] | None) -> None:
        """Set up the learner of this stage; a checkpoint's state replaces the initial state of a new stage."""
        if self.config.schedule == "progressive":
            choose_experts(self.model, stage=self.position.stage, config=self.config, is_new=saved is None)
        elif self.config.schedule == "crops":
            self.model.active_experts = 1
        if self.config.freeze_backbone:
            freeze_backbones(self.model)
        if saved is not None:
            with explain_mismatch(self.run):
                self.model.load_state_dict(saved["model"])
        with self.process_group.extended_timeout():
            network = wrap(self.fabric, self.model)
        self.learner = Learner(self.fabric, network, run=self.run, config=self.config, saved=saved)
        self.fitter.begin(self.position)

    def _start_display(self) -> None:
        """Tell the display the amount of work, how much of it is done, and the epochs before."""
        position = self.position
        stages = [self.config.epochs * self.work.epoch(stage=stage) for stage in range(position.stage)]
        done = sum(stages) + position.epoch * self.work.epoch(stage=position.stage)
        done += self.work.photos(position.tally.num_photos, stage=position.stage)
        place = (position.stage, position.epoch)
        rows = [row for row in self.run.metrics() if (row["stage"], row["epoch"]) < place]
        self.display.start(done=done, total=self.work.total, rows=rows)

    def _check_position(self) -> None:
        position = self.position
        if not (0 <= position.stage <= self.num_stages and 0 <= position.epoch <= self._num_epochs
                and 0 <= position.batch <= len(self._batches())):  # fmt: skip
            raise ValueError(
                f"stage {position.stage}, epoch {position.epoch}, batch {position.batch} do not exist in this run"
            )

    def _train_epoch(self, stop: StopRequest) -> None:
        """Train on the remaining batches of this epoch."""
        position, batches = self.position, self._batches()
        self.display.enter(
            EpochPlace(position.stage, self.num_stages, position.epoch, self._num_epochs, position.batch, len(batches))
        )  # fmt: skip
        set_modes(self.model, config=self.config)
        left = self._load(batches[position.batch :])
        num_batches = len(batches)
        asked = time.monotonic()
        while (batch := stop.next_of(left, may_stop=self._may_stop(num_batches))) is not None:
            came = time.monotonic()
            self.process_group.barrier(f"batch {position.batch + 1} of epoch {position.epoch + 1}")
            if self.fitter.is_timed:
                num_batches = self._fit_epochs(num_batches)
            self._train_batch(batch, num_batches=num_batches)
            done = time.monotonic()
            position.tally.data_seconds += came - asked
            position.tally.seconds += done - asked
            if self._is_step_whole(num_batches):
                self._save_or_stop(stop)
            if position.batch == num_batches < len(batches):  # the epoch was shortened
                break
            asked = time.monotonic()
        if position.batch < num_batches:
            self._save_or_stop(stop)

    def _load(self, batches: list[list[int]]) -> Iterator[Batch]:
        if self.cache is not None:
            return self.cache.load(batches, epoch=self._data_epoch)
        workers = num_workers(self.data, self.photos)
        return load_batches(self.photos, batches, epoch=self._data_epoch, workers=workers)

    def _fit_epochs(self, num_batches: int) -> int:
        """Tell the pace after the first steps, and fit the epochs to the time limit, if there is one.

        Returns:
            The number of batches of this epoch.
        """
        position = self.position
        if self.fitter.pace.rate is not None and (line := self.tell_pace(self.fitter.pace.rate)):
            self.display.note(line)
        if self.fitter.limit is None or position.num_epochs:
            return num_batches
        self.fitter.decide(position, num_batches=num_batches)
        self._show_fit()
        return position.num_batches

    def _show_fit(self) -> None:
        """Say how many epochs fit into the time that the stage has."""
        position = self.position
        self.display.leave(position.seconds_left)
        self.display.fit(position.num_epochs, position.num_batches, seconds=position.seconds_left)

    def _is_step_whole(self, num_batches: int) -> bool:
        """Return whether no gradient is pending: a checkpoint holds weights, and no gradients."""
        return self.position.batch % self.config.accumulate == 0 or self.position.batch == num_batches

    def _may_stop(self, num_batches: int) -> bool:
        """Return whether the run can stop while waiting for photos: a single process, and no pending gradient."""
        return self.fabric.world_size == 1 and self._is_step_whole(num_batches)

    def _save_or_stop(self, stop: StopRequest) -> None:
        """Save a checkpoint if one is due, or if a signal asks the run to stop."""
        position = self.position
        number, is_due = stop.agreed(self.fabric, is_due=self._is_checkpoint_due())
        if number or is_due:
            self._check_weights()
            self._save_checkpoint(position.tally.over_processes(self.fabric))
        self._stop_where_asked(number)

    def _stop_where_asked(self, number: int) -> None:
        """Raise Interrupted if a signal was received and the checkpoint is written."""
        if number:
            batch, epoch = self.position.batch, self.position.epoch
            done = f"after batch {batch} of epoch {epoch + 1}" if batch else f"after epoch {epoch}"
            done = done if batch or epoch else "before the first batch"
            raise Interrupted(
                f"interrupted {done}; checkpoint saved; resume with: {self.run.whole.resume_command}",
                signal_number=number,
            )

    def _train_batch(self, batch: Batch, *, num_batches: int) -> None:
        """Run one batch: gradients, and every `accumulate` batches an update of the weights."""
        position, config = self.position, self.config
        # The schedule is that of all epochs of the options, stretched over those that are trained.
        epoch = (position.epoch + position.batch / num_batches) * (config.epochs / self._num_epochs)
        set_learning_rate(self.learner.optimizer, epoch=epoch, config=config)
        torch.manual_seed(_mix(config.seed, self._data_epoch, position.batch, self.fabric.global_rank))  # dropout
        moved = Batch(*(tensor.to(self.fabric.device, non_blocking=True) for tensor in batch))
        weights = self.class_weights[moved.labels].unsqueeze(1)
        targets = functional.one_hot(moved.labels, self.model.num_classes) * weights
        seed = _mix(config.seed, self._data_epoch, position.batch)
        images, targets = blend_batch(moved.images, targets, config=self.data, seed=seed)
        network = self.learner.network._replace(gate_learns=epoch >= config.gate_from * config.epochs)
        measured = self.step(self.fabric, network, moved._replace(images=images), targets, config=config)
        position.tally.add(measured, num_photos=len(batch.labels))
        if not all(map(math.isfinite, position.tally.losses)):
            raise DivergedError(
                f"the loss is not finite in batch {position.batch + 1} of epoch {position.epoch + 1}: {self._remedy()}"
            )
        position.batch += 1
        if self._is_step_whole(num_batches):
            self.learner.update()
        work = self.work.photos(len(batch.labels) * self.fabric.world_size, stage=position.stage)
        self.display.step(position.tally.figures(), work=work)
        self.fitter.pace.advance(work)

    def _end_epoch(self) -> None:
        """Validate, write the metrics row, keep the best model, save a checkpoint."""
        position = self.position
        self._check_weights()
        row = self._metrics_row()
        accuracy, margin = 0.0, 0.0
        self.process_group.share_buffers(self.learner.evaluated)
        if self.val_photos is not None:
            with self.process_group.extended_timeout():
                row |= self._validate(self.val_photos)
            accuracy = row["val_top1_mixture"]
            margin = standard_error(max(accuracy, position.best_accuracy), num_photos=len(self.val_photos))
        since_best = 0 if accuracy > position.best_accuracy else position.epochs_since_best + 1
        was_decided = position.num_epochs
        self.fitter.end_epoch(position, num_batches=len(self._order()), num_done=position.batch)
        if position.num_epochs and not was_decided:
            self._show_fit()
        if self.config.early_stop and since_best >= self.config.early_stop:
            position.num_epochs = position.epoch + 1
        is_last_stage = position.stage == self.num_stages - 1
        is_best = is_last_stage and accuracy >= position.best_accuracy - margin
        is_last = is_last_stage and position.epoch + 1 == self._num_epochs
        if self.fabric.is_global_zero:
            self.run.check_exists()
            self.run.append_metrics(row)
            self._warn_early()
            self.display.epoch(row, work=self.work.validation(stage=position.stage))
            for wanted, folder in ((is_best, self.run.best), (is_last, self.run.last)):
                if wanted:
                    self.save_model(folder, self.learner.evaluated, row)
        if self.fitter.limit is not None:
            self.display.leave(position.seconds_left)
        self.position = position.next_epoch(max(accuracy, position.best_accuracy), since_best=since_best)
        self._save_checkpoint(self.position.tally)

    def _warn_early(self) -> None:
        """Say so in the log when a few epochs have not lowered the training loss."""
        position = self.position
        if position.epoch + 1 != EARLY:
            return
        rows = [row for row in self.run.metrics() if row["stage"] == position.stage]
        alarm = loss_alarm(
            rows, network=self.display.network, num_classes=self.model.num_classes, settings=self.run.config()
        )
        if alarm:
            self.display.note(f"Alarm: {alarm}.")

    def _metrics_row(self) -> dict[str, Any]:
        tally = self.position.tally.over_processes(self.fabric)
        backbone, head, _ = (group["lr"] for group in self.learner.optimizer.param_groups)
        return {
            "stage": self.position.stage,
            "epoch": self.position.epoch,
            "num_photos": tally.num_photos,
            **tally.figures(),
            "backbone_lr": backbone,
            "head_lr": head,
            **tally.times(),
        }

    def _validate(self, photos: PhotoDataset) -> dict[str, float]:
        batch_size, model, verb = self.config.global_batch_size, self.learner.evaluated, self.display.validation_verb
        trained = model.active_experts
        model.active_experts = self._num_answering
        if self.cache is not None:
            answers = self.cache.validate(self.fabric, model)
        else:
            answers = predict_photos(self.fabric, model, photos, batch_size=batch_size, verb=verb)
        figures = measure(answers)
        model.active_experts = trained
        row = {"val_top1_mixture": figures["mixture_top1"], "val_loss_mixture": figures["mixture_loss"]}
        return row | {f"val_top1_expert{number}": top1 for number, top1 in enumerate(figures["experts_top1"])}

    @property
    def _num_answering(self) -> int:
        """Number of experts for validation in this stage; with crops one trained network is used as all of them."""
        return self.model.config.experts if self.config.schedule == "crops" else self.model.active_experts

    @property
    def _num_epochs(self) -> int:
        """Number of epochs of this stage, as far as it is decided."""
        return self.position.num_epochs or self.config.epochs

    def _batches(self) -> list[list[int]]:
        """Return the photos of each batch of this epoch."""
        return self._order()[: self.position.num_batches or None]

    def _order(self) -> list[list[int]]:
        """Return the photos of each batch of a whole epoch."""
        return epoch_batches(
            len(self.photos), batch_size=self.config.global_batch_size, seed=self.config.seed, epoch=self._data_epoch,
            shuffle=True, drop_last=True, rank=self.fabric.global_rank, world=self.fabric.world_size,
            balance=self.photos.labels if self.config.balance == "sampler" else None,
        )  # fmt: skip

    @property
    def _data_epoch(self) -> int:
        """Unique index of the epoch over all stages."""
        return self.position.former_epochs + self.position.epoch

    def _is_checkpoint_due(self) -> bool:
        steps = self.config.checkpoint_steps
        if steps and self.position.batch % steps == 0:
            return True
        return time.monotonic() - self._saved_at > 60 * self.config.checkpoint_minutes

    def _check_weights(self) -> None:
        """Raise DivergedError if weights are not finite: a finite loss can have infinite gradients."""
        if self.learner.is_finite():
            return
        position = self.position
        raise DivergedError(
            f"the weights are not finite after batch {position.batch} of epoch {position.epoch + 1}: {self._remedy()}"
        )

    def _remedy(self) -> str:
        remedy = "training has diverged; lower --backbone-lr and --head-lr or set --clip-norm 1, and start a new run"
        previous = self.run.checkpoint_path
        return f"{remedy}. The last checkpoint before that is {previous}" if previous.exists() else remedy

    def _save_checkpoint(self, tally: RunningMetrics) -> None:
        """Save a checkpoint with the position, and the metrics of this epoch over all processes."""
        if self.fabric.is_global_zero:
            self.run.check_exists()
            position = dataclasses.replace(self.position, tally=tally)
            state = {**self._mark, "position": dataclasses.asdict(position), **self.learner.state()}
            save_checkpoint(self.run.checkpoint_path, state)
        self._saved_at = time.monotonic()


def standard_error(accuracy: float, *, num_photos: int) -> float:
    """Return the standard error in percent of an accuracy in percent.

    Of many epochs the highest accuracy on a few validation photos is mostly luck, while the learning rate falls to the
    end of training; so a later epoch is kept unless it is worse by more than this.
    """
    return math.sqrt(accuracy * (100 - accuracy) / num_photos)


def _mix(*numbers: int) -> int:
    """Combine several numbers into one seed, different for each combination that occurs."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number + 1) % 2**63
    return seed
