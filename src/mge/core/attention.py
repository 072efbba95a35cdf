"""Class activation maps in closed form, without autograd, and the boxes around them.

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
    """Return the Grad-CAM weight of each channel for one class per photo.

        w[b, k] = mean_ij dlogit_c / dA_k[i, j] = W[c, k] / (h * w)    with c = labels[b]

    Args:
        classifier: Weight W of the linear layer behind the mean pool.
        labels: Class c that each photo's map is made for.
        num_cells: Number of cells h * w of the pooled feature map.
        positive: Whether negative weights are set to 0.

    Returns:
        The mean over the cells of the gradient of the class's logit.

    Source: the paper's Grad-CAM weight of channel k for class c, section 3.1, with Grad-CAM (Selvaraju et al., ICCV
        2017, equation 1).
    Differs: `positive` is the authors' program, which applies ReLU to the gradient before its mean.
    """
    weights = classifier[labels].float() / num_cells
    return weights.relu() if positive else weights


def expected_weights(
    classifier: Float[Tensor, "C D"], probs: Float[Tensor, "B C"], *, num_cells: int, positive: bool = False
) -> Float[Tensor, "B D"]:
    """Return the Grad-CAM weight of each channel, averaged over all classes by their predicted probability.

        w[b, k] = sum_c p[b, c] * W[c, k] / (h * w)

    A confident expert gives the map of its predicted class. An uncertain one gives the mean map of the candidate
    classes, which still shows the object.

    Args:
        classifier: Weight W of the linear layer behind the mean pool.
        probs: Class probabilities p predicted by the expert.
        num_cells: Number of cells h * w of the pooled feature map.
        positive: Whether negative weights are set to 0, class by class, before averaging.

    Returns:
        The weights in float32 even under autocast: divided by the number of cells, they are small for float16.

    Differs: the paper follows one class.
    """
    weights = classifier.float() / num_cells
    with torch.autocast(classifier.device.type, enabled=False):
        return probs.float() @ (weights.relu() if positive else weights)


def attention_map(features: Float[Tensor, "B D h w"], weights: Float[Tensor, "B D"]) -> Float[Tensor, "B h w"]:
    """Compute the class activation map: the weighted sum of the channels, followed by ReLU.

        M[i, j] = ReLU(sum_k w_k * A_k[i, j])

    Args:
        features: Feature map A of the last stage.
        weights: Weight w of each channel, from `channel_weights`.

    Returns:
        The map in float32 even under autocast, at least 0 everywhere.

    Source: the paper's attention map, section 3.1, with Grad-CAM (Selvaraju et al., ICCV 2017, equation 2).
    """
    return _weighted_sum(features, weights).relu()


def uniform_weights(classifier: Float[Tensor, "C D"], *, batch_size: int, num_cells: int) -> Float[Tensor, "B D"]:
    """Return the mean over all classes of the positive channel weights, for a class-agnostic map.

        w[b, k] = 1/C * sum_c ReLU(W[c, k]) / (h * w)

    The map of one class is highest where it differs from the others, often on a small part. The mean over the classes
    covers the whole object, which is what a box should contain.

    Args:
        classifier: Weight W of the linear layer behind the mean pool.
        batch_size: Number of photos B.
        num_cells: Number of cells h * w of the pooled feature map.

    Differs: the paper follows one class. Class-agnostic boxes were shown to localize objects better by Zhang, Cao and
        Wu, "Rethinking the Route Towards Weakly Supervised Object Localization", CVPR 2020.
    """
    alike = classifier.new_full((batch_size, len(classifier)), 1 / len(classifier))
    return expected_weights(classifier, alike, num_cells=num_cells, positive=True)


def class_evidence(features: Float[Tensor, "B D h w"], weights: Float[Tensor, "B D"]) -> Float[Tensor, "B h w"]:
    """Return each cell's contribution to the logit of one class per photo: the signed class activation map.

        E[i, j] = sum_k w_k * A_k[i, j],    sum_ij E[i, j] = logit_c - bias_c

    So the difference of the maps of two classes shows, cell by cell, the evidence for the one against the other. With
    layers between pool and classifier this holds to first order.

    Args:
        features: Feature map A that the network pools.
        weights: Weight w of each channel, from `channel_weights`.

    Source: CAM (Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016).
    """
    return _weighted_sum(features, weights)


def _weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        cells = features.float().flatten(2)
        summed = torch.bmm(weights.float().unsqueeze(1), cells).squeeze(1)
        return summed.view(features.shape[0], *features.shape[2:])


def enlarge(maps: Float[Tensor, "B h w"], *, side: int, offset: float = 0.0) -> Float[Tensor, "B side side"]:
    """Resize each map bilinearly to its view, shifted by the offset of the cells' receptive fields.

    Args:
        maps: One value per cell.
        side: Side of the result in pixels.
        offset: Shift, in pixels of the result, of the centre of a cell's receptive field to the right of and below the
            cell's place in the map.
    """
    height, width = maps.shape[1:]
    x, y = offset * width / side, offset * height / side
    window = torch.tensor([[-x, -y, width - x, height - y]], device=maps.device)
    return zoom(maps.unsqueeze(1), window.expand(len(maps), 4), size=(side, side)).squeeze(1)


def scale_to_unit(maps: Float[Tensor, "B h w"]) -> Float[Tensor, "B h w"]:
    """Rescale each map to the range [0, 1]: (M - min M) / (max M - min M); a constant map becomes 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def threshold_boxes(
    maps: Float[Tensor, "B h w"],
    *,
    size: tuple[int, int],
    threshold: float,
    geometry: Geometry = "pixels",
    offset: float = 0.0,
) -> Float[Tensor, "B 4"]:
    """Return the smallest box around all pixels of the enlarged map that reach the threshold.

        box = [min x, min y, max x + 1, max y + 1]    over all (x, y) with scale_to_unit(resize(M))[y, x] >= threshold

    Args:
        maps: Class activation maps M.
        size: Height and width of the view in pixels.
        threshold: Fraction of the enlarged map's range, between 0 and 1, from which a pixel belongs to the box.
        geometry: `pixels`: the box is end-exclusive and contains every pixel above the threshold. `authors`: the map is
            enlarged with aligned corners, the last row and column are left out, an empty box becomes the whole view.
        offset: Shift in pixels of the centre of a cell's receptive field to the right of and below the cell's place in
            the map; see `Backbone.measure_offset`.

    Returns:
        Boxes as x1, y1, x2, y2 in pixels of the view. A constant map gives the whole view.

    Source: the paper's thresholded map and bounding box, section 3.1; threshold and enlargement are those of the
        authors' program.
    """
    corners = geometry == "authors"
    # Scaled before the enlargement too: otherwise its rounding errors would become contrast in a constant map.
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


def moment_boxes(
    maps: Float[Tensor, "B h w"], *, size: tuple[int, int], threshold: float, offset: float = 0.0
) -> Float[Tensor, "B 4"]:
    """Return boxes centred on each map's mean whose sides follow from its standard deviation, axis by axis.

        s[i, j] = max(0, scale_to_unit(M)[i, j] - threshold),    p = s / sum s
        x = [mean_p(x) - sqrt(3 * var_p(x)), mean_p(x) + sqrt(3 * var_p(x))], and y alike

    A uniform rectangle of width w has the standard deviation w / sqrt(12), so a uniform rectangle of cells gives
    itself. Unlike the outermost cell above a threshold, mean and deviation are continuous in the map: rounding moves a
    box no more than it moves the map, and a single distant cell does not decide.

    Args:
        maps: Class activation maps M.
        size: Height and width of the view in pixels.
        threshold: Fraction of the map's range, at least 0 and below 1, that is subtracted first.
        offset: Shift in pixels of the centre of a cell's receptive field to the right of and below the cell's place in
            the map; see `Backbone.measure_offset`.

    Returns:
        Boxes as x1, y1, x2, y2 in pixels of the view, at least one pixel wide. A constant map gives the whole view.

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
    """Return centre and half width, in pixels, of a distribution over n cells that divide a length."""
    cell = length / shares.shape[1]
    centers = (torch.arange(shares.shape[1], device=shares.device) + 0.5) * cell
    mean = (shares * centers).sum(1)
    variance = (shares * (centers - mean[:, None]) ** 2).sum(1) + cell**2 / 12
    return mean, (3 * variance).sqrt()


def _keep_inside(boxes: Tensor, *, size: tuple[int, int]) -> Tensor:
    """Clip each box to the view, keeping at least one pixel of it."""
    limit = boxes.new_tensor([size[1], size[0]])
    start = boxes[:, :2].clamp_min(0).minimum(limit - 1)
    end = boxes[:, 2:].minimum(limit).maximum(start + 1)
    return torch.cat((start, end), dim=1)


def _shift(boxes: Tensor, offset: float, *, size: tuple[int, int]) -> Tensor:
    """Shift the edges that lie inside the view; edges at its border stay there."""
    limit = torch.tensor([size[1], size[0]], dtype=boxes.dtype, device=boxes.device)
    start, end = boxes[:, :2], boxes[:, 2:]
    start = torch.where(start > 0, start + offset, start).clamp_min(0).minimum(limit - 1)
    end = torch.where(end < limit, end + offset, end).minimum(limit).clamp_min(1)
    return torch.cat((start, end), dim=1)


def _extent(marked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the first and of the last marked element of each row of a (B, N) mask."""
    numbers = marked.int()
    return numbers.argmax(1), marked.shape[1] - 1 - numbers.flip(1).argmax(1)
