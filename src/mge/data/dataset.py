"""The data set of photos for training and evaluation."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mge.config import DataConfig
from mge.data.machine import free_memory
from mge.data.photo import open_photo
from mge.data.preprocess import shorter_side
from mge.data.records import Record
from mge.data.transforms import eval_view, resize_quickly, train_view
from mge.errors import DataError

DRAFT_RESERVE = 2  # smallest oversampling of a JPEG that is decoded at reduced size


class Sample(NamedTuple):
    """An image with its label."""

    image: Tensor  # uint8 (3, side, side)
    label: int  # number of its class
    number: int  # of the photo in its data set


class PhotoDataset(Dataset[Sample]):
    """Photos of one split, each a pure function of (seed, epoch, index).

    Args:
        records: The photos.
        class_names: The classes, in the order of the logits.
        side: Side in pixels of the images.
        config: Resizing, cropping and augmentation options.
        train: Whether to augment them at random.
        view_side: Side in pixels of the training crops. None: `side`.
        seed: Seed of the augmentation.
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
        """Return the photo of a key (epoch, index); evaluation gives the same for every epoch."""
        epoch, index = key
        image = self._load(index) if self._cache is None else self._cache[index]
        if self.train:
            seed = ((self.seed * 1_000_003 + epoch + 1) * 1_000_003 + index + 1) % 2**63
            image = train_view(image, side=self.view_side, config=self.config, seed=seed)
        return Sample(image, self.labels[index], index)

    @property
    def is_cached(self) -> bool:
        """True if all photos are in memory."""
        return self._cache is not None

    def _load(self, index: int) -> Tensor:
        """Load the view for evaluation, or for training the resized photo, from which views are cropped."""
        if not self.train:
            return eval_view(self._open(index), side=self.side, config=self.config)[0]
        # Decoding at twice the size hardly changes the resized photo: values differ by less than 1 of 255 on average.
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
        return cache_bytes(len(self.records), side=self.side, config=self.config) < free_memory() / 8

    def _load_all(self) -> list[Tensor]:
        with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter's lock
            return list(pool.map(self._load, range(len(self.records))))


def cache_bytes(num_photos: int, *, side: int, config: DataConfig) -> float:
    """Return the memory that resized photos take: about 3:2, as photos are rarely square."""
    return 1.5 * 3 * (side / config.crop_fraction) ** 2 * num_photos
