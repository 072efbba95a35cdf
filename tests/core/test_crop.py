"""Boxes and zooming: hand-worked values, the naive loops, and what must hold for any picture."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mge.core.crop import Geometry, compose_boxes, whole_boxes, zoom
from tests import reference

GEOMETRIES: list[Geometry] = ["pixels", "authors"]


def random_boxes(count: int, *, height: int, width: int) -> Tensor:
    """Boxes of at least 1.5 px, with fractions of pixels, anywhere inside the picture."""
    extent = 1.5 + torch.rand(count, 2) * (torch.tensor([width, height]) - 1.5)
    corner = torch.rand(count, 2) * (torch.tensor([width, height]) - extent)
    return torch.cat((corner, corner + extent), dim=1)


def ramp(*, height: int, width: int) -> Tensor:
    """A picture whose brightness is the position: x in the first channel, y in the second."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))[None]


# ---------------------------------------------------------------------------------------------------------------- boxes
def test_a_whole_box_ends_at_width_and_height() -> None:
    boxes = whole_boxes(torch.zeros(2, 3, 20, 30))
    assert boxes.tolist() == [[0, 0, 30, 20]] * 2
    assert boxes.dtype == torch.float32


def test_a_box_in_a_view_is_found_in_the_picture() -> None:
    outer, inner = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[5.0, 5.0, 10.0, 15.0]])
    assert compose_boxes(outer, inner, size=(20, 10)).tolist() == [[20, 30, 30, 50]]


def test_composed_boxes_equal_the_naive_ones() -> None:
    outer, inner = random_boxes(8, height=90, width=50), random_boxes(8, height=24, width=32)
    expected = [reference.compose_box(a, b, size=(24, 32)) for a, b in zip(outer.tolist(), inner.tolist(), strict=True)]
    np.testing.assert_allclose(compose_boxes(outer, inner, size=(24, 32)).numpy(), expected, rtol=1e-5)


def test_whole_boxes_change_nothing_inside_or_outside_of_another() -> None:
    picture, view = torch.zeros(6, 3, 90, 50), torch.zeros(6, 3, 24, 32)
    boxes = random_boxes(6, height=90, width=50)
    torch.testing.assert_close(compose_boxes(boxes, whole_boxes(view), size=(24, 32)), boxes)
    torch.testing.assert_close(compose_boxes(whole_boxes(picture), boxes, size=(90, 50)), boxes)


def test_boxes_compose_in_any_grouping() -> None:
    first = random_boxes(6, height=90, width=50)
    second, third = random_boxes(6, height=24, width=32), random_boxes(6, height=24, width=32)
    left = compose_boxes(compose_boxes(first, second, size=(24, 32)), third, size=(24, 32))
    right = compose_boxes(first, compose_boxes(second, third, size=(24, 32)), size=(24, 32))
    torch.testing.assert_close(left, right)


#  zoom
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 1, 7, 13), (3, 2, 448, 5)])
def test_a_full_box_gives_the_picture_back(shape: tuple[int, int, int, int], geometry: Geometry) -> None:
    images = torch.rand(shape)
    views = zoom(images, whole_boxes(images), size=shape[2:], geometry=geometry)
    torch.testing.assert_close(views, images, rtol=0, atol=1e-4)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_box_of_the_views_size_cuts_its_pixels_out(geometry: Geometry) -> None:
    images = torch.rand(2, 3, 9, 11)
    views = zoom(images, torch.tensor([[2.0, 1.0, 7.0, 4.0], [6.0, 6.0, 11.0, 9.0]]), size=(3, 5), geometry=geometry)
    torch.testing.assert_close(views, torch.stack((images[0, :, 1:4, 2:7], images[1, :, 6:9, 6:11])))


@pytest.mark.parametrize(
    ("geometry", "expected"), [("pixels", [0.0, 1.0, 3.0, 4.0]), ("authors", [0.0, 4 / 3, 8 / 3, 4.0])]
)
def test_two_pixels_enlarged_to_four(geometry: Geometry, expected: list[float]) -> None:
    images = torch.tensor([[[[0.0, 4.0]]]])
    views = zoom(images, whole_boxes(images), size=(1, 4), geometry=geometry)
    np.testing.assert_allclose(views.flatten(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_zoom_equals_a_loop_over_pixels(geometry: Geometry, supersample: int) -> None:
    images, boxes = torch.rand(4, 2, 9, 14), random_boxes(4, height=9, width=14)
    views = zoom(images, boxes, size=(6, 5), geometry=geometry, supersample=supersample)
    for image, box, view in zip(images, boxes, views, strict=True):
        expected = reference.zoom(
            image.double().numpy(), box.tolist(), size=(6, 5), aligned=geometry == "authors", supersample=supersample
        )
        np.testing.assert_allclose(view.numpy(), expected, atol=1e-5)


def test_the_authors_zoom_is_a_cut_and_an_enlargement_with_aligned_corners() -> None:
    images = torch.rand(1, 3, 20, 24)
    views = zoom(images, torch.tensor([[3.0, 5.0, 14.0, 12.0]]), size=(16, 18), geometry="authors")
    expected = functional.interpolate(images[:, :, 5:12, 3:14], size=(16, 18), mode="bilinear", align_corners=True)
    torch.testing.assert_close(views, expected, rtol=0, atol=1e-5)


def test_the_views_edges_are_the_boxs_edges() -> None:
    boxes = torch.tensor([[10.5, 4.25, 20.5, 9.25]])
    x, y = zoom(ramp(height=20, width=40), boxes, size=(10, 20))[0]
    torch.testing.assert_close(x[0], 10.5 + 0.5 * (torch.arange(20) + 0.5), rtol=0, atol=1e-4)
    torch.testing.assert_close(y[:, 0], 4.25 + 0.5 * (torch.arange(10) + 0.5), rtol=0, atol=1e-4)


def test_zooming_twice_is_zooming_into_the_composed_box() -> None:
    picture, size = ramp(height=60, width=80).expand(4, -1, -1, -1), (24, 32)
    outer = torch.tensor([[10.0, 10.0, 60.0, 50.0], [4.0, 20.0, 40.0, 44.0], [20.0, 2.0, 70.0, 30.0], [9, 9, 41, 33]])
    inner = torch.tensor([[2.0, 3.0, 20.0, 20.0], [5.0, 5.0, 9.0, 9.0], [1.5, 4.5, 30.0, 22.0], [8.0, 6.0, 24.0, 18.0]])
    twice = zoom(zoom(picture, outer, size=size), inner, size=size)
    once = zoom(picture, compose_boxes(outer, inner, size=size), size=size)
    torch.testing.assert_close(twice, once, rtol=0, atol=1e-3)


def test_a_box_beyond_the_picture_sees_its_border_repeated() -> None:
    images = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert zoom(images, torch.tensor([[2.0, 0.0, 6.0, 1.0]]), size=(1, 4)).flatten().tolist() == [3.0] * 4


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_box_without_area_gives_one_color_and_no_nan(geometry: Geometry) -> None:
    views = zoom(torch.rand(1, 1, 5, 5), torch.tensor([[2.0, 2.0, 2.0, 2.0]]), size=(3, 3), geometry=geometry)
    assert bool(views.isfinite().all())
    if geometry == "pixels":
        assert float(views.amax() - views.amin()) == 0


def test_each_picture_is_zoomed_into_its_own_box() -> None:
    images, boxes = torch.rand(5, 3, 12, 12), random_boxes(5, height=12, width=12)
    views = zoom(images, boxes, size=(8, 8))
    order = torch.randperm(5)
    assert torch.equal(zoom(images[order], boxes[order], size=(8, 8)), views[order])
    alone = [zoom(image[None], box[None], size=(8, 8)) for image, box in zip(images, boxes, strict=True)]
    assert torch.equal(torch.cat(alone), views)


# ---------------------------------------------------------------------------------------------------------- supersample
def test_a_fine_checkerboard_reduced_by_4_is_gray() -> None:
    board = torch.arange(32)[:, None].add(torch.arange(32)).remainder(2).float()[None, None]
    views = zoom(board, whole_boxes(board), size=(8, 8), supersample=4)
    torch.testing.assert_close(views, torch.full((1, 1, 8, 8), 0.5), rtol=0, atol=1e-4)


def test_fine_stripes_reduced_by_4_are_gray_only_when_supersampled() -> None:
    stripes = torch.tensor([0.0, 1.0, 1.0, 0.0]).repeat(8).expand(1, 1, 32, 32)
    boxes = whole_boxes(stripes)
    aliased = zoom(stripes, boxes, size=(8, 8))
    torch.testing.assert_close(aliased, torch.ones(1, 1, 8, 8), rtol=0, atol=1e-4)
    views = zoom(stripes, boxes, size=(8, 8), supersample=4)
    torch.testing.assert_close(views, torch.full((1, 1, 8, 8), 0.5), rtol=0, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_supersampling_by_a_whole_factor_is_the_mean_of_the_pixels(factor: int) -> None:
    images = torch.rand(2, 3, 6 * factor, 8 * factor)
    views = zoom(images, whole_boxes(images), size=(6, 8), supersample=factor)
    torch.testing.assert_close(views, functional.avg_pool2d(images, factor), rtol=0, atol=1e-4)


def test_supersampling_keeps_the_brightness_of_any_reduction() -> None:
    images = torch.rand(1, 1, 50, 50)
    views = zoom(images, whole_boxes(images), size=(20, 20), supersample=3)  # 2.5 pixels become one
    assert float(views.mean()) == pytest.approx(float(images.mean()), abs=2e-3)
    assert float(views.std()) < 0.6 * float(images.std())


# ------------------------------------------------------------ precision
@pytest.mark.parametrize("supersample", [1, 2])
def test_zoom_is_float32_and_the_same_under_autocast(supersample: int) -> None:
    images, boxes = torch.rand(2, 3, 40, 40), random_boxes(2, height=40, width=40)
    expected = zoom(images, boxes, size=(24, 24), supersample=supersample)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = zoom(images, boxes, size=(24, 24), supersample=supersample)
        composed = compose_boxes(boxes, boxes / 2, size=(40, 40))
    assert views.dtype == torch.float32
    assert torch.equal(views, expected)
    assert torch.equal(composed, compose_boxes(boxes, boxes / 2, size=(40, 40)))


def test_bfloat16_pictures_and_boxes_with_channels_last_are_zoomed_in_float32() -> None:
    images = torch.rand(2, 3, 40, 40).bfloat16().contiguous(memory_format=torch.channels_last)
    boxes = torch.tensor([[3.0, 5.0, 30.0, 17.0], [0.0, 0.0, 40.0, 40.0]])
    views = zoom(images, boxes.bfloat16(), size=(24, 24))
    assert views.dtype == torch.float32
    torch.testing.assert_close(views, zoom(images.float().contiguous(), boxes, size=(24, 24)))


def test_coordinates_are_exact_to_a_hundredth_of_a_pixel_in_a_large_picture() -> None:
    boxes = torch.tensor([[1000.25, 3.0, 1060.75, 63.0]])
    x = zoom(ramp(height=64, width=2048), boxes, size=(8, 121))[0, 0, 0]
    torch.testing.assert_close(x, 1000.25 + 0.5 * (torch.arange(121) + 0.5), rtol=0, atol=1e-2)


# ------------------------------------------------------------------------------------------------- products of matrices
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("size", "supersample"), [((24, 32), 1), ((8, 6), 3), ((40, 40), 2)])
def test_products_of_matrices_give_what_the_grid_gives(
    geometry: Geometry, size: tuple[int, int], supersample: int
) -> None:
    pictures, boxes = torch.randn(5, 3, 60, 44), random_boxes(5, height=60, width=44)
    boxes = torch.cat((boxes, whole_boxes(pictures)[:1], torch.tensor([[-4.0, -3.0, 50.0, 70.0]])))  # over the border
    pictures = torch.cat((pictures, pictures[:2]))
    by_grid = zoom(pictures, boxes, size=size, geometry=geometry, supersample=supersample)
    found = zoom(pictures, boxes, size=size, geometry=geometry, supersample=supersample, sampling="matrices")
    torch.testing.assert_close(found, by_grid, rtol=0, atol=2e-4)
    assert found.shape == (7, 3, *size)


def test_products_of_matrices_equal_the_naive_loop() -> None:
    picture, box = torch.randn(1, 2, 12, 9), torch.tensor([[1.25, 2.5, 7.0, 11.75]])
    expected = reference.zoom(picture[0].numpy(), box[0].tolist(), size=(5, 7))
    np.testing.assert_allclose(zoom(picture, box, size=(5, 7), sampling="matrices")[0].numpy(), expected, atol=1e-5)
