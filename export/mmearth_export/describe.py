"""What a manifest says of a network, before the gate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.manifest import (
    Architecture,
    Grn,
    Manifest,
    Output,
    Precision,
    Storage,
)
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_training.encoder_checkpoint import UnetCheckpoint
from mmearth_training.model.encoder import STAGES, receptive_radius_px
from mmearth_training.model.unet import unet_radius_px

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.classes import MapClass
    from mmearth_infer.contract.manifest import Provenance
    from mmearth_infer.contract.normalize import Statistics
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.model.encoder import EncoderConfig

UNET_FAMILY: Final = "mp-mae/convnextv2 + u-net"
"""What the manifest of a segmentation model says its network is."""


def default_name(checkpoint: EncoderCheckpoint) -> str:
    """Return what a model is called that nobody named."""
    task = "-unet" if isinstance(checkpoint, UnetCheckpoint) else ""
    return f"{checkpoint.size_name}-{checkpoint.config.patch_px}{task}"


def of_segmentation(
    manifest: Manifest, config: EncoderConfig, classes: Sequence[MapClass]
) -> Manifest:
    """Return the manifest of a U-Net from that of its encoder."""
    return replace(
        manifest,
        task="segmentation",
        classes=tuple(classes),
        outputs=(
            Output(
                name="logits",
                stage=STAGES,
                stride_px=1,
                channels=len(classes),
                receptive_radius_px=unet_radius_px(config),
            ),
        ),
        architecture=replace(manifest.architecture, family=UNET_FAMILY),
    )


def describe(  # noqa: PLR0913 -- what a manifest says and the encoder does not
    config: EncoderConfig,
    *,
    name: str,
    size_name: str,
    bands: Sequence[str],
    stages: Sequence[int],
    crop_px: int,
    provenance: Provenance,
    statistics: Mapping[ProductLevel, Statistics] | None = None,
    grn_source: str | None = None,
    precision: Precision = "fp32",
    weights: Storage | None = None,
    int8_scales: Mapping[int, float] | None = None,
) -> Manifest:
    """Return the manifest of an encoder.

    Its statistics are those given, or of the MMEarth pretraining data for None.
    """
    if statistics is None:
        statistics = pretraining_statistics(bands)
    return Manifest(
        name=name,
        task="embedding",
        bands=tuple(bands),
        statistics=dict(statistics),
        outputs=tuple(
            Output(
                name=f"stage{stage}",
                stage=stage,
                stride_px=config.strides_px[stage - 1],
                channels=config.size.dims[stage - 1],
                receptive_radius_px=receptive_radius_px(config, stage),
                int8_scale=(int8_scales or {}).get(stage),
            )
            for stage in sorted(set(stages))
        ),
        architecture=Architecture(
            size=size_name,
            depths=config.size.depths,
            dims=config.size.dims,
            patch_px=config.patch_px,
            original_stem=config.original_stem,
            geometry=config.geometry,
        ),
        grn=Grn(scope=config.grn, eps=config.grn_eps, source=grn_source),
        training_crop_px=crop_px,
        multiple_px=config.strides_px[max(stages) - 1],
        precision=precision,
        weights=weights,
        provenance=provenance,
    )
