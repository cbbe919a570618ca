"""The layers of ConvNeXt V2 as MP-MAE uses them: GRN, channel LayerNorm, block.

Shapes: N samples, C channels, E = 4 C expanded channels, H W positions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional

from mmearth_training.model.drop_path import drop_path

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYER_NORM_EPS = 1e-6
"""Epsilon of every LayerNorm (ConvNeXt V2, and the published code)."""

EXPANSION = 4
"""Width of a block's inner Linear, in multiples of its channels."""

GrnScope = Literal["window", "batch", "frozen"]
"""What the norm of a GRN is taken over: one sample, the whole batch, nothing."""

GRN_SCOPES: tuple[GrnScope, ...] = get_args(GrnScope)


class GRN(nn.Module):
    """Global response normalisation of ConvNeXt V2 (Woo et al. 2023, section 3.2).

    `Gx = ||x||_2` over positions, `Nx = Gx / (mean over channels of Gx + eps)`,
    `y = gamma * (x * Nx) + beta + x`.

    The scope says which positions share a norm. `window` takes each sample by
    itself (dense fine-tuning and inference in the published code), `batch` pools
    all samples (what sparse pretraining computes), `frozen` uses the `Nx` that
    is given, so that the layer becomes local.

    Args:
        channels: E, the channels it normalises.
        scope: What the norm is taken over.
        eps: Added to the mean norm. Published: 1e-6 sparse, 1e-4 dense.

    With `sync` set, scope `batch` takes its norm over the batches of all processes.

    """

    def __init__(
        self, channels: int, *, scope: GrnScope = "window", eps: float = 1e-4
    ) -> None:
        """Start as the identity, as ConvNeXt V2 does: gamma = beta = 0."""
        super().__init__()
        self.scope = scope
        self.eps = eps
        self.sync = False
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        if scope == "frozen":
            # measured at export, and no part of a checkpoint
            unknown = torch.full((channels,), torch.nan)
            self.register_buffer("response_E", unknown, persistent=False)

    def forward(self, x_NHWE: Tensor) -> Tensor:
        """Return `y` for `x`, both `(N, H, W, E)`."""
        return self.gamma * (x_NHWE * self.response(x_NHWE)) + self.beta + x_NHWE

    def response(self, x_NHWE: Tensor) -> Tensor:
        """Return `Nx`, broadcastable over `x`; NaN when frozen and never given."""
        if self.scope == "frozen":
            return self.get_buffer("response_E")
        over = (0, 1, 2) if self.scope == "batch" else (1, 2)
        norm_E = torch.linalg.vector_norm(x_NHWE, dim=over, keepdim=True)
        if self.sync:
            norm_E = _over_processes(norm_E)
        response: Tensor = norm_E / (norm_E.mean(dim=-1, keepdim=True) + self.eps)
        return response


def _over_processes(norm_E: Tensor) -> Tensor:
    """Return the norm over what all processes hold, with its gradient."""
    parts: list[Tensor] = all_gather(norm_E)  # type: ignore[no-untyped-call]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return norm


@contextmanager
def grn_alone(module: nn.Module) -> Iterator[None]:
    """Let every GRN take its norm over this process alone.

    For what not all processes do, or all do on the same data.
    """
    synced = [m for m in module.modules() if isinstance(m, GRN) and m.sync]
    for grn in synced:
        grn.sync = False
    try:
        yield
    finally:
        for grn in synced:
            grn.sync = True


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels of a `(N, C, H, W)` map."""

    def __init__(self, channels: int) -> None:
        """Fix the epsilon, which all of the family share."""
        super().__init__(channels, eps=LAYER_NORM_EPS)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Normalise every position by itself."""
        return super().forward(x_NCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """ConvNeXt V2 block (Woo et al. 2023, figure 5).

    Depthwise 7x7 -> LayerNorm -> Linear C to E -> GELU -> GRN -> Linear E to C,
    added to the input. With `drop_rate` set, training leaves it out of that share of
    the samples; pretraining never does.
    """

    def __init__(self, channels: int, *, grn: GrnScope, grn_eps: float) -> None:
        """Build a block that keeps its `channels`."""
        super().__init__()
        expanded = EXPANSION * channels
        self.drop_rate = 0.0
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.pwconv1 = nn.Linear(channels, expanded)
        self.grn = GRN(expanded, scope=grn, eps=grn_eps)
        self.pwconv2 = nn.Linear(expanded, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return a map of the shape of the input."""
        y_NHWC = self.norm(self.dwconv(x_NCHW).permute(0, 2, 3, 1))
        y_NHWE = self.grn(functional.gelu(self.pwconv1(y_NHWC)))
        z_NHWC: Tensor = self.pwconv2(y_NHWE)
        if self.training and self.drop_rate:
            z_NHWC = drop_path(z_NHWC, self.drop_rate)
        return x_NCHW + z_NHWC.permute(0, 3, 1, 2)
