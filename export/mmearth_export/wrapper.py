"""The encoder as it is exported: digital numbers in, maps out, norms folded.

The arithmetic is that of `mmearth_training.model`, written so that runtimes are
fast on it; `verify` holds the two against each other.

Shapes: N tiles, C bands or channels, E = 4 C, H W positions, P = H * W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_export.fold import (
    grn_into_linear,
    norm_into_conv,
    norm_into_linear,
    plain_norm,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_infer.contract.manifest import Manifest
    from mmearth_training.model.blocks import Block
    from mmearth_training.model.encoder import Encoder


_EXAMPLE_TILES: Final = (2, 6, 8)
"""Batch, rows and columns of the example, in tiles' multiples: all differ, so that
no axis is mistaken for another, and none is 1, which would be taken as fixed."""


class WindowGrnLinear(nn.Module):
    """A window GRN multiplied into the Linear behind it.

    `W (x + gamma N x + beta) + b = (W diag(1 + gamma N)) x + (W beta + b)`: the
    normalisation touches the `(E, C)` weights of a sample instead of its
    `(P, E)` features, which saves three passes over the largest tensor of the
    block. On two cores 0.68 -> 0.96 Mpx/s for atto/16 in ONNX Runtime
    (docs/benchmarks/export.md).
    """

    def __init__(self, block: Block, kind: torch.dtype) -> None:
        """Take over the weights of a block with window GRN."""
        super().__init__()
        self.eps, self.kind = block.grn.eps, kind
        narrow = block.pwconv2
        self.gamma = nn.Parameter(block.grn.gamma.detach().clone())
        self.weight_EC = nn.Parameter(narrow.weight.detach().T.contiguous())
        self.bias = nn.Parameter(
            (narrow.bias + narrow.weight @ block.grn.beta).detach().to(kind)
        )

    def forward(self, y_NHWE: Tensor) -> Tensor:
        """Return `(N, H, W, C)`; the norm is taken in float32."""
        norm_NHE = torch.linalg.vector_norm(y_NHWE.to(torch.float32), dim=2)
        norm_NE = torch.linalg.vector_norm(norm_NHE, dim=1)
        response_NE = norm_NE / (norm_NE.mean(dim=-1, keepdim=True) + self.eps)
        weight_NEC = self.weight_EC * (1 + self.gamma * response_NE)[:, :, None]
        z_NPC = torch.bmm(y_NHWE.flatten(1, 2), weight_NEC.to(self.kind)) + self.bias
        return z_NPC.reshape(*y_NHWE.shape[:3], -1)


class ExportBlock(nn.Module):
    """A block without the scale and shift of its LayerNorm, and without its GRN.

    A frozen GRN vanishes into the second Linear; a window GRN becomes part of it.
    """

    def __init__(self, block: Block, kind: torch.dtype) -> None:
        """Take over the weights of a block with window or frozen GRN.

        Args:
            block: The block.
            kind: What its matrix products are computed in; all else is float32.

        """
        super().__init__()
        self.kind = kind
        assert block.grn.scope in {"window", "frozen"}
        self.dwconv = block.dwconv
        self.norm = plain_norm(block.norm)
        self.pwconv1 = norm_into_linear(block.norm, block.pwconv1).to(kind)
        self.pwconv2: nn.Module = (
            WindowGrnLinear(block, kind)
            if block.grn.scope == "window"
            else grn_into_linear(block.grn, block.pwconv2).to(kind)
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return a map of the shape of the input."""
        y_NHWC = self.norm(self.dwconv(x_NCHW).permute(0, 2, 3, 1))
        y_NHWE = functional.gelu(self.pwconv1(y_NHWC.to(self.kind)))
        z_NHWC: Tensor = self.pwconv2(y_NHWE)
        return x_NCHW + z_NHWC.to(x_NCHW.dtype).permute(0, 3, 1, 2)


class ExportDownsample(nn.Module):
    """LayerNorm and 2x2 convolution, the scale and shift of one in the other."""

    def __init__(self, norm: nn.LayerNorm, conv: nn.Conv2d) -> None:
        """Take over the weights."""
        super().__init__()
        self.norm, self.conv = plain_norm(norm), norm_into_conv(norm, conv)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the map at half the resolution."""
        y_NHWC = self.norm(x_NCHW.permute(0, 2, 3, 1))
        result: Tensor = self.conv(y_NHWC.permute(0, 3, 1, 2))
        return result


class ExportEncoder(nn.Module):
    """Standardisation and encoder in one graph, up to the deepest stage asked for."""

    def __init__(
        self,
        encoder: Encoder,
        stages: Sequence[int],
        kind: torch.dtype = torch.float32,
    ) -> None:
        """Take over an encoder's weights.

        Args:
            encoder: With GRN scope `window` or `frozen`.
            stages: Stages to give, 1 to 4, ascending.
            kind: What the matrix products of the blocks are computed in.

        """
        super().__init__()
        self.given = tuple(stages)
        self.initial_conv = encoder.initial_conv
        self.stem = encoder.stem
        deepest = max(stages)
        self.downsample_layers = nn.ModuleList(
            ExportDownsample(*encoder.downsample(stage)) for stage in range(1, deepest)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ExportBlock(block, kind) for block in blocks))
            for blocks, _ in zip(encoder.blocks(), range(deepest), strict=False)
        )

    def forward(self, dn_NCHW: Tensor, mean_C: Tensor, std_C: Tensor) -> list[Tensor]:
        """Return the maps of the given stages.

        Args:
            dn_NCHW: uint16 digital numbers; a pixel that is 0 in all bands is
                missing and enters the encoder as 0.
            mean_C: Mean of each band.
            std_C: Standard deviation of each band.

        """
        maps = self.forward_all(standardise(dn_NCHW, mean_C, std_C))
        return [maps[stage] for stage in self.given]

    def forward_all(self, x_NCHW: Tensor) -> list[Tensor]:
        """Return the map at full resolution, and those up to the deepest stage."""
        full = x_NCHW if self.initial_conv is None else self.initial_conv(x_NCHW)
        x = self.stages[0](self.stem(full))
        maps = [full, x]
        for downsample, stage in zip(
            self.downsample_layers, self.stages[1:], strict=True
        ):
            x = stage(downsample(x))
            maps.append(x)
        return maps


def standardise(dn_NCHW: Tensor, mean_C: Tensor, std_C: Tensor) -> Tensor:
    """Return `(dn - mean) / std`, and 0 where a pixel is missing in all bands."""
    values = dn_NCHW.to(torch.float32)
    present_N1HW = (values.amax(dim=1, keepdim=True) > 0).to(torch.float32)
    return (values - mean_C[:, None, None]) / std_C[:, None, None] * present_N1HW


def example_inputs(manifest: Manifest) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs that a graph is traced with: digital numbers, mean, deviation."""
    batch, rows, cols = _EXAMPLE_TILES
    bands, side = len(manifest.bands), manifest.multiple_px
    return (
        torch.ones(batch, bands, rows * side, cols * side, dtype=torch.uint16),
        torch.zeros(bands),
        torch.ones(bands),
    )
