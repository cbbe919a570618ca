"""Writes a checkpoint as our own training does, by hand and as small as can be."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from mmearth_training.model.encoder import Encoder, EncoderConfig, Size

if TYPE_CHECKING:
    from pathlib import Path

BANDS = ("B4", "B8A", "B10")
CONFIG = EncoderConfig(
    size=Size(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)),
    bands=len(BANDS),
    patch_px=8,
    grn="batch",
    grn_eps=1e-6,
)
STATISTICS = {"mean": [1500.0, 2500.5, 900.0], "std": [700.0, 1100.25, 300.0]}
SOURCE = "input statistics of the data set `small`"


def small_weights(*, seed: int = 5) -> dict[str, torch.Tensor]:
    """Return random weights of a whole model, decoders and all."""
    generator = torch.Generator().manual_seed(seed)
    return {
        **{
            f"encoder.{name}": torch.randn(weight.shape, generator=generator)
            / max(weight[0].numel(), 4) ** 0.5
            for name, weight in Encoder(CONFIG).state_dict().items()
        },
        "decoder.mask_token": torch.zeros(8),
        "weights.log_variance": torch.zeros(2),
    }


def about(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the content of `checkpoint.json`; changes go by name of key."""
    shape = {k: v for k, v in asdict(CONFIG).items() if k not in {"size", "geometry"}}
    return {
        "format": 1,
        "step": 123,
        "epoch": 3.0,
        "encoder": {**shape, **asdict(CONFIG.size), "size": "custom", "bands": BANDS},
        "crop_px": 56,
        "statistics": {"l1c": STATISTICS},
        "statistics_source": SOURCE,
        "facts": {"recipe": "tiny-cpu", "data": "small", "epochs": 5, "amp": False},
        "recipe": {"anything": [1, 2]},
        "metrics": None,
        **changes,
    }


def write_trained(
    folder: Path,
    *,
    weights: dict[str, torch.Tensor] | None = None,
    **changes: Any,  # noqa: ANN401
) -> Path:
    """Write a checkpoint into a new folder."""
    folder.mkdir(parents=True)
    path = folder / "model.safetensors"
    save_file(small_weights() if weights is None else weights, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    content = {"sha256": {"model.safetensors": digest}, **about(**changes)}
    (folder / "checkpoint.json").write_text(json.dumps(content))
    return folder
