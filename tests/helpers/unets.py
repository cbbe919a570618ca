"""Writes a checkpoint as fine-tuning does, by hand and as small as can be."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.classes import MapClass
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_training.model.encoder import EncoderConfig, Size
from mmearth_training.model.unet import Unet
from tests.helpers.pretraining import randomise
from tests.helpers.trained import write_trained

if TYPE_CHECKING:
    from pathlib import Path

CLASSES = (
    MapClass(name="dry", rgb=(200, 180, 120)),
    MapClass(name="water", rgb=(0, 0, 255)),
    MapClass(name="snow", rgb=(255, 255, 255)),
)
CONFIG = EncoderConfig(size=Size(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)), patch_px=8)


def write_unet(folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """Write a checkpoint into a new folder; changes go by name of key."""
    unet = Unet(CONFIG, len(CLASSES))
    randomise(unet)
    return write_trained(
        folder,
        weights={name: weight.detach() for name, weight in unet.state_dict().items()},
        **{
            "encoder": {
                **asdict(CONFIG.size),
                "size": "custom",
                "bands": MMEARTH_BANDS,
                "patch_px": CONFIG.patch_px,
                "original_stem": False,
                "grn": CONFIG.grn,
                "grn_eps": CONFIG.grn_eps,
            },
            "statistics": {
                level: asdict(numbers)
                for level, numbers in pretraining_statistics(MMEARTH_BANDS).items()
            },
            "segmentation": {"classes": [asdict(one) for one in CLASSES]},
            **changes,
        },
    )
