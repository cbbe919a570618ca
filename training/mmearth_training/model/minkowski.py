"""The encoder on MinkowskiEngine, as the published code trains it.

Optional, and slower on a CPU than the two other backends: it is here to compare with,
and for GPUs that have it. Tested with MinkowskiEngine 0.5.4 built for CPU
(docs/guides/minkowski.md says how).

Shapes: N samples, B bands, H W pixels, S sites, K kernel positions, C channels,
V visible patches, D channels of the last stage.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_training.model.masking import gather

with warnings.catch_warnings():
    # importing a build without CUDA warns that it has none
    warnings.filterwarnings("ignore", "The MinkowskiEngine was compiled with CPU_ONLY")
    import MinkowskiEngine as me  # noqa: N813 -- its own abbreviation

if TYPE_CHECKING:
    from mmearth_training.model.blocks import Block
    from mmearth_training.model.encoder import Encoder
    from mmearth_training.model.masking import Mask

Sparse = Any
"""A `MinkowskiEngine.SparseTensor`; the package ships no types."""


def encode_minkowski(encoder: Encoder, x_NBHW: Tensor, mask: Mask) -> Tensor:
    """Run the encoder on MinkowskiEngine; see `mmearth_training.model.sparse`."""
    patch_px = encoder.config.patch_px
    index = mask.sites(patch_px)
    height, width = x_NBHW.shape[-2:]
    where = torch.stack(
        (index // (height * width), index // width % height, index % width), dim=1
    )
    rows = gather(x_NBHW, index).flatten(0, 1)
    x: Sparse = me.SparseTensor(rows, coordinates=where.int().contiguous())
    if encoder.first_layers is not None:
        first, norm, gelu = encoder.first_layers
        x = _convolve(x, first)
        x = _with_rows(x, gelu(nn.LayerNorm.forward(norm, x.F)))
    conv, norm = encoder.stem_layers
    x = _convolve(x, conv)
    x = _with_rows(x, nn.LayerNorm.forward(norm, x.F))
    for number, blocks in enumerate(encoder.blocks()):
        if number:
            norm, conv = encoder.downsample(number)
            x = _with_rows(x, nn.LayerNorm.forward(norm, x.F))
            x = _convolve(x, conv)
        for block in blocks:
            x = _block(block, x, samples=x_NBHW.shape[0])
    return _visible_rows(x, mask, patch_px)


def _block(block: Block, x: Sparse, *, samples: int) -> Sparse:
    """Run a block; GRN over one sample needs its rows side by side."""
    y = _convolve(x, block.dwconv)
    expanded_SE = functional.gelu(block.pwconv1(block.norm(y.F)))
    order = torch.argsort(y.C[:, 0], stable=True)
    by_sample = expanded_SE[order].view(samples, 1, -1, expanded_SE.shape[1])
    normed_SE = torch.empty_like(expanded_SE).index_copy(
        0, order, block.grn(by_sample).flatten(0, 2)
    )
    return _with_rows(x, x.F + _rows_like(x, y, block.pwconv2(normed_SE)))


def _rows_like(x: Sparse, y: Sparse, rows: Tensor) -> Tensor:
    """Return rows of `y`, which a stride of 1 leaves in the order of `x`."""
    assert x.coordinate_map_key == y.coordinate_map_key
    return rows


def _convolve(x: Sparse, conv: nn.Conv2d) -> Sparse:
    """Run a dense convolution's weights over the sites."""
    size, stride = conv.kernel_size[0], conv.stride[0]
    common = {"kernel_size": size, "stride": stride, "bias": False, "dimension": 2}
    if conv.groups > 1:
        layer = me.MinkowskiChannelwiseConvolution(conv.in_channels, **common)
    else:
        layer = me.MinkowskiConvolution(conv.in_channels, conv.out_channels, **common)
    shape = layer.kernel.shape
    del layer.kernel
    layer.kernel = _kernel(conv).contiguous().view(shape)
    y = layer(x)
    return y if conv.bias is None else _with_rows(y, y.F + conv.bias)


def _kernel(conv: nn.Conv2d) -> Tensor:
    """Return a kernel as MinkowskiEngine orders it, `(K, in, out)` or `(K, C)`.

    It counts positions column by column, so that the two spatial axes swap.
    """
    flat = conv.weight.transpose(2, 3).flatten(2)
    return flat[:, 0].T if conv.groups > 1 else flat.permute(2, 1, 0)


def _with_rows(x: Sparse, rows: Tensor) -> Sparse:
    """Return the same sites with other features."""
    return me.SparseTensor(
        rows,
        coordinate_map_key=x.coordinate_map_key,
        coordinate_manager=x.coordinate_manager,
    )


def _visible_rows(x: Sparse, mask: Mask, patch_px: int) -> Tensor:
    """Return the features in the order of the mask, `(N, V, D)`."""
    count, visible = mask.visible_NV.shape
    side = mask.side
    cells = x.C.to(torch.int64)
    flat = (cells[:, 0] * side + cells[:, 1] // patch_px) * side
    flat = flat + cells[:, 2] // patch_px
    everywhere: Tensor = x.F.new_zeros(count * side * side, x.F.shape[1])
    everywhere = everywhere.index_copy(0, flat, x.F)
    return everywhere.index_select(0, mask.sites(1)).view(count, visible, -1)
