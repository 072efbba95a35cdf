import random
from collections import Counter
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from mge.config import PRESETS, DataConfig
from mge.data.preprocess import resize
from mge.data.transforms import eval_view, resize_quickly, train_view


def make_photo(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return Image.fromarray(noise)


def to_tensor(photo: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1).contiguous()


@pytest.mark.parametrize(("width", "height"), [(100, 60), (60, 100), (64, 64), (300, 20)])
def test_the_view_is_square_and_its_corners_lie_inside_the_photo(width: int, height: int) -> None:
    image, geometry = eval_view(make_photo(width, height), side=56, config=DataConfig())
    assert image.shape == (3, 56, 56)
    corners = geometry.to_photo(torch.tensor([[0.0, 0, 56, 56]]))[0]
    assert (corners >= -0.01).all()
    assert corners[2] <= width + 0.01
    assert corners[3] <= height + 0.01


def test_boxes_go_to_the_photo_and_stay_as_they_are_in_the_view() -> None:
    _, geometry = eval_view(make_photo(120, 80), side=56, config=DataConfig())
    boxes = torch.tensor([[3.0, 5, 20, 41], [0, 0, 56, 56]])
    in_the_photo = torch.tensor([[28.75, 11.25, 50, 56.25], [25, 5, 95, 75]])  # 96 x 64 px, 20 and 4 cut off
    assert torch.allclose(geometry.to_photo(boxes), in_the_photo)
    assert boxes.tolist() == [[3, 5, 20, 41], [0, 0, 56, 56]]


def test_a_box_in_the_view_shows_the_same_thing_in_the_photo() -> None:
    photo = Image.new("RGB", (200, 100))
    photo.paste((255, 255, 255), (90, 30, 130, 60))
    image, geometry = eval_view(photo, side=56, config=DataConfig())
    rows, columns = torch.nonzero(image[0] > 128, as_tuple=True)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    found = geometry.to_photo(torch.tensor([[float(edge) for edge in edges]]))[0]
    assert torch.allclose(found, torch.tensor([90.0, 30, 130, 60]), atol=2)


def test_the_paper_crops_448_out_of_512() -> None:
    resized = resize(make_photo(640, 480), side=448, config=DataConfig())
    assert min(resized.size) == 512
    assert resize(make_photo(640, 480), side=448, config=DataConfig(resize="squash")).size == (512, 512)


@pytest.mark.parametrize(("width", "height"), [(5, 250), (500, 10), (501, 11), (333, 64), (50, 1), (1, 1)])
def test_a_thin_photo_stays_small_and_its_middle_is_what_it_would_be_whole(width: int, height: int) -> None:
    photo, config = make_photo(width, height), DataConfig()
    resized = resize(photo, side=56, config=config)
    assert min(resized.size) == 64
    assert max(resized.size) <= 4 * 64
    whole = [max(64, round(length * 64 / min(photo.size))) for length in photo.size]
    left, top = (whole[0] - 56) // 2, (whole[1] - 56) // 2
    pixels = np.asarray(photo.resize(tuple(whole), Image.Resampling.BILINEAR)).astype(int)  # type: ignore[arg-type]
    image, geometry = eval_view(photo, side=56, config=config)
    seen = image.permute(1, 2, 0).numpy().astype(int)
    assert np.abs(seen - pixels[top : top + 56, left : left + 56]).max() <= 1
    assert geometry == (width / whole[0], height / whole[1], left, top)


def test_a_photo_of_50_to_1_takes_3_megabytes_at_448_pixels() -> None:
    resized = resize(Image.new("RGB", (20, 1000)), side=448, config=DataConfig())
    assert resized.size == (512, 2048)
    view = train_view(to_tensor(resized), side=448, config=DataConfig(), seed=0)
    assert view.shape == (3, 448, 448)


def test_half_of_the_views_are_mirrored_and_all_are_crops() -> None:
    resized = to_tensor(make_photo(40, 40))
    views = [train_view(resized, side=40, config=DataConfig(), seed=seed) for seed in range(200)]
    mirrored = sum(torch.equal(view, resized.flip(2)) for view in views)
    assert all(torch.equal(view, resized) or torch.equal(view, resized.flip(2)) for view in views)
    assert 70 <= mirrored <= 130
    plain = train_view(resized, side=40, config=DataConfig(flip=False), seed=3)
    assert torch.equal(plain, resized)


@pytest.mark.parametrize("size", [(640, 480), (70, 100), (512, 512), (300, 20), (1500, 900)])
@pytest.mark.parametrize("kind", ["short", "squash"])
def test_training_resizes_like_evaluation_but_for_rounding(
    size: tuple[int, int], kind: Literal["short", "squash"]
) -> None:
    photo, config = make_photo(*size), DataConfig(resize=kind)
    exact = to_tensor(resize(photo, side=112, config=config))
    quick = resize_quickly(photo, side=112, config=config)
    assert quick.shape == exact.shape
    difference = (quick.int() - exact.int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.01


@pytest.mark.parametrize(
    "switch",
    [{}, {"jitter": 0.4}, {"resized_crop": 0.3}, {"randaugment": 20}, {"randaugment": 30}, {"erasing": 1.0}],
    ids=str,
)
def test_a_random_view_depends_on_its_seed_alone(switch: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> list[object]:
        return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index] # noqa: NPY002

    monkeypatch.delattr(torch.cuda, "manual_seed_all")  # the generators of GPUs are not seeded either
    resized, config = to_tensor(make_photo(80, 70)), DataConfig.from_dict(switch)
    torch.default_generator.manual_seed(1)
    views = [train_view(resized, side=48, config=config, seed=seed) for seed in range(8)]
    torch.default_generator.manual_seed(2)
    before = state()
    assert all(torch.equal(train_view(resized, side=48, config=config, seed=n), views[n]) for n in range(8))
    assert state() == before
    assert all(view.shape == (3, 48, 48) and view.dtype == torch.uint8 for view in views)
    assert len({view.numpy().tobytes() for view in views}) == 8
    if switch:
        plain = [train_view(resized, side=48, config=DataConfig(), seed=seed) for seed in range(8)]
        assert not all(torch.equal(view, one) for view, one in zip(views, plain, strict=True))


def test_every_place_of_the_crop_is_as_likely_as_the_others() -> None:
    rows, columns = torch.meshgrid(torch.arange(43), torch.arange(42), indexing="ij")
    places = torch.stack([rows, columns, rows]).byte()
    config = DataConfig(flip=False)
    views = [train_view(places, side=40, config=config, seed=seed) for seed in range(1200)]
    counts = Counter((int(view[0, 0, 0]), int(view[1, 0, 0])) for view in views)
    assert len(counts) == 4 * 3
    assert 60 < min(counts.values()) <= max(counts.values()) < 140  # 100 on average


@pytest.mark.parametrize("smallest", [0.1, 0.5, 1.0])
def test_a_resized_crop_is_square_and_at_least_as_large_as_told(smallest: float) -> None:
    ramp = torch.arange(0, 240, 2, dtype=torch.uint8).expand(3, 120, 120).contiguous()  # a pixel's value is its place
    config = DataConfig(resized_crop=smallest, flip=False)
    shares = []
    for seed in range(60):
        view = train_view(ramp, side=40, config=config, seed=seed)
        shown = (int(view[0, 0, -1]) - int(view[0, 0, 0])) / 2 * 40 / 39  # columns of the photo
        # A crop of area a has a width of at least sqrt(a * 3/4) of the photo's.
        assert 120 * (smallest * 3 / 4) ** 0.5 * 0.95 <= shown <= 121
        shares.append((shown / 120) ** 2)
    assert sum(shares) / len(shares) == pytest.approx((smallest + 1) / 2, abs=0.12)


def test_a_photo_too_long_for_any_such_crop_shows_its_middle() -> None:
    image = torch.zeros(3, 10, 400, dtype=torch.uint8)
    image[:, :, 190:210] = 200
    view = train_view(image, side=8, config=DataConfig(resized_crop=1.0), seed=0)
    assert (view == 200).all()


def test_randaugment_changes_more_with_its_magnitude() -> None:
    resized = to_tensor(make_photo(40, 40))
    changes = []
    for magnitude in (1, 9, 30):
        config = DataConfig(flip=False, randaugment=magnitude)
        views = torch.stack([train_view(resized, side=40, config=config, seed=seed) for seed in range(60)])
        difference = (views.float() - resized.float()).abs().mean((1, 2, 3))
        assert (difference == 0).sum() < 12  # one pair in 49 is of changes that do nothing
        changes.append(float(difference.mean()))
    assert changes[0] + 5 < changes[1] < changes[2] - 5


def test_jitter_keeps_within_its_strength() -> None:
    resized = torch.full((3, 40, 40), 100, dtype=torch.uint8)  # grey: neither contrast nor saturation changes it
    config = DataConfig(jitter=0.4)
    found = [float(train_view(resized, side=40, config=config, seed=seed).float().mean()) for seed in range(300)]
    assert 59 <= min(found) < 65
    assert 135 < max(found) <= 141
    assert sum(found) / len(found) == pytest.approx(100, abs=5)


def test_erasing_puts_noise_into_one_rectangle_and_leaves_the_rest() -> None:
    image = torch.full((3, 60, 60), 128, dtype=torch.uint8)
    for seed in range(40):
        erased = train_view(image, side=60, config=DataConfig(erasing=1.0), seed=seed)
        changed = (erased != 128).any(0)
        rows, columns = torch.nonzero(changed, as_tuple=True)
        inside = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert inside.float().mean() > 0.99  # noise is 128 in all three channels by chance one time in 16 million
        assert 0.015 <= changed.float().mean() <= 0.34
        noise = erased[:, changed].float()
        assert noise.mean() == pytest.approx(127.5, abs=20)
        assert noise.std() == pytest.approx(74, abs=10)  # of uniform bytes
    assert (image == 128).all()


def test_erasing_happens_as_often_as_told() -> None:
    resized = torch.full((3, 40, 40), 77, dtype=torch.uint8)
    views = [train_view(resized, side=40, config=DataConfig(erasing=0.3), seed=seed) for seed in range(300)]
    assert 60 <= sum(not torch.equal(view, resized) for view in views) <= 120


@pytest.mark.parametrize("preset", ["paper", "authors"])
def test_a_preset_of_a_publication_says_of_every_change_that_it_is_off(preset: Literal["paper", "authors"]) -> None:
    off = {"jitter": 0, "resized_crop": 0, "randaugment": 0, "erasing": 0, "mixup": 0, "cutmix": 0, "balance": "none"}
    assert {name: PRESETS[preset][name] for name in off} == off


def test_views_do_not_depend_on_how_a_photo_lies_in_memory() -> None:
    first = to_tensor(make_photo(90, 70))
    last = first.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not last.is_contiguous()
    for config in (DataConfig(), DataConfig(resized_crop=0.1, randaugment=9, erasing=0.5, jitter=0.2)):
        for seed in range(10):
            view = train_view(last, side=48, config=config, seed=seed)
            assert torch.equal(view, train_view(first, side=48, config=config, seed=seed))
            assert view.is_contiguous()
