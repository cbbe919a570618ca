"""Checkpoints as the authors of MMEarth publish them: shape inferred, kernels dense.

A `checkpoint-199.pth` is a pickle of `model`, `optimizer`, `epoch`, `scaler` and
`args`. Weights are those of the sparse encoder, or of a dense one with its names.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from mmearth_infer.contract.bands import (
    MMEARTH_BANDS,
    MMEARTH_RGB_BANDS,
    find_band,
)
from mmearth_infer.contract.normalize import PRETRAINING_SOURCE, pretraining_statistics
from mmearth_infer.disk import sha256_of
from mmearth_infer.errors import ModelError
from mmearth_training.encoder_checkpoint import (
    EncoderCheckpoint,
    check_finite,
    check_shapes,
)
from mmearth_training.model.encoder import (
    PATCH_SIZES_PX,
    STAGES,
    EncoderConfig,
    Size,
)
from mmearth_training.safe_load import load_data

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPARSE_GRN_EPS: Final = 1e-6
"""Epsilon of GRN in sparse pretraining."""

PATCHES_A_SIDE: Final = 7
"""Patches a side of every crop in the paper: 112 / 16 and 56 / 8."""

MAX_CROP_PX: Final = 100_000
"""What no training crop is larger than."""

_PREFIX: Final = "encoder."
_STAGE_KEY: Final = re.compile(r"stages\.(\d+)\.(\d+)\.dwconv\.")
_HINT: Final = "give a checkpoint of MMEarth pretraining, such as `checkpoint-199.pth`"
_FACTS: Final = (
    "model",
    "patch_size",
    "input_size",
    "mask_ratio",
    "epochs",
    "blr",
    "weight_decay",
    "loss_aggr",
    "use_orig_stem",
)


def load_published(path: Path) -> EncoderCheckpoint:
    """Read a published pretraining checkpoint.

    Args:
        path: A `checkpoint-*.pth`.

    Raises:
        UnsafeFileError: If the file asks for anything but tensors and plain data.
        ModelError: If it is no such checkpoint.

    """
    content = load_data(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise ModelError(f"`{path}` holds no `model` with weights", hint=_HINT)
    state = dense_encoder_state(content["model"])
    if not state:
        raise ModelError(f"`{path}` holds no weights of an encoder", hint=_HINT)
    original_stem = not any(key.startswith("initial_conv.") for key in state)
    args = getattr(content.get("args"), "__dict__", {})
    config = _infer_config(state, original_stem=original_stem, path=path)
    _check(config, state, args, path)
    check_finite(state, path)
    bands = _infer_bands(config.bands, args, path)
    return EncoderCheckpoint(
        name=path.name,
        config=config,
        state=state,
        bands=bands,
        crop_px=_crop_px(args, path) or PATCHES_A_SIDE * config.patch_px,
        statistics=pretraining_statistics(bands),
        statistics_source=PRETRAINING_SOURCE,
        sha256=sha256_of(path),
        facts={
            key: args[key]
            for key in _FACTS
            if isinstance(args.get(key), str | int | float)
        },
    )


def dense_encoder_state(state: Mapping[Any, object]) -> dict[str, Tensor]:
    """Return the encoder's part of a published state dict, dense, by our names."""
    sparse = {
        key.removeprefix(_PREFIX): value
        for key, value in state.items()
        if isinstance(key, str)
        and key.startswith(_PREFIX)
        and isinstance(value, Tensor)
    }
    original_stem = not any(key.startswith("initial_conv.") for key in sparse)
    for key, value in sparse.items():
        _check_storage(key, value)
    depthwise = (".dwconv.",) if original_stem else (".dwconv.", "stem.0.")
    return {
        _dense_name(key): _dense_tensor(
            key, value, depthwise=any(part in key for part in depthwise)
        )
        for key, value in sparse.items()
    }


def _check_storage(key: str, value: Tensor) -> None:
    """Refuse a tensor that says it is larger than what the file holds of it."""
    plain = (
        value.layout is torch.strided
        and value.is_floating_point()
        and value.device.type == "cpu"
        and not value.is_quantized
    )
    held = value.untyped_storage().nbytes() if plain else 0
    if not plain or value.numel() * value.element_size() > held:
        raise ModelError(f"`{key}` is not a plain tensor of numbers", hint=_HINT)


def _crop_px(args: Mapping[str, object], path: Path) -> int | None:
    """Return the side of the training crops, if the file says one that can be."""
    crop_px = _int(args, "input_size")
    if crop_px is not None and not 0 < crop_px <= MAX_CROP_PX:
        raise ModelError(f"`{path}` was trained on crops of {crop_px} px", hint=_HINT)
    return crop_px


def _dense_name(key: str) -> str:
    """Drop the names of the sparse wrappers."""
    key = key.replace(".ln.", ".").replace(".linear.", ".")
    return key.removesuffix(".kernel") + ".weight" if key.endswith(".kernel") else key


def _dense_tensor(key: str, value: Tensor, *, depthwise: bool) -> Tensor:
    """Turn a sparse kernel or a row vector into its dense form.

    MinkowskiEngine counts the positions of a kernel column by column, so that the
    two spatial axes are swapped. A kernel of one position may lack that axis.
    """
    value = value.to(torch.float32)
    if not key.endswith(".kernel"):
        is_row = value.ndim > 1 and value.numel() == value.shape[-1]
        is_vector = key.endswith((".bias", ".gamma", ".beta"))
        return value.reshape(-1) if is_row and is_vector else value.clone()
    if value.ndim not in ((2,) if depthwise else (2, 3)):
        raise ModelError(f"kernel `{key}` has {value.ndim} axes", hint=_HINT)
    if not depthwise and value.ndim == 2:  # noqa: PLR2004 -- one position, its axis left out
        value = value[None]
    side = math.isqrt(value.shape[0])
    if side * side != value.shape[0]:
        raise ModelError(
            f"kernel `{key}` has {value.shape[0]} positions, not a square", hint=_HINT
        )
    if depthwise:
        dense = value.T.reshape(value.shape[1], 1, side, side)
    else:
        dense = value.permute(2, 1, 0).reshape(*value.shape[:0:-1], side, side)
    return dense.transpose(3, 2).contiguous()


def _infer_config(
    state: Mapping[str, Tensor], *, original_stem: bool, path: Path
) -> EncoderConfig:
    """Read depths, dims, bands and patch size off the tensors."""
    blocks = {(m[1], m[2]) for m in map(_STAGE_KEY.match, state) if m}
    depths = [sum(stage == str(n) for stage, _ in blocks) for n in range(STAGES)]
    try:
        dims = [state[f"stages.{n}.0.norm.weight"].shape[0] for n in range(STAGES)]
        first = state["stem.0.weight" if original_stem else "initial_conv.0.weight"]
        bands, stem_px = first.shape[1], state["stem.0.weight"].shape[-1]
    except (KeyError, IndexError) as error:
        raise ModelError(
            f"`{path}` is not an MP-MAE encoder: it lacks {error}", hint=_HINT
        ) from error
    patch_px = 8 * stem_px
    if patch_px not in PATCH_SIZES_PX:
        raise ModelError(
            f"the stem in `{path}` has a kernel of {stem_px} px, which no MP-MAE has",
            hint=_HINT,
        )
    return EncoderConfig(
        size=Size(
            depths=(depths[0], depths[1], depths[2], depths[3]),
            dims=(dims[0], dims[1], dims[2], dims[3]),
        ),
        bands=bands,
        patch_px=patch_px,
        original_stem=original_stem,
    )


def _check(
    config: EncoderConfig,
    state: Mapping[str, Tensor],
    args: Mapping[str, object],
    path: Path,
) -> None:
    """Refuse weights that do not fit each other, or not what the file says of them."""
    check_shapes(config, state, path=path, hint=_HINT)
    said = _int(args, "patch_size")
    if said not in (None, config.patch_px):
        raise ModelError(
            f"`{path}` says its patch size is {said} px, but its stem makes it "
            f"{config.patch_px} px",
            hint="one of them was changed; get the checkpoint from its authors",
        )


def _infer_bands(count: int, args: Mapping[str, object], path: Path) -> tuple[str, ...]:
    """Return the input bands: as recorded, else the published set of that number."""
    inputs = args.get("inp_modalities")
    recorded = inputs.get("sentinel2") if isinstance(inputs, dict) else None
    if isinstance(recorded, list | tuple):
        names = tuple(find_band(str(name)) for name in recorded)
        known = tuple(name for name in names if name is not None)
        if len(known) == len(names) == count:
            return known
        raise ModelError(
            f"`{path}` records the bands {', '.join(map(str, recorded))}, "
            f"but its first convolution reads {count}",
            hint="get the checkpoint from its authors",
        )
    for bands in (MMEARTH_BANDS, MMEARTH_RGB_BANDS):
        if len(bands) == count:
            return bands
    raise ModelError(
        f"`{path}` reads {count} bands and does not record which",
        hint="published models read 12 bands or 3",
    )


def _int(args: Mapping[str, object], key: str) -> int | None:
    """Return a recorded whole number, or None."""
    value = args.get(key)
    return value if isinstance(value, int) and value > 0 else None
