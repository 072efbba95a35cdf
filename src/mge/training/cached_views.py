"""Cached features of one data set's views by a frozen backbone, on disk."""

import contextlib
import functools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from mge.console.progress import show_progress
from mge.console.terminal import Terminal
from mge.core.crop import whole_boxes
from mge.core.outputs import ExpertOutput
from mge.data.dataset import PhotoDataset
from mge.data.loader import Batch, epoch_batches, load_batches, num_workers
from mge.errors import ConfigError
from mge.models.backbone import FeatureMaps
from mge.models.expert import Expert
from mge.models.mixture import ExpertPass, MixtureOfExperts
from mge.storage.files import write_folder_atomically

LOGITS = ("large_logits", "part_logits", "joint_logits", "logits")  # of ExpertOutput
Check = Callable[[], None]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float16]]


class CachedViews:
    """Features of each view of a data set, by expert: a row for each photo, for all photos once per augmented view.

    Features are stored in float16. A map is stored only if it is needed: that of the stage before the last by part
    filters, the last one for the attention to the next expert's view.

    Args:
        folder: Folder for the features; what it contains is used.
        photos: The photos.
        num_views: Number of augmented views per photo.
        batch_size: Photos at a time.
    """

    def __init__(self, folder: Path, photos: PhotoDataset, *, num_views: int, batch_size: int) -> None:
        self.folder, self.photos, self.num_views, self.batch_size = folder, photos, num_views, batch_size
        self.num_rows = num_views * len(photos)
        self.labels = torch.tensor(photos.labels)
        self.features: list[dict[str, Array]] = []  # memory-mapped arrays of each expert, by the fields of FeatureMaps
        self.logits: list[list[Tensor]] = []  # of each trained expert, in the order of `LOGITS`

    def batch(self, rows: Tensor) -> Batch:
        """Return the labels of some rows, without images."""
        return Batch(torch.empty(len(rows), 0), self.labels[rows % len(self.photos)], rows)

    def prepare(self, model: MixtureOfExperts, *, follows_labels: bool, check: Check) -> None:
        """Compute the missing features of the active experts, and the logits of all but the last of them.

        Args:
            model: The mixture in evaluation mode.
            follows_labels: Whether the attention to the true class leads to the next view, not to the predicted one.
            check: Called after each batch.
        """
        for number, expert in enumerate(model.experts_in_turn[: model.active_experts]):
            folder = self.folder / f"expert{number}"
            if number == len(self.features) and not folder.is_dir():
                fill = functools.partial(self._fill, model=model, follows_labels=follows_labels, check=check)
                write_folder_atomically(folder, fill)
            if number == len(self.features):
                self.features.append({file.stem: np.load(file, mmap_mode="r") for file in folder.glob("*.npy")})
            if number == len(self.logits) and number + 1 < model.active_experts:
                self.logits.append(self._evaluate(number, expert))

    def passes(self, experts: Sequence[nn.Module], batch: Batch) -> Iterator[ExpertPass]:
        """Yield the passes of the experts over cached features; only their logits and pooled features are filled in."""
        device = batch.indices.device
        nothing = torch.empty(len(batch.indices), 3, 0, 0, device=device)
        for number, expert in enumerate(experts):
            if number < len(self.logits):
                large, part, joint, logits = (each[batch.indices.cpu()].to(device) for each in self.logits[number])
                pooled = self.maps(number, batch.indices, "pooled").pooled
                output = ExpertOutput(large, part, joint, pooled, nothing, logits)
            else:
                output = expert(self.maps(number, batch.indices, "part", "pooled"))
            yield ExpertPass(nothing, output, nothing, nothing, nothing)

    def maps(self, number: int, rows: Tensor, *names: str) -> FeatureMaps:
        """Return the named features of some rows for an expert, the rest empty."""
        stored = self.features[number]
        nothing = torch.empty(len(rows), 0, device=rows.device)
        return FeatureMaps(*(
            torch.from_numpy(stored[name][rows.cpu().numpy()]).to(rows.device).float()
            if name in names and name in stored else nothing
            for name in FeatureMaps._fields
        ))  # fmt: skip

    def _evaluate(self, number: int, expert: Expert) -> list[Tensor]:
        """Return the logits of a trained expert for all rows."""
        device = next(expert.parameters()).device
        outputs = [
            expert(self.maps(number, rows.to(device), "part", "pooled"))
            for rows in torch.arange(self.num_rows).split(self.batch_size)
        ]
        return [torch.cat([getattr(output, name).float().cpu() for output in outputs]) for name in LOGITS]

    def _fill(self, folder: Path, *, model: MixtureOfExperts, follows_labels: bool, check: Check) -> None:
        """Write the features of the first expert that has none, one file for each kind."""
        number, device = len(self.features), next(model.parameters()).device
        names = ["pooled"] + ["part"] * model.config.has_parts + ["large"] * (number + 1 < model.config.experts)
        batches = epoch_batches(
            len(self.photos), batch_size=self.batch_size, seed=0, epoch=0, shuffle=False, drop_last=False
        )
        workers = num_workers(self.photos.config, self.photos)
        is_quiet = Terminal(stderr=True).is_terminal  # where the display's bar is
        with contextlib.ExitStack() as opened, show_progress(
            f"computing features of expert {number}", total=self.num_rows, is_quiet=is_quiet
        ) as advance:  # fmt: skip
            files = {name: opened.enter_context((folder / f"{name}.npy").open("wb")) for name in names}
            for view in range(self.num_views):
                for batch in load_batches(self.photos, batches, epoch=view, workers=workers):
                    moved = Batch(*(tensor.to(device) for tensor in batch))
                    rows = moved.indices + view * len(self.photos)
                    previous = [self.maps(each, rows, *FeatureMaps._fields) for each in range(number)]
                    found = look(model, moved.images, previous, labels=moved.labels if follows_labels else None)
                    arrays = {name: _in_float16(getattr(found, name)) for name in names}
                    if not any(file.tell() for file in files.values()):
                        self._check_space(folder, arrays, num_left=model.config.experts - number)
                    for name, array in arrays.items():
                        _append(files[name], array, num_rows=self.num_rows)
                    advance(len(rows))
                    check()

    def _check_space(self, folder: Path, arrays: Mapping[str, Array], *, num_left: int) -> None:
        """Raise ConfigError if the features of the remaining experts do not fit on the disk."""
        needed = num_left * self.num_rows * sum(array[0].nbytes for array in arrays.values())
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ConfigError(
                f"the features of {self.num_rows:,} views need {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free "
                f"at {folder.parent}; use fewer --cached-views, a smaller --size, or another --out"
            )


def look(
    model: MixtureOfExperts, images: Tensor, previous: Sequence[FeatureMaps], *, labels: Tensor | None
) -> FeatureMaps:
    """Return the features of the next expert's view of each image.

    Args:
        model: The mixture in evaluation mode.
        images: The images.
        previous: Features of the previous experts' views of them.
        labels: Classes whose attention the experts follow. None: the class that each expert predicts.
    """
    pictures = model.normalize(images)
    boxes = whole_boxes(pictures)
    view = model.first_view(pictures, boxes)
    for expert, maps in zip(model.experts_in_turn, previous, strict=False):
        found, _ = model.attend(expert, expert(maps), labels, size=(view.shape[2], view.shape[3]))
        view, boxes = model.next_view(pictures, view, boxes, found)
    features: FeatureMaps = model.experts_in_turn[len(previous)].backbone(view)
    return features


def _in_float16(features: Tensor) -> Array:
    array: Array = features.half().cpu().numpy()
    if not np.isfinite(array).all():
        raise ConfigError(
            "features of this backbone exceed the range of float16, in which they are cached; use cached_views=0 or "
            "another backbone"
        )
    return array


def _append(file: BinaryIO, array: Array, *, num_rows: int) -> None:
    """Append rows to a .npy file, whose header says the final number of them."""
    if not file.tell():
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": (num_rows, *array.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
    file.write(array.tobytes())
