"""U-Net on an encoder: classes at the resolution of the pixels.

Shapes: N samples, C bands, D channels, K classes, H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_training.model.blocks import ChannelLayerNorm
from mmearth_training.model.encoder import STAGES, Encoder, receptive_radius_px

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_training.model.encoder import EncoderConfig

_LAST_CONVS: Final = 2
"""3x3 convolutions at full resolution, one behind and one in front of the last skip."""


class UpBlock(nn.Module):
    """Nearest upsampling -> 3x3 convolution -> LayerNorm -> GELU."""

    def __init__(self, wide: int, narrow: int, *, factor: int) -> None:
        """Build a block from `wide` to `narrow` channels, finer by `factor`."""
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(wide, narrow, 3, padding=1)
        self.norm = ChannelLayerNorm(narrow)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return a map that is `factor` times as fine."""
        return functional.gelu(self.norm(self.conv(upsample(x_NCHW, self.factor))))


class UnetDecoder(nn.Module):
    """Up blocks with skip connections, and a 1x1 convolution to the classes.

    As in the MMEarth paper, section 5, but with the skip of the first stage taken
    behind its blocks as it is of the others, where the published code takes it in
    front of them. With the original stem nothing is at full resolution but pixels,
    and the last skip is left out, as published.
    """

    def __init__(self, config: EncoderConfig, classes: int) -> None:
        """Build a decoder for an encoder of this shape."""
        super().__init__()
        dims = config.size.dims
        wide = (dims[3], 2 * dims[2], 2 * dims[1], 2 * dims[0])
        narrow = (dims[2], dims[1], dims[0], dims[0])
        factors = (2, 2, 2, config.stem_px)
        self.ups = nn.ModuleList(
            UpBlock(a, b, factor=factor)
            for a, b, factor in zip(wide, narrow, factors, strict=True)
        )
        self.full_skip = not config.original_stem
        half = max(dims[0] // 2, 1)
        self.last = UpBlock(dims[0] * (1 + self.full_skip), half, factor=1)
        self.head = nn.Conv2d(half, classes, 1)

    def forward(self, full: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """Return logits `(N, K, H, W)` from the map at full resolution and all stages.

        Args:
            full: What `Encoder.forward_all` gives first.
            stages: What it gives then.

        """
        skips = [*reversed(stages[:-1]), *([full] if self.full_skip else [])]
        return decode(stages[-1], skips, [*self.ups, self.last], self.head)


class Unet(nn.Module):
    """An encoder and a decoder of classes."""

    def __init__(self, config: EncoderConfig, classes: int) -> None:
        """Build with PyTorch's initial weights."""
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = UnetDecoder(config, classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return logits `(N, K, H, W)` of standardised pixels, missing ones 0.

        Height and width are multiples of the patch.
        """
        full, *stages = self.encoder.forward_all(x_NCHW)
        logits: Tensor = self.decoder(full, stages)
        return logits


def decode(
    x: Tensor, skips: Sequence[Tensor], blocks: Sequence[nn.Module], head: nn.Module
) -> Tensor:
    """Run up blocks from the coarsest map on, each on the last one's map and a skip.

    Args:
        x: The map of the last stage.
        skips: Maps from coarse to fine; what is finer than the last has none.
        blocks: One more than skips, or two where the last skip is left out.
        head: From the last map to logits.

    """
    for number, block in enumerate(blocks):
        x = block(x)
        if number < len(skips):
            x = torch.cat([x, skips[number]], dim=1)
    logits: Tensor = head(x)
    return logits


def upsample(x_NCHW: Tensor, factor: int) -> Tensor:
    """Return a map with every cell repeated."""
    if factor == 1:
        return x_NCHW
    return functional.interpolate(x_NCHW, scale_factor=factor, mode="nearest")


def unet_radius_px(config: EncoderConfig) -> int:
    """Count the pixels on each side of a pixel that can reach it, GRN left out.

    From the last layer back: each 3x3 reaches a cell further, and a coarser cell is
    reached as a whole. The pixel of a cell that lies worst decides.
    """
    coarsest = config.strides_px[-1]

    def beyond(pixel: int) -> int:
        end = pixel + 1 + _LAST_CONVS
        for stride in config.strides_px[:-1]:
            end = _up_to(end, stride) + stride
        return _up_to(end, coarsest) - pixel - 1

    return max(map(beyond, range(coarsest))) + receptive_radius_px(config, STAGES)


def _up_to(position: int, stride: int) -> int:
    """Return the next multiple of a stride."""
    return -(-position // stride) * stride
