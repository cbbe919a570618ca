"""What the tests of MP-MAE share: small models, masks, targets, the plain decoder."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmearth_training.modalities import INPUT, MODALITIES, SETS
from mmearth_training.model.decoder import Decoder, DecoderConfig
from mmearth_training.model.encoder import EncoderConfig, Size
from mmearth_training.model.masking import Mask, pick, place
from mmearth_training.model.mpmae import MpMaeConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

needs_minkowski = pytest.mark.skipif(
    find_spec("MinkowskiEngine") is None,
    reason="MinkowskiEngine is not installed (docs/guides/minkowski.md)",
)

_deprecated = pytest.mark.filterwarnings(
    # MinkowskiEngine 0.5.4 instantiates its autograd functions
    r"ignore:.*Minkowski.* should not be instantiated:DeprecationWarning"
)

BACKEND_CASES = (
    "dense",
    "sites",
    pytest.param("minkowski", marks=[needs_minkowski, _deprecated]),
)

SMALL = EncoderConfig(
    size=Size(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8)),
    bands=3,
    patch_px=8,
    grn="batch",
    grn_eps=1e-6,
)


def small_config(**changes: Any) -> MpMaeConfig:  # noqa: ANN401
    """Return a model of all tasks that is small enough to run in milliseconds."""
    settings = {
        "encoder": SMALL,
        "decoder": DecoderConfig(width=16),
        "tasks": SETS["all"],
    }
    return MpMaeConfig(**{**settings, **changes})


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter a value that matters, GRN's zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        if "norm" in name and name.endswith("weight"):
            weight.data = 1 + 0.1 * noise
        elif weight.ndim > 1:
            weight.data = noise / weight[0].numel() ** 0.5
        else:
            weight.data = 0.3 * noise
    return module


def random_mask(count: int, side: int, visible: int, seed: int = 0) -> Mask:
    """Return a mask of `side * side` patches."""
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(side * side) for _ in range(count)])
    return Mask(
        torch.from_numpy(np.sort(order[:, :visible])),
        torch.from_numpy(np.sort(order[:, visible:])),
    )


def random_batch(
    config: MpMaeConfig, mask: Mask, seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return standardised pixels and targets of every task, none missing."""
    generator = torch.Generator().manual_seed(seed)
    count = mask.visible_NV.shape[0]
    side_px = mask.side * config.encoder.patch_px
    targets = {}
    for name in config.tasks:
        task = MODALITIES[name]
        pixels = (side_px, side_px) if task.level == "pixel" else ()
        width = config.channels(name)
        if task.kind == "categorical":
            shape = (count, *pixels)
            targets[name] = torch.randint(width, shape, generator=generator)
        else:
            shape = (count, width, *pixels)
            targets[name] = torch.randn(shape, generator=generator)
    return targets[INPUT].clone(), targets


def plain_predictions(
    decoder: Decoder, rows_NVD: Tensor, mask: Mask
) -> dict[str, Tensor]:
    """Predict in the order of the paper: block and head over every patch.

    Returns:
        `(N, P, O)` for pixel-level tasks, `(N, O)` for image-level ones.

    """
    rows_NVW = decoder.proj(rows_NVD)
    count, patches = rows_NVD.shape[0], mask.side**2
    token_NPW = decoder.mask_token.expand(count, patches, -1)
    x_NPW = place(rows_NVW, mask.visible_NV, token_NPW)
    x_NWhw = x_NPW.transpose(1, 2).unflatten(2, (mask.side, mask.side))
    predictions = {}
    for name, head in decoder.heads.items():
        key = "shared" if decoder.config.decoders == "shared" else name
        y_NPW = decoder.blocks[key](x_NWhw).flatten(2).transpose(1, 2)
        if MODALITIES[name].level == "image":
            if decoder.image_norm is not None:
                y_NPW = decoder.image_norm(y_NPW)
            if decoder.config.pooling == "hidden":
                y_NPW = pick(y_NPW, mask.hidden_NU)
            y_NPW = y_NPW.mean(1)
        predictions[name] = head(y_NPW)
    return predictions


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Return the greatest difference as a share of the greatest value."""
    ours, theirs = ours.detach(), theirs.detach()
    greatest = theirs.abs().max().clamp(min=torch.finfo(theirs.dtype).tiny)
    return float((ours - theirs).abs().max() / greatest)


def gradients(model: nn.Module) -> Mapping[str, Tensor]:
    """Return the gradient of every parameter by name, 0 where there is none."""
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in model.named_parameters()
    }
