"""What is read from a checkpoint, with everything an export needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmearth_infer.errors import ModelError
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig
from mmearth_training.model.unet import Unet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.classes import MapClass
    from mmearth_infer.contract.normalize import Statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCheckpoint:
    """An encoder out of a checkpoint, published or of our own training."""

    name: str
    """What the file with its weights is called."""

    config: EncoderConfig
    """Its shape, and its GRN as the checkpoint says."""

    state: Mapping[str, Tensor]
    """Its weights under the names of `Encoder`, dense, float32."""

    bands: tuple[str, ...]
    """Its input bands in order."""

    crop_px: int
    """Side of the crops it was trained on."""

    statistics: Mapping[ProductLevel, Statistics]
    """What standardised its training data, by product level that occurred."""

    statistics_source: str
    """Where the statistics come from."""

    sha256: str
    """Digest of the file with its weights."""

    facts: Mapping[str, str | int | float | bool]
    """Plain settings of the training run that the checkpoint recorded."""

    @property
    def size_name(self) -> str:
        """Name of its size in `SIZES`, or `custom`."""
        named = (name for name, size in SIZES.items() if size == self.config.size)
        return next(named, "custom")

    def encoder(self, config: EncoderConfig | None = None) -> Encoder:
        """Build the encoder with its weights, in evaluation mode.

        Args:
            config: Its shape with another GRN or geometry; None for as it is.

        """
        encoder = Encoder(config or self.config)
        encoder.load_state_dict(dict(self.state))
        return encoder.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnetCheckpoint(EncoderCheckpoint):
    """A segmentation model out of a checkpoint of fine-tuning."""

    decoder: Mapping[str, Tensor]
    """Weights of its decoder, under the names of `UnetDecoder`, float32."""

    classes: tuple[MapClass, ...]
    """What its logits stand for, in their order."""

    def unet(self, config: EncoderConfig | None = None) -> Unet:
        """Build the model with its weights, in evaluation mode.

        Args:
            config: Shape of its encoder with another GRN; None for as it is.

        """
        unet = Unet(config or self.config, len(self.classes))
        unet.encoder.load_state_dict(dict(self.state))
        unet.decoder.load_state_dict(dict(self.decoder))
        return unet.eval()


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse the weights of a run that diverged.

    Raises:
        ModelError: Naming the first tensor with NaN or infinity.

    """
    for key, value in state.items():
        if not value.isfinite().all():
            raise ModelError(
                f"`{key}` in `{path}` holds NaN or infinity: the run diverged",
                hint="take an earlier checkpoint of the run",
            )


def check_shapes(
    config: EncoderConfig,
    state: Mapping[str, Tensor],
    *,
    path: Path,
    hint: str,
    classes: int | None = None,
) -> None:
    """Refuse weights that are not those of a network of this shape.

    Args:
        config: The shape of the encoder; nothing of its size is allocated.
        state: Weights under the names of `Encoder`, or of `Unet` with classes.
        path: Where they stood, for the message.
        hint: What to do about it.
        classes: Classes of a segmentation model; None for an encoder.

    Raises:
        ModelError: Naming the first tensor that is missing, too many or misshapen.

    """
    with torch.device("meta"):
        network = Encoder(config) if classes is None else Unet(config, classes)
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    wrong = sorted(
        key for key in expected | given if expected.get(key) != given.get(key)
    )
    if wrong:
        key = wrong[0]
        raise ModelError(
            f"{len(wrong)} tensors in `{path}` do not fit an MP-MAE encoder; `{key}` "
            f"is {given.get(key, 'missing')}, expected {expected.get(key, 'none')}",
            hint=hint,
        )
