"""What vanishes from a graph because the weights beside it can carry it.

Shapes: E channels in, C channels out.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mmearth_training.model.blocks import GRN


@torch.no_grad()
def norm_into_linear(norm: nn.LayerNorm, linear: nn.Linear) -> nn.Linear:
    """Return a Linear that takes over the scale and shift of the norm before it.

    `W (a n + b) + c = (W diag(a)) n + (W b + c)`.
    """
    return _linear(linear.weight * norm.weight, linear.bias + linear.weight @ norm.bias)


@torch.no_grad()
def norm_into_conv(norm: nn.LayerNorm, conv: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution that takes over the scale and shift of the norm before it.

    Exact for one without padding: a padded cell is 0, not the shift.
    """
    assert conv.padding == (0, 0)
    assert conv.groups == 1
    assert conv.bias is not None
    folded = copy.deepcopy(conv)
    assert folded.bias is not None
    folded.weight *= norm.weight[:, None, None]
    folded.bias += conv.weight.sum(dim=(2, 3)) @ norm.bias
    return folded


@torch.no_grad()
def grn_into_linear(grn: GRN, linear: nn.Linear) -> nn.Linear:
    """Return a Linear that takes over a frozen GRN before it.

    `W (x + gamma N x + beta) + c = (W diag(1 + gamma N)) x + (W beta + c)`.
    """
    response_E = grn.get_buffer("response_E")
    return _linear(
        linear.weight * (1 + grn.gamma * response_E),
        linear.bias + linear.weight @ grn.beta,
    )


def plain_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """Return the norm with scale 1 and shift 0, which it gave away."""
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    return plain.requires_grad_(requires_grad=False)


def _linear(weight_CE: Tensor, bias_C: Tensor) -> nn.Linear:
    """Return a Linear with these weights."""
    linear = nn.Linear(weight_CE.shape[1], weight_CE.shape[0])
    linear.weight.data, linear.bias.data = weight_CE.detach(), bias_C.detach()
    return linear
