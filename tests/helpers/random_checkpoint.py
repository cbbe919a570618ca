"""Writes a checkpoint as our own training does, of a named size and random weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig
from tests.helpers.pretraining import randomise
from tests.helpers.trained import write_trained

if TYPE_CHECKING:
    from pathlib import Path


def write_random(folder: Path, size: str, patch_px: int) -> Path:
    """Write a checkpoint into a new folder."""
    config = EncoderConfig(
        size=SIZES[size], patch_px=patch_px, grn="batch", grn_eps=1e-6
    )
    encoder = Encoder(config)
    randomise(encoder)
    return write_trained(
        folder,
        weights={f"encoder.{k}": v.detach() for k, v in encoder.state_dict().items()},
        encoder={
            "size": size,
            **asdict(config.size),
            "bands": MMEARTH_BANDS,
            "patch_px": patch_px,
            "original_stem": False,
            "grn": "batch",
            "grn_eps": 1e-6,
        },
        crop_px=7 * patch_px,
        statistics={
            level: asdict(numbers)
            for level, numbers in pretraining_statistics(MMEARTH_BANDS).items()
        },
    )
