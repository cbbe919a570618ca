"""From visible patches to predictions: mask token, decoder blocks, heads.

Shapes: N samples, P patches of a crop, V visible and U hidden ones, W width of the
decoder, E = 4 W, h w patches, O values a patch or an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from mmearth_training.model.blocks import LAYER_NORM_EPS, Block
from mmearth_training.model.depthwise import depthwise
from mmearth_training.model.grn_linear import grn_linear
from mmearth_training.model.masking import Mask, reorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mmearth_training.modalities import Modality

Decoders = Literal["separate", "shared"]
"""A decoder block a task, as in the paper, or one for all, as in published weights."""

Pooling = Literal["hidden", "all"]
"""Patches an image-level task averages: the hidden ones (paper) or all (published)."""

DECODER_GRN_EPS = 1e-4
"""The decoder is dense: GRN takes each sample by itself, as in dense inference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """Everything that decides the shape and arithmetic of the decoders."""

    decoders: Decoders = "separate"
    """Whether tasks share the block."""

    pooling: Pooling = "hidden"
    """What image-level tasks average."""

    image_norm: bool = False
    """A LayerNorm of every patch before it is averaged, as the published code has."""

    width: int = 512
    """Channels."""


class Decoder(nn.Module):
    """Rebuilds every task from what the encoder saw (MMEarth paper, section 4).

    The map of a crop is the projected visible patches and, at hidden ones, a learnt
    mask token. One ConvNeXt V2 block looks at it; a Linear a task gives the values of
    a patch, or those of the image from the average over patches.

    Only what is asked for is computed. Pixel-level heads see hidden patches, where
    alone there is a loss. For image-level tasks the average moves in front of the
    last Linear of the block, which it commutes with, and through GRN, whose response
    is the same at every patch: the numbers are those of the plain order.
    """

    def __init__(
        self,
        config: DecoderConfig,
        *,
        tasks: Iterable[Modality],
        channels: Mapping[str, int],
        encoder_width: int,
        patch_px: int,
    ) -> None:
        """Build the decoders.

        Args:
            config: Shape.
            tasks: What is predicted.
            channels: Channels or classes a task, by name.
            encoder_width: Channels of the last stage.
            patch_px: Side of a patch.

        """
        super().__init__()
        self.config = config
        self.levels = {task.name: task.level for task in tasks}
        self.proj = nn.Linear(encoder_width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        names = ["shared"] if config.decoders == "shared" else list(self.levels)
        self.blocks = nn.ModuleDict(
            {
                name: Block(config.width, grn="window", grn_eps=DECODER_GRN_EPS)
                for name in names
            }
        )
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(
                    config.width,
                    channels[name] * (patch_px**2 if level == "pixel" else 1),
                )
                for name, level in self.levels.items()
            }
        )
        self.image_norm = (
            nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
            if config.image_norm and "image" in self.levels.values()
            else None
        )

    def forward(self, rows_NVD: Tensor, mask: Mask) -> dict[str, Tensor]:
        """Return `(N, U, O)` for pixel-level tasks, `(N, O)` for image-level ones."""
        projected_NVW = self.proj(rows_NVD)
        token_NUW = self.mask_token.to(projected_NVW.dtype).expand(
            *mask.hidden_NU.shape, -1
        )
        x_NPW = torch.cat([token_NUW, projected_NVW], dim=1)
        order_NP = torch.cat([mask.hidden_NU, mask.visible_NV], dim=1)
        back_NP = order_NP.argsort(dim=1)
        map_NPW = reorder(x_NPW, back_NP, order_NP)
        crop = _Crop(x_NPW=x_NPW, map_NPW=map_NPW, order_NP=order_NP, back_NP=back_NP)
        looks: dict[str, _Look] = {}
        predictions = {}
        for name, level in self.levels.items():
            key = "shared" if self.config.decoders == "shared" else name
            if key not in looks:
                looks[key] = _Look(self.blocks[key], crop, mask)  # type: ignore[arg-type]
            seen = looks[key].hidden() if level == "pixel" else self._pool(looks[key])
            predictions[name] = self.heads[name](seen)
        return predictions

    def _pool(self, look: _Look) -> Tensor:
        """Return the average over patches, `(N, W)`."""
        if self.image_norm is None:
            return look.average(self.config.pooling)
        y_NPW: Tensor = self.image_norm(look.everywhere())
        if self.config.pooling == "hidden":
            y_NPW = y_NPW[:, : look.hidden_count]
        return y_NPW.mean(dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crop:
    """What all decoders look at, put in order once for all of them."""

    x_NPW: Tensor
    """Patches, hidden ones first."""

    map_NPW: Tensor
    """The same, row by row of the crop."""

    order_NP: Tensor
    """Numbers of the patches, hidden ones first."""

    back_NP: Tensor
    """The inverse of that order."""


class _Look:
    """A block's output on one map, computed as far as it is asked for.

    Patches are ordered hidden ones first, so that they are the first rows of a sample.
    """

    def __init__(self, block: Block, crop: _Crop, mask: Mask) -> None:
        """Run the block up to its first Linear."""
        count, _, width = crop.map_NPW.shape
        map_NWhw = crop.map_NPW.view(count, mask.side, mask.side, width)
        y_NWhw = depthwise(block.dwconv, map_NWhw.permute(0, 3, 1, 2))
        y_NPW = y_NWhw.permute(0, 2, 3, 1).reshape(crop.x_NPW.shape)
        y_NPW = reorder(y_NPW, crop.order_NP, crop.back_NP)
        self.block, self.x_NPW = block, crop.x_NPW
        self.hidden_count = mask.hidden_NU.shape[1]
        self.y_NPE = block.pwconv1(block.norm(y_NPW))
        self._kept: dict[str, Tensor] = {}

    def hidden(self) -> Tensor:
        """Return the hidden patches, `(N, U, W)`."""
        return self._once("hidden", self.hidden_count)

    def everywhere(self) -> Tensor:
        """Return all patches, the hidden ones first, `(N, P, W)`."""
        return self._once("all", self.x_NPW.shape[1])

    def average(self, pooling: Pooling) -> Tensor:
        """Return the mean over the hidden patches or all, `(N, W)`."""
        if pooling in self._kept:
            return self._kept[pooling].mean(dim=1)
        rows = self.hidden_count if pooling == "hidden" else self.x_NPW.shape[1]
        return self._once(f"average {pooling}", rows, averaged=True)[:, 0]

    def _once(self, key: str, rows: int, *, averaged: bool = False) -> Tensor:
        """Run the rest of the block on the first rows, or their average, once."""
        if key not in self._kept:
            x_NQW = self.x_NPW[:, :rows]
            if averaged:
                x_NQW = x_NQW.mean(dim=1, keepdim=True)
            self._kept[key] = x_NQW + grn_linear(
                self.block.grn,
                self.block.pwconv2,
                self.y_NPE,
                wanted=rows,
                gelu=True,
                averaged=averaged,
            )
        return self._kept[key]
