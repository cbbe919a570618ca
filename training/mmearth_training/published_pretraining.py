"""A published pretraining checkpoint as a whole: encoder, decoders, heads.

The published decoders are one block under twelve names, so that equal tensors mean
`shared`. Heads and projection are 1x1 convolutions there, Linear layers here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from mmearth_infer.errors import ModelError
from mmearth_training.modalities import MODALITIES
from mmearth_training.published import dense_encoder_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_training.model.decoder import Decoders

_BLOCK: Final = "decoder_dict."
_HEAD: Final = "pred_dict."


def published_tasks(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the tasks a published state dict has heads for, in the table's order."""
    return tuple(name for name in MODALITIES if f"{_HEAD}{name}.weight" in state)


def published_decoders(state: Mapping[str, Tensor]) -> Decoders:
    """Say whether the decoder blocks of all tasks are equal, as published."""
    first, *rest = published_tasks(state)
    keys = [key for key in state if key.startswith(f"{_BLOCK}{first}.")]
    same = all(
        torch.equal(state[key], state[key.replace(f".{first}.", f".{name}.", 1)])
        for name in rest
        for key in keys
    )
    return "shared" if same else "separate"


def mpmae_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a published state dict under the names and shapes of `MpMae`.

    Raises:
        ModelError: If it holds no decoder.

    """
    tasks = published_tasks(state)
    if not tasks:
        raise ModelError(
            "the checkpoint holds no decoder heads",
            hint="only the encoder of it can be used",
        )
    ours = {
        f"encoder.{key}": value for key, value in dense_encoder_state(state).items()
    }
    ours["decoder.mask_token"] = state["mask_token"].flatten()
    ours["decoder.proj.weight"] = state["proj.weight"].flatten(1)
    ours["decoder.proj.bias"] = state["proj.bias"]
    shared = published_decoders(state) == "shared"
    for name in tasks[:1] if shared else tasks:
        prefix = f"{_BLOCK}{name}.0."
        for key, value in state.items():
            if key.startswith(prefix):
                part = key.removeprefix(prefix)
                flat = value.flatten() if part.startswith("grn.") else value
                ours[f"decoder.blocks.{'shared' if shared else name}.{part}"] = flat
    for name in tasks:
        ours[f"decoder.heads.{name}.weight"] = state[f"{_HEAD}{name}.weight"].flatten(1)
        ours[f"decoder.heads.{name}.bias"] = state[f"{_HEAD}{name}.bias"]
    for part in ("weight", "bias"):
        if f"layer_norm_tmp.{part}" in state:
            ours[f"decoder.image_norm.{part}"] = state[f"layer_norm_tmp.{part}"]
    if "loss_fn.log_vars" in state:
        ours["weights.log_vars_T"] = state["loss_fn.log_vars"]
    return ours
