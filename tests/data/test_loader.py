import errno
from pathlib import Path

import pytest
import torch

from mge.config import DataConfig
from mge.data import loader as batches_module
from mge.data.dataset import PhotoDataset
from mge.data.loader import epoch_batches, load_batches, num_workers
from mge.data.sources import read_photos
from mge.errors import OutOfMemoryError
from tests.photos import write_class_folders


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


@pytest.mark.parametrize("count", range(97, 105))
@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_counts_every_photo_once_over_all_processes(count: int, world: int) -> None:
    shares = [
        flat(epoch_batches(count, batch_size=16, seed=0, epoch=0, shuffle=False, drop_last=False, rank=r, world=world))
        for r in range(world)
    ]
    assert sorted(flat(shares)) == list(range(count))


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_out_the_batches_of_one(world: int) -> None:
    options = {"batch_size": 8, "seed": 3, "epoch": 2, "shuffle": True, "drop_last": True}
    whole = epoch_batches(50, **options)  # type: ignore[arg-type]
    shares = [epoch_batches(50, **options, rank=rank, world=world) for rank in range(world)]  # type: ignore[arg-type]
    for number, batch in enumerate(whole):
        assert sorted(batch) == sorted(flat([share[number] for share in shares]))


def test_each_epoch_and_seed_has_an_order_of_its_own() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return flat(epoch_batches(30, batch_size=10, seed=seed, epoch=epoch, shuffle=True, drop_last=True))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert sorted(order(0, 1)) == list(range(30))


def test_training_drops_what_does_not_fill_a_batch_but_never_everything() -> None:
    def sizes(count: int) -> list[int]:
        return [len(b) for b in epoch_batches(count, batch_size=8, seed=0, epoch=0, shuffle=True, drop_last=True)]

    assert sizes(17) == [8, 8]
    assert sizes(5) == [5]


@pytest.fixture
def dataset(tmp_path: Path) -> PhotoDataset:
    config = DataConfig(jitter=0.3, resized_crop=0.3, randaugment=9, erasing=0.5, cache="no")
    photos = read_photos(write_class_folders(tmp_path, per_class=4), config=config)
    return PhotoDataset(photos.split("train"), photos.class_names, side=32, config=config, train=True, seed=1)


def test_batches_are_the_same_for_any_number_of_workers_and_from_any_start(dataset: PhotoDataset) -> None:
    batches = epoch_batches(len(dataset), batch_size=2, seed=0, epoch=1, shuffle=True, drop_last=True)
    alone = list(load_batches(dataset, batches, epoch=1, workers=0))
    helped = list(load_batches(dataset, batches, epoch=1, workers=2))
    rest = list(load_batches(dataset, batches[2:], epoch=1, workers=0))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(torch.equal(a.images, b.images) for a, b in zip(alone[2:], rest, strict=True))
    assert alone[0].images.dtype == torch.uint8
    assert [dataset.labels[int(index)] for index in alone[0].indices] == alone[0].labels.tolist()


def test_another_epoch_changes_the_pictures_of_training_and_not_those_of_evaluation(dataset: PhotoDataset) -> None:
    assert not torch.equal(dataset[0, 0].image, dataset[1, 0].image)
    fixed = PhotoDataset(dataset.records, ("apple", "lime", "plum"), side=32, config=dataset.config, train=False)
    assert torch.equal(fixed[0, 0].image, fixed[1, 0].image)


def test_workers_suit_the_machine_and_what_there_is_to_do(
    dataset: PhotoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(config: DataConfig, *, train: bool = True) -> int:
        photos = PhotoDataset(dataset.records, ("apple", "lime", "plum"), side=32, config=config, train=train)
        return num_workers(config, photos)

    monkeypatch.setattr(batches_module, "num_cores", lambda: 5)
    assert chosen(DataConfig(cache="no")) == 5
    assert chosen(DataConfig(cache="no", workers=3)) == 3
    assert chosen(DataConfig(cache="yes")) == 0
    assert chosen(DataConfig(cache="yes", randaugment=9)) == 5  # there is work left beside the decoding
    assert chosen(DataConfig(cache="yes", randaugment=9), train=False) == 0
    monkeypatch.setattr(batches_module, "num_cores", lambda: 64)
    assert chosen(DataConfig(cache="no")) == 8


@pytest.mark.parametrize(
    ("free", "said"),
    [(0, "only 0 bytes of shared memory are free"), (1_000_500, "too little for 2 data-loading processes")],
)
def test_where_shared_memory_is_small_the_same_batches_come_another_way_and_that_is_said_once(
    dataset: PhotoDataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free: int, said: str
) -> None:
    batches_module.say_once.cache_clear()
    batches = epoch_batches(len(dataset), batch_size=2, seed=0, epoch=1, shuffle=True, drop_last=True)
    alone = list(load_batches(dataset, batches, epoch=1, workers=0))
    monkeypatch.setattr(batches_module, "free_shared_memory", lambda: free)
    for _ in range(2):
        helped = list(load_batches(dataset, batches, epoch=1, workers=2))
        for one, other in zip(alone, helped, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
            assert all(a.dtype == b.dtype for a, b in zip(one, other, strict=True))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Note: ")
    assert said in line


class Unsendable:
    """A batch for which there is no room where processes meet."""

    def __reduce__(self) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_batch_that_cannot_be_handed_over_ends_the_run_in_one_line(
    dataset: PhotoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches_module, "_collate", lambda _: Unsendable())
    with pytest.raises(OutOfMemoryError, match=r"could not pass on its photos: shared memory .*--workers 0") as ended:
        list(load_batches(dataset, [[0, 1], [2]], epoch=0, workers=1))
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize(("batches_that_fit", "ahead"), [(1000, 4), (12, 3), (4, 1), (0, 1)])
def test_workers_prepare_no_more_than_half_of_the_shared_memory_holds(
    dataset: PhotoDataset, monkeypatch: pytest.MonkeyPatch, batches_that_fit: int, ahead: int
) -> None:
    monkeypatch.setattr(batches_module, "free_shared_memory", lambda: batches_that_fit * 3 * 32 * 32 * 2)
    assert batches_module._batches_ahead(dataset, [[0, 1], [2]], workers=2) == ahead
