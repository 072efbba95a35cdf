"""Photos as training and evaluation see them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mge.config import DataConfig
from mge.data.machine import free_memory
from mge.data.photo import open_photo
from mge.data.records import Record
from mge.data.transforms import eval_view, resize_quickly, train_view
from mge.data.views import shorter_side
from mge.errors import DataError

DRAFT_RESERVE = 2  # how many times larger than needed a JPEG is decoded at least, where not every pixel is wanted


class Sample(NamedTuple):
    """One picture with its label."""

    image: Tensor  # uint8 (3, side, side)
    label: int  # number of its class
    number: int  # of the photo in its data set


class PhotoDataset(Dataset[Sample]):
    """Photos of one split, each a pure function of (seed, epoch, index).

    Args:
        records: The photos.
        class_names: The classes, in the order of the logits.
        side: Side in pixels of the pictures.
        config: How they are resized, cropped and changed.
        train: Whether they are changed at random, as training wants them.
        view_side: Side in pixels of what training cuts out of them. None: `side`.
        seed: Decides the changes.
    """

    def __init__(
        self, records: Sequence[Record], class_names: Sequence[str], *, side: int, config: DataConfig, train: bool,
        view_side: int | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        self.view_side = view_side or side
        self.records, self.side, self.config, self.train, self.seed = tuple(records), side, config, train, seed
        numbers = {name: number for number, name in enumerate(class_names)}
        self.labels = tuple(numbers[record.label] for record in self.records)
        self._cache: list[Tensor] | None = self._load_all() if self._is_worth_caching() else None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The photo of a key (epoch, index); evaluation gives the same for every epoch."""
        epoch, index = key
        image = self._load(index) if self._cache is None else self._cache[index]
        if self.train:
            seed = ((self.seed * 1_000_003 + epoch + 1) * 1_000_003 + index + 1) % 2**63
            image = train_view(image, side=self.view_side, config=self.config, seed=seed)
        return Sample(image, self.labels[index], index)

    @property
    def is_cached(self) -> bool:
        """Whether all photos are in memory."""
        return self._cache is not None

    def _load(self, index: int) -> Tensor:
        """The view of evaluation; for training the resized photo, which views are cut out of."""
        if not self.train:
            return eval_view(self._open(index), side=self.side, config=self.config)[0]
        # Twice the size is averaged away by the resizing that follows: values change by less than 1 of 255 in the mean.
        enough = DRAFT_RESERVE * shorter_side(self.side, config=self.config)
        return resize_quickly(self._open(index, at_least_px=enough), side=self.side, config=self.config)

    def _open(self, index: int, *, at_least_px: int | None = None) -> Image.Image:
        record = self.records[index]
        try:
            return open_photo(record.content, name=str(record.path), at_least_px=at_least_px)
        except DataError as error:
            raise DataError(
                f"{error}; it was readable when the run started: restore it and resume the run; mge check lists every "
                "broken photo"
            ) from error

    def _is_worth_caching(self) -> bool:
        if self.config.cache != "auto":
            return self.config.cache == "yes"
        side = self.side / self.config.crop_fraction
        estimate = 1.5 * 3 * side * side * len(self.records)  # photos are rarely square
        return estimate < free_memory() / 8

    def _load_all(self) -> list[Tensor]:
        with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter's lock
            return list(pool.map(self._load, range(len(self.records))))
