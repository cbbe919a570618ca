"""From visible patches to predictions: mask token, decoder blocks, heads.

Shapes: N samples, P patches of a crop, V visible and U hidden ones, W width of the
decoder, E = 4 W, h w patches, O values a patch or an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_training.model.blocks import LAYER_NORM_EPS, Block
from mmearth_training.model.masking import Mask, pick, place

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
        total = mask.visible_NV.shape[1] + mask.hidden_NU.shape[1]
        token_NPW = self.mask_token.to(projected_NVW.dtype).expand(
            rows_NVD.shape[0], total, -1
        )
        x_NPW = place(projected_NVW, mask.visible_NV, token_NPW)
        looks: dict[str, _Look] = {}
        predictions = {}
        for name, level in self.levels.items():
            key = "shared" if self.config.decoders == "shared" else name
            if key not in looks:
                looks[key] = _Look(self.blocks[key], x_NPW, mask)  # type: ignore[arg-type]
            seen = looks[key].hidden() if level == "pixel" else self._pool(looks[key])
            predictions[name] = self.heads[name](seen)
        return predictions

    def _pool(self, look: _Look) -> Tensor:
        """Return the average over patches, `(N, W)`."""
        if self.image_norm is None:
            return look.average(self.config.pooling)
        y_NPW: Tensor = self.image_norm(look.everywhere())
        if self.config.pooling == "hidden":
            y_NPW = pick(y_NPW, look.mask.hidden_NU)
        return y_NPW.mean(dim=1)


class _Look:
    """A block's output on one map, computed as far as it is asked for."""

    def __init__(self, block: Block, x_NPW: Tensor, mask: Mask) -> None:
        """Run the block up to GRN's response."""
        count, _, width = x_NPW.shape
        side = mask.side
        x_NWhw = x_NPW.view(count, side, side, width).permute(0, 3, 1, 2)
        y_NPW = block.dwconv(x_NWhw).permute(0, 2, 3, 1).reshape(x_NPW.shape)
        self.block, self.mask, self.x_NPW = block, mask, x_NPW
        self.y_NPE = functional.gelu(block.pwconv1(block.norm(y_NPW)))
        response = block.grn.response(self.y_NPE[:, None])[:, 0]
        self.scale_N1E = 1 + block.grn.gamma * response
        self._kept: dict[str, Tensor] = {}

    def hidden(self) -> Tensor:
        """Return the hidden patches, `(N, U, W)`."""
        if "hidden" not in self._kept:
            where = self.mask.hidden_NU
            self._kept["hidden"] = self._finish(
                pick(self.x_NPW, where), pick(self.y_NPE, where)
            )
        return self._kept["hidden"]

    def everywhere(self) -> Tensor:
        """Return all patches, `(N, P, W)`."""
        if "all" not in self._kept:
            self._kept["all"] = self._finish(self.x_NPW, self.y_NPE)
        return self._kept["all"]

    def average(self, pooling: Pooling) -> Tensor:
        """Return the mean over the hidden patches or all, `(N, W)`."""
        key = f"average {pooling}"
        if key not in self._kept:
            x, y = self.x_NPW, self.y_NPE
            if pooling == "hidden":
                x, y = pick(x, self.mask.hidden_NU), pick(y, self.mask.hidden_NU)
            pooled = self._finish(x.mean(1, keepdim=True), y.mean(1, keepdim=True))
            self._kept[key] = pooled[:, 0]
        return self._kept[key]

    def _finish(self, x_NQW: Tensor, y_NQE: Tensor) -> Tensor:
        """Run GRN and the last Linear on some patches, or on their average."""
        normed = y_NQE * self.scale_N1E + self.block.grn.beta
        rows: Tensor = self.block.pwconv2(normed)
        return x_NQW + rows
