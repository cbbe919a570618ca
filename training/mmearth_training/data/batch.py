"""Samples on their way to the model, and how they are put together.

Shapes: N samples, B bands, C channels, h w pixels of a crop, H W of a tile, V visible
and U hidden patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmearth_training.data.augment import PLAIN, Augment, cut, draw_mask, recolour
from mmearth_training.modalities import INDEX_BANDS, INDICES, INPUT
from mmearth_training.model.masking import Mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_training.data.augment import Looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Samples on their way to the model."""

    x_NBhw: Tensor  # noqa: N815 -- a tensor's name carries its axes
    """Standardised Sentinel-2, missing pixels 0."""

    targets: Mapping[str, Tensor]
    """A task: `(N, C, h, w)` or `(N, C)` with NaN, `(N, h, w)` or `(N,)` with -1."""

    visible_NV: Tensor  # noqa: N815 -- likewise
    """Patches the encoder sees."""

    hidden_NU: Tensor  # noqa: N815 -- likewise
    """All others."""

    def __len__(self) -> int:
        """Samples."""
        return len(self.x_NBhw)

    @property
    def mask(self) -> Mask:
        """What the encoder sees."""
        return Mask(self.visible_NV, self.hidden_NU)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; copies run beside the host's work."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU can copy from by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> Batch:  # noqa: ANN401 -- Tensor to Tensor
        return Batch(
            x_NBhw=change(self.x_NBhw),
            targets={name: change(value) for name, value in self.targets.items()},
            visible_NV=change(self.visible_NV),
            hidden_NU=change(self.hidden_NU),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """What a sample is."""

    tasks: tuple[str, ...]
    """Names of the tasks."""

    bands: tuple[str, ...]
    """Bands of Sentinel-2 in order."""

    crop_px: int
    """Side of a crop."""

    patches: int
    """Patches of a crop."""

    visible: int
    """How many of them the encoder sees."""

    seed: int
    """Seed of the run."""

    augment: Augment = PLAIN
    """How far a look may be from the plain crop."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Modalities that are read: the input, and every task with data of its own."""
        every = (INPUT, *self.tasks)
        return tuple(name for name in dict.fromkeys(every) if name != INDICES.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What standardised Sentinel-2, sample by sample."""

    mean_NB: Tensor  # noqa: N815 -- likewise
    """Means in digital numbers."""

    std_NB: Tensor  # noqa: N815 -- likewise
    """Standard deviations."""


def look_at(
    tiles: Mapping[str, Tensor], numbers: Numbers, looks: Looks, config: SampleConfig
) -> Batch:
    """Make samples of whole tiles, each looked at in its own way.

    Args:
        tiles: Modalities as `Standardiser` gives them, of whole tiles.
        numbers: What standardised the input.
        looks: How each is looked at; those of validation are not augmented.
        config: What a sample is.

    """
    augment = PLAIN if looks.held_out else config.augment
    cropped = cut(tiles, looks, augment, crop_px=config.crop_px)
    if augment.recolours:
        cropped[INPUT] = recolour(
            cropped[INPUT], numbers.mean_NB, numbers.std_NB, looks, augment
        )
    visible_NV, hidden_NU = draw_mask(
        looks, patches=config.patches, visible=config.visible
    )
    return assemble(cropped, numbers, visible_NV, hidden_NU, config)


def assemble(
    cropped: dict[str, Tensor],
    numbers: Numbers,
    visible_NV: Tensor,
    hidden_NU: Tensor,
    config: SampleConfig,
) -> Batch:
    """Put crops and masks together, and compute the targets that no file holds."""
    if INDICES.name in config.tasks:
        cropped[INDICES.name] = indices_of(cropped[INPUT], numbers, config.bands)
    return Batch(
        x_NBhw=cropped[INPUT].masked_fill(cropped[INPUT].isnan(), 0),
        targets={name: cropped[name] for name in config.tasks},
        visible_NV=visible_NV,
        hidden_NU=hidden_NU,
    )


def indices_of(x_NBhw: Tensor, numbers: Numbers, bands: Sequence[str]) -> Tensor:
    """Return the normalised differences of standardised pixels, `(N, C, h, w)`.

    NaN where a band is missing; from -1 to 1, negative reflectance taken as 0.
    """
    mean_NB11, std_NB11 = (
        values[..., None, None] for values in (numbers.mean_NB, numbers.std_NB)
    )
    dn_NBhw = (x_NBhw * std_NB11 + mean_NB11).clamp(min=0)
    planes = {name: dn_NBhw[:, place] for place, name in enumerate(bands)}
    pairs = [(planes[one], planes[other]) for one, other in INDEX_BANDS.values()]
    return torch.stack(
        [(one - other) / (one + other).clamp(min=1) for one, other in pairs], dim=1
    )
