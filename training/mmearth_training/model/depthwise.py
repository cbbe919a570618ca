"""A depthwise convolution whose gradient is as fast as itself.

PyTorch's CPU kernel takes twenty times as long for the gradient of a 7x7 depthwise
kernel as for the convolution. That gradient is a convolution too, of the input with the
output's gradient as kernel, one for each channel of each sample, summed over samples;
so computed it takes half the time or less.

Shapes: N samples, C channels, h w positions, k the side of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_SIDE = 28
"""Side of the largest map: a kernel of 56x56 is as slow as PyTorch's gradient."""


def depthwise(conv: nn.Conv2d, x_NChw: Tensor) -> Tensor:
    """Return `conv(x)` for a depthwise `conv` with stride 1 that keeps the map's size.

    On a CPU in float32, for maps that are not large, with the gradient described above;
    otherwise with PyTorch's own.
    """
    slow_elsewhere = x_NChw.device.type != "cpu" or torch.is_autocast_enabled("cpu")
    if slow_elsewhere or max(x_NChw.shape[2:]) > LARGEST_SIDE:
        own: Tensor = conv(x_NChw)
        return own
    result: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
        x_NChw, conv.weight, conv.bias
    )
    return result


class _Depthwise(torch.autograd.Function):
    """The convolution, with the gradient of its kernel as another one."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 -- PyTorch's own
        x_NChw: Tensor,
        weight_C1kk: Tensor,
        bias_C: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x_NChw, weight_C1kk)
        channels, _, side, _ = weight_C1kk.shape
        return functional.conv2d(
            x_NChw, weight_C1kk, bias_C, padding=side // 2, groups=channels
        )

    @staticmethod
    def backward(ctx: Any, grad_NChw: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:  # noqa: ANN401
        x_NChw, weight_C1kk = ctx.saved_tensors
        channels, _, side, _ = weight_C1kk.shape
        grad_x_NChw = None
        if ctx.needs_input_grad[0]:
            turned_C1kk = weight_C1kk.flip(2, 3)
            grad_x_NChw = functional.conv2d(
                grad_NChw, turned_C1kk, padding=side // 2, groups=channels
            )
        grad_weight_Ckk = _kernel_gradient(x_NChw, grad_NChw, side // 2)
        return grad_x_NChw, grad_weight_Ckk[:, None], grad_NChw.sum((0, 2, 3))


def _kernel_gradient(x_NChw: Tensor, grad_NChw: Tensor, margin: int) -> Tensor:
    """Return the gradient of the kernel, `(C, k, k)`."""
    count, channels, height, width = x_NChw.shape
    side = 2 * margin + 1
    groups = count * channels
    x_hwG = x_NChw.permute(2, 3, 0, 1).reshape(height, width, groups)
    kernels_G1hw = grad_NChw.reshape(groups, 1, height, width)
    y_1Gkk = functional.conv2d(
        x_hwG.permute(2, 0, 1)[None], kernels_G1hw, padding=margin, groups=groups
    )
    y_kkNC = y_1Gkk[0].permute(1, 2, 0).reshape(side, side, count, channels)
    return y_kkNC.sum(2).permute(2, 0, 1)
