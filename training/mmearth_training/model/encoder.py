"""The MP-MAE encoder: ConvNeXt V2 with a stem for 10 m imagery.

Shapes: N samples, C bands, H W pixels, D channels, h w cells.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from torch import Tensor, nn

from mmearth_infer.errors import ModelError
from mmearth_training.model.blocks import GRN_SCOPES, Block, ChannelLayerNorm, GrnScope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STAGES: Final = 4
"""Stages of every ConvNeXt."""

PATCH_SIZES_PX: Final = (8, 16, 32)
"""Pixels a cell of the last stage: 8 and 16 in the paper, 32 with the original stem."""

Geometry = Literal["padded", "published"]
"""How the first two convolutions treat the border.

`padded` keeps every cell where its pixels are. `published` is the unpadded
classification path of the published code: the 3x3 has no padding and the stem is
padded by half its kernel, which shifts patch 8 by one pixel (56 px give 6 cells).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Depth and width of a ConvNeXt V2."""

    depths: tuple[int, int, int, int]
    """Blocks a stage."""

    dims: tuple[int, int, int, int]
    """Channels a stage."""


SIZES: Final[Mapping[str, Size]] = {
    "atto": Size(depths=(2, 2, 6, 2), dims=(40, 80, 160, 320)),
    "femto": Size(depths=(2, 2, 6, 2), dims=(48, 96, 192, 384)),
    "pico": Size(depths=(2, 2, 6, 2), dims=(64, 128, 256, 512)),
    "nano": Size(depths=(2, 2, 8, 2), dims=(80, 160, 320, 640)),
    "tiny": Size(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768)),
    "base": Size(depths=(3, 3, 27, 3), dims=(128, 256, 512, 1024)),
    "large": Size(depths=(3, 3, 27, 3), dims=(192, 384, 768, 1536)),
    "huge": Size(depths=(3, 3, 27, 3), dims=(352, 704, 1408, 2816)),
}
"""The eight sizes of ConvNeXt V2 (Woo et al. 2023, appendix A)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig:
    """Everything that decides the shape and arithmetic of an encoder."""

    size: Size
    """Depth and width; one of `SIZES`, or any other."""

    bands: int = 12
    """Input channels."""

    patch_px: int = 16
    """Pixels a side of a cell of the last stage, one of `PATCH_SIZES_PX`."""

    original_stem: bool = False
    """One strided convolution, as in ImageNet ConvNeXt, instead of MMEarth's two."""

    geometry: Geometry = "padded"
    """Treatment of borders; `padded` for dense maps."""

    grn: GrnScope = "window"
    """What GRN takes its norm over."""

    grn_eps: float = 1e-4
    """Epsilon of GRN: 1e-4 in published dense inference, 1e-6 in pretraining."""

    def __post_init__(self) -> None:
        """Refuse shapes that no encoder has.

        Raises:
            ModelError: Naming the field and its value.

        """
        if self.patch_px not in PATCH_SIZES_PX:
            raise ModelError(
                f"no encoder has a patch size of {self.patch_px} px",
                hint=f"choose one of {', '.join(map(str, PATCH_SIZES_PX))}",
            )
        if self.grn not in GRN_SCOPES:
            raise ModelError(
                f"no GRN has the scope `{self.grn}`",
                hint=f"choose one of {', '.join(GRN_SCOPES)}",
            )
        if self.bands < 1:
            raise ModelError(f"an encoder needs at least one band, not {self.bands}")

    @property
    def stem_px(self) -> int:
        """Stride of the stem, and so of the first stage."""
        return self.patch_px // 8

    @property
    def strides_px(self) -> tuple[int, ...]:
        """Pixels a cell of each stage: patch 16 gives 2, 4, 8, 16."""
        return tuple(self.stem_px * 2**stage for stage in range(STAGES))


def receptive_radius_px(config: EncoderConfig, stage: int) -> int:
    """Count the pixels on each side of a cell that can reach it, GRN left out.

    A 7x7 convolution reaches 3 cells of its stage, the 3x3 of the stem 1 px;
    strided convolutions do not overlap, so they reach nothing further. Stage 4
    of atto/16: 96 + 144 + 24 + 12 + 1 = 277 px.
    """
    first_conv = 0 if config.original_stem else 1
    blocks = zip(config.size.depths[:stage], config.strides_px, strict=False)
    return first_conv + sum(3 * depth * stride for depth, stride in blocks)


class Encoder(nn.Module):
    """ConvNeXt V2 encoder of MP-MAE, dense (MMEarth paper, section 4).

    Parameter names are those of the published code, its sparse wrappers left out.
    Pooling and heads are no part of it: `forward` returns the map of stage 4.
    """

    def __init__(self, config: EncoderConfig) -> None:
        """Build with PyTorch's initial weights and GRN as identity."""
        super().__init__()
        self.config = config
        dims, stride = config.size.dims, config.stem_px
        unpadded = config.geometry == "published"
        if config.original_stem:
            self.initial_conv: nn.Sequential | None = None
            self.stem = nn.Sequential(
                nn.Conv2d(config.bands, dims[0], stride, stride),
                ChannelLayerNorm(dims[0]),
            )
        else:
            self.initial_conv = nn.Sequential(
                nn.Conv2d(config.bands, dims[0], 3, padding=0 if unpadded else 1),
                ChannelLayerNorm(dims[0]),
                nn.GELU(),
            )
            stem_padding = stride // 2 if unpadded else 0
            self.stem = nn.Sequential(
                nn.Conv2d(
                    dims[0], dims[0], stride, stride, stem_padding, groups=dims[0]
                ),
                ChannelLayerNorm(dims[0]),
            )
        self.downsample_layers = nn.ModuleList(
            nn.Sequential(ChannelLayerNorm(narrow), nn.Conv2d(narrow, wide, 2, 2))
            for narrow, wide in itertools.pairwise(dims)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    Block(dim, grn=config.grn, grn_eps=config.grn_eps)
                    for _ in range(depth)
                )
            )
            for depth, dim in zip(config.size.depths, dims, strict=True)
        )

    @property
    def first_layers(self) -> tuple[nn.Conv2d, ChannelLayerNorm, nn.GELU] | None:
        """Convolution at full resolution, its norm and GELU; None without them."""
        if self.initial_conv is None:
            return None
        conv, norm, gelu = self.initial_conv
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, ChannelLayerNorm)
        assert isinstance(gelu, nn.GELU)
        return conv, norm, gelu

    @property
    def stem_layers(self) -> tuple[nn.Conv2d, ChannelLayerNorm]:
        """Strided convolution of the stem, and its norm."""
        conv, norm = self.stem
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, ChannelLayerNorm)
        return conv, norm

    def downsample(self, stage: int) -> tuple[ChannelLayerNorm, nn.Conv2d]:
        """Return norm and strided convolution in front of a stage, 1 to 3 from 0."""
        layers = self.downsample_layers[stage - 1]
        assert isinstance(layers, nn.Sequential)
        norm, conv = layers
        assert isinstance(norm, ChannelLayerNorm)
        assert isinstance(conv, nn.Conv2d)
        return norm, conv

    def blocks(self) -> Iterator[tuple[Block, ...]]:
        """Yield the blocks of each stage."""
        for stage in self.stages:
            assert isinstance(stage, nn.Sequential)
            yield tuple(block for block in stage if isinstance(block, Block))

    def set_drop_path(self, rate: float) -> None:
        """Let training leave out blocks: none of the first, `rate` of the last.

        The share rises by equal steps, as in ConvNeXt (Liu et al. 2022, appendix A).
        """
        every = [block for blocks in self.blocks() for block in blocks]
        for number, block in enumerate(every):
            block.drop_rate = rate * number / max(len(every) - 1, 1)

    def forward_stages(
        self, x_NCHW: Tensor, *, deepest: int = STAGES
    ) -> tuple[Tensor, ...]:
        """Return the maps of the stages, all four or up to the deepest asked for.

        Args:
            x_NCHW: Standardised pixels, missing ones 0. Height and width are
                multiples of the stride of the deepest stage; a rest would be
                dropped in silence.
            deepest: Last stage that is computed, 1 to 4.

        Returns:
            `(N, dims[i], H / strides_px[i], W / strides_px[i])` for i from 0.

        """
        return self.forward_all(x_NCHW, deepest=deepest)[1:]

    def forward_all(
        self, x_NCHW: Tensor, *, deepest: int = STAGES
    ) -> tuple[Tensor, ...]:
        """Return the map at full resolution, then those of the stages.

        Args:
            x_NCHW: As `forward_stages` takes it.
            deepest: Likewise.

        Returns:
            What the first convolution gives, `(N, dims[0], H, W)`, or the pixels
            themselves without it, and what `forward_stages` returns.

        """
        full = x_NCHW if self.initial_conv is None else self.initial_conv(x_NCHW)
        x = self.stages[0](self.stem(full))
        maps = [full, x]
        for downsample, stage in zip(
            self.downsample_layers[: deepest - 1], self.stages[1:deepest], strict=True
        ):
            x = stage(downsample(x))
            maps.append(x)
        return tuple(maps)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Return the map of the last stage, `(N, dims[3], H / patch, W / patch)`."""
        return self.forward_stages(x_NCHW)[-1]
