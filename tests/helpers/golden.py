"""Weights and inputs of the golden recipe, made again from their names."""

from __future__ import annotations

import argparse
import json
import pathlib
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmearth_training.model.masking import Mask
from tests.helpers.data import GOLDEN

if TYPE_CHECKING:
    from numpy.typing import NDArray

BANDS = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12"]


def golden_state() -> dict[str, torch.Tensor]:
    """Return the sparse state dict of atto/16 by the recipe in the golden README."""
    shapes = json.loads((GOLDEN / "pretrain_atto_patch16_keys.json").read_text())
    return {
        name: torch.from_numpy(draw(name, tuple(shape)))
        for name, shape in shapes.items()
    }


def draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the golden weight of a name, first rule that matches."""
    source = name
    if name.startswith("decoder_dict."):
        parts = name.split(".")
        source = ".".join(["decoder_dict", "sentinel2", *parts[2:]])
    rng = np.random.default_rng(zlib.crc32(source.encode()))
    w = rng.standard_normal(shape).astype("float32")
    is_norm = (
        ".ln.weight" in name
        or name.endswith(("norm.weight", "layer_norm_tmp.weight"))
        or (name.endswith(".weight") and len(shape) == 1)
    )
    if "log_vars" in name:
        w = 0.1 * w
    elif is_norm:
        w = 1 + 0.1 * w
    elif "grn" in name:
        w = 0.3 * w
    elif len(shape) > 1 and "bias" not in name:
        fan = shape[:-1] if name.endswith(".kernel") else shape[1:]
        w = w / np.sqrt(np.prod(fan))
    else:
        w = 0.05 * w
    return w.astype("float32")


def golden_input() -> NDArray[np.float32]:
    """Return the golden Sentinel-2 input, `(2, 12, 112, 112)`, standardised."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 12, 112, 112)).astype("float32")


def golden_batch() -> tuple[torch.Tensor, dict[str, torch.Tensor], Mask]:
    """Return the golden input, targets and mask as `MpMae` takes them.

    Class maps are `(N, H, W)` int64 with -1 where missing, one-hot rows are class
    numbers, missing values are NaN.
    """
    rng = np.random.default_rng(0)
    count, side = 2, 112

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal((count, *shape)).astype("float32")

    drawn: dict[str, NDArray[Any]] = {}
    drawn["sentinel2"] = normal(12, side, side)
    drawn["sentinel1"] = normal(8, side, side)
    drawn["aster"] = normal(2, side, side)
    drawn["era5"] = normal(12)
    drawn["dynamic_world"] = rng.integers(-1, 9, (count, 1, side, side))[:, 0]
    drawn["canopy_height_eth"] = normal(2, side, side)
    drawn["lat"] = normal(2)
    drawn["lon"] = normal(2)
    drawn["biome"] = rng.integers(0, 14, count)
    drawn["eco_region"] = rng.integers(0, 846, count)
    drawn["month"] = normal(2)
    drawn["esa_worldcover"] = rng.integers(-1, 11, (count, 1, side, side))[:, 0]
    missing = rng.random((count, 4, side, side)) < 0.1
    drawn["sentinel1"][:, 4:][missing] = np.nan
    drawn["era5"][0, 3] = np.nan
    targets = {name: torch.from_numpy(values) for name, values in drawn.items()}
    rng = np.random.default_rng(1)
    orders = [rng.permutation(49) for _ in range(count)]
    visible, hidden = (
        torch.from_numpy(np.sort([order[part] for order in orders]))
        for part in (slice(19), slice(19, None))
    )
    return targets["sentinel2"], targets, Mask(visible, hidden)


def write_checkpoint(
    path: pathlib.Path,
    state: dict[str, torch.Tensor] | None = None,
    **args: Any,  # noqa: ANN401
) -> pathlib.Path:
    """Write a checkpoint as the published training code does."""
    namespace = argparse.Namespace(
        **{
            "model": "convnextv2_atto",
            "patch_size": 16,
            "input_size": 112,
            "mask_ratio": 0.6,
            "data_dir": pathlib.Path("somewhere"),
            "inp_modalities": {"sentinel2": BANDS},
            "loss_aggr": "uncertainty",
            "use_orig_stem": False,
            **args,
        }
    )
    torch.save(
        {
            "model": golden_state() if state is None else state,
            "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
            "epoch": 199,
            "scaler": {"scale": 65536.0},
            "args": namespace,
        },
        path,
    )
    return path
