"""The encoder as it is exported: digital numbers in, maps out, GRN rearranged.

The arithmetic is that of `mmearth_training.model`, written so that runtimes are
fast on it; `verify` holds the two against each other.

Shapes: N tiles, C bands or channels, E = 4 C, H W positions, P = H * W.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_training.model.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_training.model.encoder import Encoder


class ExportBlock(nn.Module):
    """A block whose window GRN is multiplied into the Linear behind it.

    `W (x + gamma N x + beta) + b = (W diag(1 + gamma N)) x + (W beta + b)`: the
    normalisation touches the `(E, C)` weights of a sample instead of its
    `(P, E)` features, which saves three passes over the largest tensor of the
    block. On two cores 0.68 -> 0.96 Mpx/s for atto/16 in ONNX Runtime
    (docs/benchmarks/export.md).
    """

    def __init__(self, block: Block) -> None:
        """Take over the weights of a block with window GRN."""
        super().__init__()
        assert block.grn.scope == "window"
        self.dwconv, self.norm, self.pwconv1 = block.dwconv, block.norm, block.pwconv1
        self.eps = block.grn.eps
        narrow = block.pwconv2
        self.gamma = nn.Parameter(block.grn.gamma.detach().clone())
        self.weight_EC = nn.Parameter(narrow.weight.detach().T.contiguous())
        self.bias = nn.Parameter(
            (narrow.bias + narrow.weight @ block.grn.beta).detach().clone()
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return a map of the shape of the input."""
        y_NHWC = self.norm(self.dwconv(x_NCHW).permute(0, 2, 3, 1))
        y_NHWE = functional.gelu(self.pwconv1(y_NHWC))
        norm_NHE = torch.linalg.vector_norm(y_NHWE, dim=2)
        norm_NE = torch.linalg.vector_norm(norm_NHE, dim=1)
        response_NE = norm_NE / (norm_NE.mean(dim=-1, keepdim=True) + self.eps)
        weight_NEC = self.weight_EC * (1 + self.gamma * response_NE)[:, :, None]
        z_NPC = torch.bmm(y_NHWE.flatten(1, 2), weight_NEC) + self.bias
        return x_NCHW + z_NPC.reshape(y_NHWC.shape).permute(0, 3, 1, 2)


class ExportEncoder(nn.Module):
    """Standardisation and encoder in one graph, up to the deepest stage asked for."""

    def __init__(self, encoder: Encoder, stages: Sequence[int]) -> None:
        """Take over an encoder's weights.

        Args:
            encoder: With GRN scope `window`.
            stages: Stages to give, 1 to 4, ascending.

        """
        super().__init__()
        self.given = tuple(stages)
        self.initial_conv = encoder.initial_conv
        self.stem = encoder.stem
        deepest = max(stages)
        self.downsample_layers = encoder.downsample_layers[: deepest - 1]
        self.stages = nn.ModuleList(
            nn.Sequential(*(_exported(block) for block in stage.children()))
            for stage in encoder.stages[:deepest]
        )

    def forward(self, dn_NCHW: Tensor, mean_C: Tensor, std_C: Tensor) -> list[Tensor]:
        """Return the maps of the given stages.

        Args:
            dn_NCHW: uint16 digital numbers; a pixel that is 0 in all bands is
                missing and enters the encoder as 0.
            mean_C: Mean of each band.
            std_C: Standard deviation of each band.

        """
        x_NCHW = standardise(dn_NCHW, mean_C, std_C)
        x = x_NCHW if self.initial_conv is None else self.initial_conv(x_NCHW)
        x = self.stages[0](self.stem(x))
        maps = [x]
        for downsample, stage in zip(
            self.downsample_layers, self.stages[1:], strict=True
        ):
            x = stage(downsample(x))
            maps.append(x)
        return [maps[stage - 1] for stage in self.given]


def standardise(dn_NCHW: Tensor, mean_C: Tensor, std_C: Tensor) -> Tensor:
    """Return `(dn - mean) / std`, and 0 where a pixel is missing in all bands."""
    values = dn_NCHW.to(torch.float32)
    present_N1HW = (values.amax(dim=1, keepdim=True) > 0).to(torch.float32)
    return (values - mean_C[:, None, None]) / std_C[:, None, None] * present_N1HW


def _exported(block: nn.Module) -> ExportBlock:
    assert isinstance(block, Block)
    return ExportBlock(block)
