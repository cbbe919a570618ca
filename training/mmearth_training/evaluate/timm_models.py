"""Encoders out of timm by name; ConvNeXt V2 becomes an encoder of ours."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

from mmearth_infer.contract.normalize import PRETRAINING_SOURCE, pretraining_statistics
from mmearth_infer.errors import MissingExtraError, ModelError
from mmearth_training.encoder_checkpoint import EncoderCheckpoint
from mmearth_training.model.encoder import STAGES, Encoder, EncoderConfig, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

TIMM: Final = "timm:"
"""Prefix of an encoder out of timm, by its name there."""

RGB: Final = ("B4", "B3", "B2")
"""What models of photographs see."""

IMAGENET_PX: Final = 224
"""Side of the images that ImageNet models are trained on."""

_PATCH_PX: Final = 32
_NAMES: Final = (
    (r"\.blocks\.", "."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.mlp\.grn\.weight$", ".grn.gamma"),
    (r"\.mlp\.grn\.bias$", ".grn.beta"),
    (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
)


def timm_contender(name: str) -> EncoderCheckpoint | nn.Module:
    """Return an encoder with its pretrained weights.

    Args:
        name: `timm:NAME`.

    Returns:
        A checkpoint of ours for a ConvNeXt V2; else a module from pixels to features.

    Raises:
        MissingExtraError: If timm is not installed.
        ModelError: If timm has no such model, or its weights cannot be had.

    """
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # a torchvision that does not fit
        raise MissingExtraError(name, extra="evaluate") from error
    try:
        model: nn.Module = timm.create_model(
            name.removeprefix(TIMM), pretrained=True, num_classes=0, in_chans=len(RGB)
        )
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            f"`{name}` cannot be had: {' '.join(str(error).split())[:200]}",
            hint="its name is one of timm's, and its weights are downloaded once",
        ) from error
    state = convnext_v2_state(model.state_dict())
    if state is None:
        return model.eval()
    return _checkpoint(name, state)


def convnext_v2_state(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the weights of timm's ConvNeXt V2 by our names; None for other models."""
    if "stages.0.blocks.0.mlp.grn.weight" not in state:
        return None
    named: dict[str, Tensor] = {}
    for key, value in state.items():
        if not key.startswith(("stem.", "stages.")):
            continue
        ours = key
        for pattern, replacement in _NAMES:
            ours = re.sub(pattern, replacement, ours)
        stage = re.match(r"downsample_layers\.(\d)", ours)
        if stage:  # theirs belong to the stage behind them
            number = int(stage[1]) - 1
            ours = f"downsample_layers.{number}{ours[stage.end() :]}"
        if ".pwconv" in ours and ours.endswith("weight"):
            value = value.flatten(1)  # noqa: PLW2901 -- small sizes have 1x1 convolutions
        named[ours] = value.float()
    return named


def _checkpoint(name: str, state: Mapping[str, Tensor]) -> EncoderCheckpoint:
    """Return weights as a checkpoint, of the shape that they have."""
    dims = [state[f"stages.{n}.0.norm.weight"].shape[0] for n in range(STAGES)]
    blocks = {key.rsplit(".dwconv.", 1)[0] for key in state if ".dwconv." in key}
    depths = [sum(key.startswith(f"stages.{n}.") for key in blocks) for n in range(4)]
    config = EncoderConfig(
        size=Size(
            depths=(depths[0], depths[1], depths[2], depths[3]),
            dims=(dims[0], dims[1], dims[2], dims[3]),
        ),
        bands=len(RGB),
        patch_px=_PATCH_PX,
        original_stem=True,
        grn_eps=1e-6,
    )
    with torch.device("meta"):
        expected = {k: v.shape for k, v in Encoder(config).state_dict().items()}
    if {key: value.shape for key, value in state.items()} != expected:
        raise ModelError(
            f"`{name}` is a ConvNeXt V2 of another make than timm's own",
            hint="choose one of convnextv2_atto to convnextv2_huge",
        )
    return EncoderCheckpoint(
        name=name,
        config=config,
        state=state,
        bands=RGB,
        crop_px=IMAGENET_PX,
        statistics=pretraining_statistics(RGB),
        statistics_source=PRETRAINING_SOURCE,
        sha256="",
        facts={},
    )
