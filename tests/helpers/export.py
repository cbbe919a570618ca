"""Encoders of random weights, and manifests that describe them."""

from __future__ import annotations

import torch

from mmearth_export.calibrate import Tile, freeze, read_windows
from mmearth_export.describe import describe
from mmearth_infer.contract.bands import MMEARTH_BANDS, MMEARTH_RGB_BANDS
from mmearth_infer.contract.manifest import Manifest, Provenance
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.read.options import SceneOptions
from mmearth_training.model.encoder import Encoder, EncoderConfig, Size


def manifest_of(config: EncoderConfig, stages: tuple[int, ...] = (4,)) -> Manifest:
    """Describe an encoder as `mmearth export` would."""
    bands = MMEARTH_BANDS if config.bands == 12 else MMEARTH_RGB_BANDS
    return describe(
        config,
        name="m",
        size_name="custom",
        bands=bands,
        stages=stages,
        crop_px=112,
        provenance=Provenance(trained=False, checkpoint="random"),
    )


def random_encoder(config: EncoderConfig) -> Encoder:
    """Return an encoder whose every weight matters."""
    encoder = Encoder(config)
    generator = torch.Generator().manual_seed(3)
    for weight in encoder.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.data = noise / max(weight[0].numel(), 4) ** 0.5
    return encoder.eval()


def calibrated(size: Size, scope: str) -> tuple[Encoder, tuple[Tile, ...]]:
    """Return an encoder, frozen if that is its scope, and windows of the demo scene."""
    encoder = random_encoder(EncoderConfig(size=size, grn=scope))  # type: ignore[arg-type]
    tiles = read_windows(
        ["demo"],
        bands=MMEARTH_BANDS,
        statistics=pretraining_statistics(MMEARTH_BANDS),
        options=SceneOptions(),
        most=4,
    ).tiles
    if scope == "frozen":
        freeze(encoder, [tile.standardised() for tile in tiles])
    return encoder, tiles
