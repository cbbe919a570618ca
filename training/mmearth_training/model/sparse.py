"""The encoder on visible patches only: as rows of sites, or as masked maps.

A backend runs the weights of an `Encoder` over a masked crop, so that nothing hidden
is seen: an output exists only at visible cells, and a hidden neighbour counts as 0
(submanifold sparse convolution, as MinkowskiEngine defines it). All backends give the
same numbers; a checkpoint does not know which one trained it.

Shapes: N samples, B bands, H W pixels, V visible patches, S visible sites,
C channels, D channels of the last stage, h w patches, s cells a side of a patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

from torch import Tensor, nn
from torch.nn import functional

from mmearth_infer.errors import MissingExtraError
from mmearth_training.model.depthwise import depthwise
from mmearth_training.model.grn_linear import grn_linear
from mmearth_training.model.masking import Mask, gather, pick, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.model.blocks import Block
    from mmearth_training.model.encoder import Encoder

BackendName = Literal["sites", "dense", "minkowski"]
"""Rows of visible sites (the default), masked maps (the oracle), MinkowskiEngine."""

BACKENDS: Final[tuple[BackendName, ...]] = get_args(BackendName)


class Backend(Protocol):
    """Runs an encoder on what is visible."""

    def __call__(self, encoder: Encoder, x_NBHW: Tensor, mask: Mask) -> Tensor:
        """Return the last stage at the visible patches, `(N, V, D)`.

        Args:
            encoder: Its weights, with GRN over `batch` as published, or another.
            x_NBHW: Standardised pixels of square crops, missing ones 0.
            mask: Patches that are visible; the others are not looked at.

        """
        ...


def open_backend(name: BackendName) -> Backend:
    """Return a backend by name.

    Raises:
        MissingExtraError: If MinkowskiEngine is asked for and not installed.

    """
    if name == "minkowski":
        try:
            from mmearth_training.model.minkowski import encode_minkowski  # noqa: PLC0415 -- optional, and slow to import
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "backend minkowski",
                hint="docs/guides/minkowski.md says how to build MinkowskiEngine; "
                "`sites` gives the same numbers, faster",
            ) from error
        return encode_minkowski
    return _BACKENDS[name]


def encode_sites(encoder: Encoder, x_NBHW: Tensor, mask: Mask) -> Tensor:
    """Run the encoder on rows of visible sites.

    LayerNorm, Linear, GELU and GRN see the rows `(N, S, C)`; only the depthwise
    convolutions, which look at neighbours, see a map with zeros at hidden cells.
    Strided convolutions stay inside a patch, so that they are a Linear of merged rows.
    """
    side = mask.side
    patch_px = encoder.config.patch_px
    x_NSC, s = _stem_rows(encoder, x_NBHW, mask), patch_px // encoder.config.stem_px
    for number, blocks in enumerate(encoder.blocks()):
        if number:
            norm, conv = encoder.downsample(number)
            rows = nn.LayerNorm.forward(norm, x_NSC)
            x_NSC, s = _merge_2x2(rows, s, conv), s // 2
        index = mask.sites(s)
        for block in blocks:
            x_NSC = _block_rows(block, x_NSC, index, side * s)
    return x_NSC


def _stem_rows(encoder: Encoder, x_NBHW: Tensor, mask: Mask) -> Tensor:
    """Run the stem on visible patches, `(N, S, C)`.

    A window of one pixel around each patch is all that its 3x3 convolution sees, so
    that this layer, the only one at full resolution, is not computed elsewhere.
    """
    count = x_NBHW.shape[0]
    patch_px, stride = encoder.config.patch_px, encoder.config.stem_px
    conv, norm = encoder.stem_layers
    seen = x_NBHW * mask.visible_map(patch_px).to(x_NBHW.dtype)
    if encoder.first_layers is None:
        windows = _windows(seen, mask, patch_px, margin=0)
        y = conv(windows)
    else:
        first, first_norm, gelu = encoder.first_layers
        windows = _windows(seen, mask, patch_px, margin=1)
        y = functional.conv2d(windows, first.weight, first.bias)
        y = conv(gelu(first_norm(y)))
    rows: Tensor = norm(y).permute(0, 2, 3, 1)
    assert rows.shape[1] == patch_px // stride
    return rows.reshape(count, -1, rows.shape[-1])


def _windows(x_NBHW: Tensor, mask: Mask, patch_px: int, *, margin: int) -> Tensor:
    """Cut a window around each visible patch, `(N V, B, side, side)`.

    Channels lie last in memory, as LayerNorm wants them.
    """
    side = patch_px + 2 * margin
    padded_NHWB = functional.pad(x_NBHW, (margin,) * 4).permute(0, 2, 3, 1)
    padded_NHWB = padded_NHWB.contiguous()
    windows = padded_NHWB.unfold(1, side, patch_px).unfold(2, side, patch_px)
    flat = windows.permute(0, 1, 2, 4, 5, 3).flatten(1, 2).flatten(2)
    picked = pick(flat, mask.visible_NV)
    return picked.view(-1, side, side, x_NBHW.shape[1]).permute(0, 3, 1, 2)


def _merge_2x2(x_NSC: Tensor, s: int, conv: nn.Conv2d) -> Tensor:
    """Run a 2x2 convolution with stride 2 on rows, `(N, S / 4, C_out)`."""
    count, _, channels = x_NSC.shape
    half = s // 2
    cells = x_NSC.view(count, -1, half, 2, half, 2, channels).transpose(3, 4)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return functional.linear(cells.reshape(count, -1, 4 * channels), weight, conv.bias)


def _block_rows(block: Block, x_NSC: Tensor, index: Tensor, width: int) -> Tensor:
    """Run a block on rows: a map for the depthwise convolution, rows for the rest."""
    y_NSC = gather(depthwise(block.dwconv, spread(x_NSC, index, width)), index)
    x_NSE = block.pwconv1(block.norm(y_NSC))
    if block.grn.scope == "batch":
        x_NSE = x_NSE.view(1, -1, x_NSE.shape[-1])
    rows = grn_linear(block.grn, block.pwconv2, x_NSE, wanted=x_NSE.shape[1], gelu=True)
    return x_NSC + rows.view_as(x_NSC)


def encode_dense(encoder: Encoder, x_NBHW: Tensor, mask: Mask) -> Tensor:
    """Run the encoder on whole maps, set to 0 at hidden cells after every layer.

    The plainest statement of what a backend computes, and the oracle of the tests.
    """
    config = encoder.config
    x = x_NBHW * mask.visible_map(config.patch_px)
    if encoder.initial_conv is not None:
        x = encoder.initial_conv(x) * mask.visible_map(config.patch_px)
    s = config.patch_px // config.stem_px
    x = encoder.stem(x) * mask.visible_map(s)
    for number, blocks in enumerate(encoder.blocks()):
        if number:
            s //= 2
            x = encoder.downsample_layers[number - 1](x) * mask.visible_map(s)
        visible = mask.visible_map(s)
        for block in blocks:
            y_NhwC = block.norm(block.dwconv(x).permute(0, 2, 3, 1))
            y_NhwE = functional.gelu(block.pwconv1(y_NhwC))
            y_NhwE = block.grn(y_NhwE * visible.permute(0, 2, 3, 1))
            x = (x + block.pwconv2(y_NhwE).permute(0, 3, 1, 2)) * visible
    return pick(x.flatten(2).transpose(1, 2), mask.visible_NV)


_BACKENDS: Final[Mapping[BackendName, Backend]] = {
    "sites": encode_sites,
    "dense": encode_dense,
}


def to_map(rows_NVD: Tensor, mask: Mask) -> Tensor:
    """Return the rows of the last stage as a map, `(N, D, h, w)`, 0 where hidden."""
    return spread(rows_NVD, mask.sites(1), mask.side)
