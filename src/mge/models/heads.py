"""Small heads that experts are made of."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

SPARSE_DEVICES = ("cpu", "cuda")  # where PyTorch multiplies sparse matrices
UNIT_SCALE = 10.0  # the authors' program: unit vectors alone would keep the joint logits too close together


class PartFilters(nn.Module):
    """A bank of 1x1 filters, each of which looks for one small part anywhere in the view.

    Source: section 3.1 of the paper. Differs: `padding` 1 is the authors' program.

    Args:
        width: Channels of the feature map.
        count: Number of filters.
        padding: Zero cells around the map.
        is_normalized: Whether channels are normalised first, by batch norm without weights of its own. Differs: the
            paper's filters read them as they are; those of pretrained networks have scales of their own, from which
            filters that start at random learn slowly, or not at all.
    """

    def __init__(self, width: int, count: int, *, padding: int = 0, is_normalized: bool = False) -> None:
        super().__init__()
        self.padding = padding
        self.norm = nn.BatchNorm2d(width, affine=False) if is_normalized else nn.Identity()
        self.filters = nn.Conv2d(width, count, kernel_size=1, padding=padding)

    def forward(self, features: Float[Tensor, "B D h w"]) -> Float[Tensor, "B P"]:
        """How strongly each part is there: its filter's largest response."""
        features = self.norm(features)
        is_compiling = torch.compiler.is_compiling()  # the compiler knows no sparse matrices
        if torch.is_grad_enabled() and not is_compiling and features.device.type in SPARSE_DEVICES:
            padded = functional.pad(features, (self.padding,) * 4) if self.padding else features
            largest: Tensor = LargestResponses.apply(padded, self.filters.weight, self.filters.bias)
            return largest.relu()
        responses: Tensor = self.filters(features)
        return responses.amax((2, 3)).relu()  # the same as the largest of the ReLU's values, which need not be written


class LargestResponses(torch.autograd.Function):
    """The largest response of each 1x1 filter, with a backward that does not multiply zeros.

    The gradient of a maximum reaches one cell for each filter. Written as a matrix of cells and filters it has one
    entry for each filter and photo; autograd's own backward of pooling and convolution treats all of its entries
    alike. Where several cells are the largest, the first has the gradient.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:  # noqa: ANN401
        """Largest responses (B, P) of features (B, D, h, w) to filters (P, D, 1, 1)."""
        largest, places = functional.conv2d(features, weight, bias).flatten(2).max(2)
        ctx.save_for_backward(features, weight, places)
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # noqa: ANN401
        """Gradients of the features, where they want one, of the filters and of their biases."""
        features, weight, places = ctx.saved_tensors
        gradient = gradients[0].to(weight.dtype)
        (batch, _, height, width), count = features.shape, weight.shape[0]
        cells = features.permute(0, 2, 3, 1).flatten(0, 2)
        rows = places + height * width * torch.arange(batch, device=places.device).unsqueeze(1)
        columns = torch.arange(count, device=places.device).expand_as(rows)
        reached = torch.sparse_coo_tensor(
            torch.stack([rows.flatten(), columns.flatten()]), gradient.flatten(), (len(cells), count),
            check_invariants=False,
        )  # fmt: skip
        for_weight = torch.sparse.mm(reached.t(), cells.to(weight.dtype)).view_as(weight)
        for_features = None
        if ctx.needs_input_grad[0]:
            for_cells = torch.sparse.mm(reached, weight.flatten(1)).to(features.dtype)
            for_features = for_cells.view(batch, height, width, -1).permute(0, 3, 1, 2)
        return for_features, for_weight, gradient.sum(0)


class ClasswiseLinear(nn.Module):
    """A linear layer in which each class reads its own part features only, so that it grows linearly with classes.

    Args:
        num_classes: Number of classes C.
        num_parts: Part filters for each class.
    """

    def __init__(self, num_classes: int, num_parts: int) -> None:
        super().__init__()
        bound = num_parts**-0.5
        self.weight = nn.Parameter(torch.empty(num_classes, num_parts).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_classes).uniform_(-bound, bound))

    def forward(self, features: Float[Tensor, "B P"]) -> Float[Tensor, "B C"]:
        """Logits of part features that are grouped by class."""
        by_class = features.reshape(features.shape[0], *self.weight.shape)
        return (by_class * self.weight).sum(2) + self.bias


class JointHead(nn.Module):
    """Logits of large-part and small-part features together, each scaled to unit length.

    Source: section 3.1 of the paper. Differs: both are multiplied by 10, as in the authors' program.

    Args:
        width: Number of large-part features.
        num_parts: Number of small-part features for each class.
        num_classes: Number of classes.
        classwise: Whether each class reads its own small parts only.
    """

    def __init__(self, width: int, num_parts: int, num_classes: int, *, classwise: bool = False) -> None:
        super().__init__()
        self.large = nn.Linear(width, num_classes)
        self.part: nn.Module = (
            ClasswiseLinear(num_classes, num_parts)
            if classwise
            else nn.Linear(num_parts * num_classes, num_classes, bias=False)
        )

    def forward(self, large: Float[Tensor, "B D"], part: Float[Tensor, "B P"]) -> Float[Tensor, "B C"]:
        """The joint logits. One linear layer on the joined vector, written as the sum of its two halves."""
        logits: Tensor = self.large(unit(large)) + self.part(unit(part))
        return logits


def unit(features: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Each row scaled to the length `UNIT_SCALE`, in float32."""
    return UNIT_SCALE * functional.normalize(features.float(), dim=1)
