"""Which patches of a crop the encoder sees, and where their cells lie.

Shapes: N samples, V visible and U hidden patches, S sites, C channels,
h w cells of a map, s cells a side of a patch. Sites are ordered patch by patch:
(patch, row in the patch, column in the patch), so that cells that are merged by a
strided convolution lie in one patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmearth_infer.errors import RecipeError


def count_visible(patches: int, mask_ratio: float) -> int:
    """Return how many patches stay visible: `int(patches * (1 - mask_ratio))`.

    49 patches at 0.6 leave 19 (MMEarth paper, section 4, and the published code).

    Raises:
        RecipeError: If nothing would be visible, or nothing hidden.

    """
    hint = "the paper hides 0.6 of them"
    if not 0 <= mask_ratio <= 1:
        raise RecipeError(
            f"a mask ratio of `{mask_ratio}` is not between 0 and 1", hint=hint
        )
    visible = int(patches * (1 - mask_ratio))
    if not 0 < visible < patches:
        what = "every patch" if visible == 0 else "no patch"
        raise RecipeError(
            f"a mask ratio of `{mask_ratio}` hides {what} of {patches}", hint=hint
        )
    return visible


@dataclass(frozen=True, slots=True)
class Mask:
    """One random choice of patches for each sample, the same for every modality."""

    visible_NV: Tensor
    """Numbers of the visible patches, int64, ascending in each row."""

    hidden_NU: Tensor
    """Numbers of all others, int64, ascending in each row."""

    @property
    def side(self) -> int:
        """Patches a side of the crop."""
        return math.isqrt(self.visible_NV.shape[1] + self.hidden_NU.shape[1])

    def sites(self, s: int) -> Tensor:
        """Return the row of each visible site in a flat `(N h w)` map, `(N S,)`.

        Args:
            s: Cells a side of a patch.

        """
        count, side = self.visible_NV.shape[0], self.side
        device = self.visible_NV.device
        top_NV11 = (self.visible_NV // side * s)[:, :, None, None]
        left_NV11 = (self.visible_NV % side * s)[:, :, None, None]
        step = torch.arange(s, device=device)
        width = side * s
        flat = (top_NV11 + step[:, None]) * width + left_NV11 + step
        start = torch.arange(count, device=device) * (width * width)
        return (flat + start[:, None, None, None]).reshape(-1)

    def visible_map(self, s: int) -> Tensor:
        """Return a `(N, 1, h, w)` float map: 1 where a cell is visible, 0 elsewhere."""
        count, side = self.visible_NV.shape[0], self.side
        patches = torch.zeros(count, side * side, device=self.visible_NV.device)
        patches = patches.scatter(1, self.visible_NV, 1.0).view(count, 1, side, side)
        return patches.repeat_interleave(s, 2).repeat_interleave(s, 3)


def spread(rows_NSC: Tensor, index: Tensor, width: int) -> Tensor:
    """Put rows into a map of zeros, `(N, C, width, width)`, channels last in memory."""
    count, _, channels = rows_NSC.shape
    flat = rows_NSC.new_zeros(count * width * width, channels)
    flat = flat.index_copy(0, index, rows_NSC.reshape(-1, channels))
    return flat.view(count, width, width, channels).permute(0, 3, 1, 2)


def gather(x_NChw: Tensor, index: Tensor) -> Tensor:
    """Take the sites out of a map, `(N, S, C)`; undoes `spread`."""
    count, channels = x_NChw.shape[:2]
    flat = x_NChw.permute(0, 2, 3, 1).reshape(-1, channels)
    return flat.index_select(0, index).view(count, -1, channels)


def pick(x_NPC: Tensor, patches_NQ: Tensor) -> Tensor:
    """Take some patches of each sample, `(N, Q, C)` out of `(N, P, C)`."""
    count, total, channels = x_NPC.shape
    start = torch.arange(count, device=x_NPC.device)[:, None] * total
    flat = x_NPC.reshape(-1, channels).index_select(0, (start + patches_NQ).view(-1))
    return flat.view(count, -1, channels)


def place(x_NQC: Tensor, patches_NQ: Tensor, background_NPC: Tensor) -> Tensor:
    """Put patches into a background, `(N, P, C)`; `pick` gives them back."""
    count, total, channels = background_NPC.shape
    start = torch.arange(count, device=x_NQC.device)[:, None] * total
    flat = background_NPC.reshape(-1, channels).index_copy(
        0, (start + patches_NQ).view(-1), x_NQC.reshape(-1, channels)
    )
    return flat.view(count, total, channels)


def reorder(x_NPC: Tensor, order_NP: Tensor, back_NP: Tensor) -> Tensor:
    """Return `x[n, order[n, p]]`, `(N, P, C)`, for an order that is a permutation.

    Args:
        x_NPC: What is reordered.
        order_NP: Each number below P once in a row.
        back_NP: The inverse, `order.argsort(1)`. The gradient is picked with it, where
            that of `pick` must be added up in a map of zeros.

    """
    result: Tensor = _Reorder.apply(  # type: ignore[no-untyped-call]
        x_NPC, order_NP, back_NP
    )
    return result


class _Reorder(torch.autograd.Function):
    """The permutation with its inverse as gradient."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 -- PyTorch's own
        x_NPC: Tensor,
        order_NP: Tensor,
        back_NP: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(order_NP, back_NP)
        return pick(x_NPC, order_NP)

    @staticmethod
    def backward(ctx: Any, grad_NPC: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        order_NP, back_NP = ctx.saved_tensors
        return reorder(grad_NPC, back_NP, order_NP), None, None
