"""What can be exported, an encoder or a U-Net on one, as runtimes run it.

Shapes: N tiles, C bands or channels, K classes, H W pixels.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from mmearth_export.wrapper import ExportEncoder, standardise
from mmearth_training.model.encoder import STAGES, Encoder
from mmearth_training.model.unet import Unet, UpBlock, decode, upsample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from mmearth_infer.contract.manifest import Manifest
    from mmearth_training.model.unet import UnetDecoder

Network = Encoder | Unet
"""What a checkpoint holds."""


class ExportUpBlock(nn.Module):
    """An up block with its convolution in another precision, its norm in float32."""

    def __init__(self, block: UpBlock, kind: torch.dtype) -> None:
        """Take over the weights of a block."""
        super().__init__()
        self.factor, self.kind = block.factor, kind
        self.conv, self.norm = copy.deepcopy(block.conv).to(kind), block.norm

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return a map that is `factor` times as fine."""
        y_NCHW = self.conv(upsample(x_NCHW, self.factor).to(self.kind))
        return functional.gelu(self.norm(y_NCHW.float()))


class ExportUnet(nn.Module):
    """Standardisation, encoder and decoder in one graph: digital numbers to logits."""

    def __init__(self, unet: Unet, kind: torch.dtype) -> None:
        """Take over the weights of a U-Net.

        Args:
            unet: With GRN scope `window` or `frozen`.
            kind: What matrix products of blocks and 3x3 convolutions of the decoder
                are computed in.

        """
        super().__init__()
        self.encoder = ExportEncoder(unet.encoder, range(1, STAGES + 1), kind)
        decoder: UnetDecoder = unet.decoder
        self.full_skip, self.head = decoder.full_skip, decoder.head
        self.ups = nn.ModuleList(
            ExportUpBlock(block, kind) for block in (*decoder.ups, decoder.last)
        )

    def forward(self, dn_NCHW: Tensor, mean_C: Tensor, std_C: Tensor) -> list[Tensor]:
        """Return logits `(N, K, H, W)`; inputs are those of `ExportEncoder`."""
        maps = self.encoder.forward_all(standardise(dn_NCHW, mean_C, std_C))
        finest = 0 if self.full_skip else 1
        skips = maps[finest:-1][::-1]
        return [decode(maps[-1], skips, list(self.ups), self.head)]


def exportable(network: Network, manifest: Manifest, kind: torch.dtype) -> nn.Module:
    """Return a network as a graph is made of it, in evaluation mode.

    Args:
        network: With GRN scope `window` or `frozen`.
        manifest: Names the outputs of an encoder.
        kind: What matrix products are computed in.

    """
    if isinstance(network, Unet):
        module: nn.Module = ExportUnet(network, kind)
    else:
        module = ExportEncoder(network, [out.stage for out in manifest.outputs], kind)
    return module.eval().requires_grad_(requires_grad=False)


def eager_maps(
    network: Network, x_NCHW: Tensor, manifest: Manifest
) -> Sequence[Tensor]:
    """Return what eager PyTorch gives for each output of a manifest.

    Args:
        network: In evaluation mode.
        x_NCHW: Standardised pixels, missing ones 0.
        manifest: Names the outputs.

    """
    if isinstance(network, Unet):
        return [network(x_NCHW)]
    stages = [out.stage for out in manifest.outputs]
    maps = network.forward_stages(x_NCHW, deepest=max(stages))
    return [maps[stage - 1] for stage in stages]
