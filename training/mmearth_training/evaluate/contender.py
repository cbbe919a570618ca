"""What is evaluated: encoders out of checkpoints, and others by name.

Shapes: N samples, B bands, H W pixels, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import PRETRAINING_SOURCE, pretraining_statistics
from mmearth_infer.errors import ModelError
from mmearth_training.encoder_checkpoint import EncoderCheckpoint
from mmearth_training.evaluate.timm_models import RGB, TIMM, timm_contender
from mmearth_training.load import load_encoder
from mmearth_training.model.blocks import LAYER_NORM_EPS
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.model.encoder import Geometry

UNTRAINED: Final = "untrained:"
"""Prefix of an encoder that has learned nothing, by its size."""

DENSE_GRN_EPS: Final = 1e-4
"""Epsilon of GRN outside of sparse pretraining, in the published code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A model that takes part."""

    name: str
    """What it is called in the table."""

    bands: tuple[str, ...]
    """Its input bands in order."""

    checkpoint: EncoderCheckpoint | None = None
    """The encoder; None for an architecture that can be probed only."""

    features: nn.Module | None = None
    """From pixels to features `(N, D)`, where there is no checkpoint."""

    @property
    def digest(self) -> str:
        """What tells its weights from others; empty where nothing does."""
        return self.checkpoint.sha256 if self.checkpoint else ""

    def encoder(self, geometry: Geometry) -> Encoder:
        """Build the encoder as it is evaluated: GRN over each image by itself.

        Raises:
            ModelError: If it is of another architecture.

        """
        if self.checkpoint is None:
            raise ModelError(
                f"`{self.name}` is no ConvNeXt V2, and can be probed only",
                hint="--mode lp, or a ConvNeXt V2 such as timm:convnextv2_atto.fcmae",
            )
        config = replace(self.checkpoint.config, geometry=geometry)
        if config.grn == "batch":
            config = replace(config, grn="window", grn_eps=DENSE_GRN_EPS)
        return self.checkpoint.encoder(config)

    def pooled(self, geometry: Geometry) -> nn.Module:
        """Return what makes one row of features of each image, in evaluation mode."""
        return (self.features or Pooled(self.encoder(geometry))).eval()


class Pooled(nn.Module):
    """Mean over the last stage's map, normalised over its channels, nothing learnt."""

    def __init__(self, encoder: Encoder) -> None:
        """Take the features of an encoder."""
        super().__init__()
        self.encoder = encoder

    def forward(self, x_NBHW: Tensor) -> Tensor:
        """Return features `(N, D)`."""
        mean_ND = self.encoder(x_NBHW).mean(dim=(2, 3))
        return functional.layer_norm(mean_ND, mean_ND.shape[1:], eps=LAYER_NORM_EPS)


class Classifier(nn.Module):
    """An encoder, pooling, LayerNorm and a linear head (published `ConvNeXtV2`)."""

    def __init__(self, encoder: Encoder, classes: int, *, seed: int) -> None:
        """Put a head behind an encoder, its weights near 0 as ConvNeXt V2's."""
        super().__init__()
        channels = encoder.config.size.dims[-1]
        self.encoder = encoder
        self.decoder = nn.Sequential(
            nn.LayerNorm(channels, eps=LAYER_NORM_EPS),
            linear_head(channels, classes, seed=seed),
        )

    def forward(self, x_NBHW: Tensor) -> Tensor:
        """Return logits `(N, K)`."""
        logits: Tensor = self.decoder(self.encoder(x_NBHW).mean(dim=(2, 3)))
        return logits


def linear_head(channels: int, classes: int, *, seed: int) -> nn.Linear:
    """Return a linear layer of small weights: deviation 2e-5, bias 0."""
    head = nn.Linear(channels, classes)
    generator = torch.Generator().manual_seed(seed)
    nn.init.trunc_normal_(head.weight, std=0.02, generator=generator)
    with torch.no_grad():
        head.weight.mul_(0.001)
        head.bias.zero_()
    return head


def read_checkpoint(path: Path) -> Contender:
    """Return an encoder of ours, or a published one.

    Raises:
        ModelError: If it cannot be read.

    """
    checkpoint = load_encoder(path)
    parts = path.resolve().parts
    return Contender(
        name="/".join(parts[-2:]) if path.suffix else parts[-1],
        bands=checkpoint.bands,
        checkpoint=checkpoint,
    )


def find_baseline(name: str, *, seed: int) -> Contender:
    """Return an encoder by name: `timm:NAME` or `untrained:SIZE`.

    Raises:
        ModelError: If there is none of that name, or its weights cannot be had.
        MissingExtraError: If timm is not installed.

    """
    if name.startswith(TIMM):
        found = timm_contender(name)
        checkpoint = found if isinstance(found, EncoderCheckpoint) else None
        return Contender(
            name=name,
            bands=RGB,
            checkpoint=checkpoint,
            features=None if isinstance(found, EncoderCheckpoint) else found,
        )
    size = name.removeprefix(UNTRAINED)
    if not name.startswith(UNTRAINED) or size not in SIZES:
        raise ModelError(
            f"there is no baseline `{name}`",
            hint=f"timm:NAME, or {UNTRAINED}SIZE with {', '.join(SIZES)}",
        )
    config = EncoderConfig(size=SIZES[size])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = Encoder(config).state_dict()
    return Contender(
        name=name,
        bands=MMEARTH_BANDS,
        checkpoint=EncoderCheckpoint(
            name=name,
            config=config,
            state=state,
            bands=MMEARTH_BANDS,
            crop_px=112,
            statistics=pretraining_statistics(MMEARTH_BANDS),
            statistics_source=PRETRAINING_SOURCE,
            sha256="",
            facts={"seed": seed},
        ),
    )
