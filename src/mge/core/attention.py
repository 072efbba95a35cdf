"""Where an expert looked: class activation maps in closed form, without autograd.

An expert's large-part head is a mean pool followed by a linear layer, so the gradient of a class's logit with respect
to channel k of the last feature map is `weight[c, k] / (h * w)` in every cell. Grad-CAM needs nothing more.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mge.core.crop import Geometry, zoom


def channel_weights(
    classifier: Float[Tensor, "C D"], labels: Int[Tensor, " B"], *, num_cells: int, positive: bool = False
) -> Float[Tensor, "B D"]:
    """The Grad-CAM weight of each channel for one class a photo.

    Args:
        classifier: Weight of the linear layer behind the mean pool.
        labels: The class that each photo's map is made for.
        num_cells: Number of cells h * w of the pooled feature map.
        positive: Whether negative weights become 0.

    Returns:
        The mean over the cells of the gradient of the class's logit.

    Source: section 3.1 of the paper, with Grad-CAM (Selvaraju et al., ICCV 2017, equation 1).
    Differs: `positive` is the authors' program, which applies ReLU to the gradient before its mean.
    """
    weights = classifier[labels].float() / num_cells
    return weights.relu() if positive else weights


def expected_weights(
    classifier: Float[Tensor, "C D"], probs: Float[Tensor, "B C"], *, num_cells: int, positive: bool = False
) -> Float[Tensor, "B D"]:
    """The Grad-CAM weight of each channel, every class counting as much as the expert believes in it.

    An expert that is sure gives the map of its class. One that is not gives the map of all the classes that it wavers
    between, which shows where the thing is whatever its name.

    Args:
        classifier: Weight of the linear layer behind the mean pool.
        probs: How probable the expert holds each class for.
        num_cells: Number of cells h * w of the pooled feature map.
        positive: Whether negative weights become 0, class by class.

    Returns:
        The weights in float32 whatever autocast says: divided by the number of cells, they are small for float16.

    Differs: the paper follows one class.
    """
    weights = classifier.float() / num_cells
    with torch.autocast(classifier.device.type, enabled=False):
        return probs.float() @ (weights.relu() if positive else weights)


def attention_map(features: Float[Tensor, "B D h w"], weights: Float[Tensor, "B D"]) -> Float[Tensor, "B h w"]:
    """The class activation map: channels summed with their weights, negative evidence left out.

    Args:
        features: Feature map of the last stage.
        weights: Weight of each channel, from `channel_weights`.

    Returns:
        The map in float32 whatever autocast says, at least 0 everywhere.

    Source: Grad-CAM (Selvaraju et al., ICCV 2017, equation 2).
    """
    return _weighted_sum(features, weights).relu()


def uniform_weights(classifier: Float[Tensor, "C D"], *, batch_size: int, num_cells: int) -> Float[Tensor, "B D"]:
    """Return the mean over all classes of the positive channel weights: the map that they give shows the whole thing.

    The map of one class is highest where it differs from the others, often on a small part. What all classes have in
    common is the whole thing, which is what a box should hold.

    Args:
        classifier: Weight of the linear layer behind the mean pool.
        batch_size: Number of photos B.
        num_cells: Number of cells h * w of the pooled feature map.

    Differs: the paper follows one class. That boxes of things are better found without asking for the class is known
        from Zhang, Cao and Wu, "Rethinking the Route Towards Weakly Supervised Object Localization", CVPR 2020.
    """
    alike = classifier.new_full((batch_size, len(classifier)), 1 / len(classifier))
    return expected_weights(classifier, alike, num_cells=num_cells, positive=True)


def class_evidence(features: Float[Tensor, "B D h w"], weights: Float[Tensor, "B D"]) -> Float[Tensor, "B h w"]:
    """Return what each cell adds to the logit of one class a photo: its class activation map with its signs.

    All cells together are the logit of the large-part head, less its bias; so the difference of the maps of two classes
    is, cell by cell, what speaks for the one and not for the other. Behind layers between pool and classifier that is
    so to first order.

    Args:
        features: Feature map that the network pools.
        weights: Weight of each channel, from `channel_weights`.

    Source: CAM (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016).
    """
    return _weighted_sum(features, weights)


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        cells = features.float().flatten(2)
        summed = torch.bmm(weights.float().unsqueeze(1), cells).squeeze(1)
        return summed.view(features.shape[0], *features.shape[2:])


def enlarge(maps: Float[Tensor, "B h w"], *, side: int, offset: float = 0.0) -> Float[Tensor, "B side side"]:
    """Each map laid over its view: enlarged, and moved to where its cells looked.

    Args:
        maps: One value a cell.
        side: Side of the result in pixels.
        offset: How many of these pixels right of and below its place in the map what a cell sees lies.
    """
    height, width = maps.shape[1:]
    x, y = offset * width / side, offset * height / side
    window = torch.tensor([[-x, -y, width - x, height - y]], device=maps.device)
    return zoom(maps.unsqueeze(1), window.expand(len(maps), 4), size=(side, side)).squeeze(1)


def scale_to_unit(maps: Float[Tensor, "B h w"]) -> Float[Tensor, "B h w"]:
    """Each map shifted and scaled to run from 0 to 1; a map without contrast becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def attention_boxes(
    maps: Float[Tensor, "B h w"],
    *,
    size: tuple[int, int],
    threshold: float,
    geometry: Geometry = "pixels",
    offset: float = 0.0,
) -> Float[Tensor, "B 4"]:
    """The smallest box around everything that the map, enlarged to the view, holds for important.

    Args:
        maps: Class activation maps.
        size: Height and width of the view in pixels.
        threshold: Fraction of the enlarged map's range, between 0 and 1, from which a pixel counts.
        geometry: `pixels`: the box is end-exclusive and holds every pixel that counts. `authors`: the map is enlarged
            with aligned corners, the last row and column are left out, an empty box becomes the whole view.
        offset: How many pixels right of and below its place in the map what a cell sees lies; see
            `Backbone.measure_offset`.

    Returns:
        Boxes as x1, y1, x2, y2 in pixels of the view. A map without contrast gives the whole view.

    Source: section 3.1 of the paper; its threshold and enlargement are those of the authors' program.
    """
    corners = geometry == "authors"
    # Scaled before the enlargement too, whose rounding would be contrast to a map that has none.
    cells = scale_to_unit(maps).unsqueeze(1)
    enlarged = functional.interpolate(cells, size=size, mode="bilinear", align_corners=corners).squeeze(1)
    mask = scale_to_unit(enlarged) >= threshold
    is_blank = ~mask.flatten(1).any(1)
    mask = mask | is_blank[:, None, None]
    x1, x2 = _extent(mask.any(1))
    y1, y2 = _extent(mask.any(2))
    boxes = torch.stack((x1, y1, x2, y2), dim=1).to(maps.dtype)
    whole = torch.tensor([0, 0, size[1], size[0]], dtype=maps.dtype, device=maps.device)
    if corners:
        is_empty = (x1 == x2) | (y1 == y2) | is_blank
        return torch.where(is_empty.unsqueeze(1), whole, boxes)
    return _shift(boxes + torch.tensor([0, 0, 1, 1], dtype=maps.dtype, device=maps.device), offset, size=size)


def spread_boxes(
    maps: Float[Tensor, "B h w"], *, size: tuple[int, int], threshold: float, offset: float = 0.0
) -> Float[Tensor, "B 4"]:
    """Boxes around where a map is centred, as wide as it is spread, one direction at a time.

    Each cell counts with how far it lies above the threshold. A rectangle of even weight has a standard deviation of
    its width divided by the square root of 12, so the box of that width is drawn around the mean: an evenly lit
    rectangle of cells gives itself. Unlike the outermost cell above a threshold, mean and spread follow the map without
    jumps, so that rounding moves a box no more than it moves the map, and one far cell does not decide alone.

    Args:
        maps: Class activation maps.
        size: Height and width of the view in pixels.
        threshold: Fraction of the map's range, at least 0 and below 1, that is subtracted first.
        offset: How many pixels right of and below its place in the map what a cell sees lies; see
            `Backbone.measure_offset`.

    Returns:
        Boxes as x1, y1, x2, y2 in pixels of the view, at least a pixel wide. A map without contrast gives the whole
        view.

    Differs: the paper takes the smallest box around all cells above the threshold.
    """
    height, width = size
    cells = (scale_to_unit(maps.float()) - threshold).clamp_min(0)
    total = cells.sum((1, 2))
    share = cells / total.clamp_min(torch.finfo(cells.dtype).tiny)[:, None, None]
    x, half_width = _mean_and_half(share.sum(1), length=width)
    y, half_height = _mean_and_half(share.sum(2), length=height)
    boxes = torch.stack((x - half_width, y - half_height, x + half_width, y + half_height), dim=1)
    whole = boxes.new_tensor([0, 0, width, height])
    return torch.where((total > 0)[:, None], _keep_inside(boxes + offset, size=size), whole)


def _mean_and_half(shares: Float[Tensor, "B n"], *, length: int) -> tuple[Tensor, Tensor]:
    """Centre and half width, in pixels, of n cells that divide a length and have these shares of the whole."""
    cell = length / shares.shape[1]
    centers = (torch.arange(shares.shape[1], device=shares.device) + 0.5) * cell
    mean = (shares * centers).sum(1)
    variance = (shares * (centers - mean[:, None]) ** 2).sum(1) + cell**2 / 12
    return mean, (3 * variance).sqrt()


def _keep_inside(boxes: Tensor, *, size: tuple[int, int]) -> Tensor:
    """What of each box lies in the view, at least a pixel of it."""
    limit = boxes.new_tensor([size[1], size[0]])
    start = boxes[:, :2].clamp_min(0).minimum(limit - 1)
    end = boxes[:, 2:].minimum(limit).maximum(start + 1)
    return torch.cat((start, end), dim=1)


def _shift(boxes: Tensor, offset: float, *, size: tuple[int, int]) -> Tensor:
    """Moves the edges that lie inside the view; what reaches its border goes on doing so."""
    limit = torch.tensor([size[1], size[0]], dtype=boxes.dtype, device=boxes.device)
    start, end = boxes[:, :2], boxes[:, 2:]
    start = torch.where(start > 0, start + offset, start).clamp_min(0).minimum(limit - 1)
    end = torch.where(end < limit, end + offset, end).minimum(limit).clamp_min(1)
    return torch.cat((start, end), dim=1)


def _extent(marked: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first and of the last marked element of each row of a (B, N) mask."""
    numbers = marked.int()
    return numbers.argmax(1), marked.shape[1] - 1 - numbers.flip(1).argmax(1)
