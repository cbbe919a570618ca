"""Samples out of whole tiles: cut, turned, brought closer, recoloured, masked.

Geometry is the same for every modality with pixels. Recolouring changes Sentinel-2 as
input and as target alike, as another sun or atmosphere would: what is rebuilt is the
crop that is seen. All of it in PyTorch, on the device the tiles are on.

Shapes: N samples, B bands, C channels, H W pixels of a tile, h w of a crop, P patches,
V visible and U hidden ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mmearth_training.data.chance import About, normal, uniform
from mmearth_training.modalities import INPUT, TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_training.data.draws import Key

_TURNS = 8  # of a square: four quarter turns, each of them flipped or not


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """How far a look may be from the plain crop of the paper, which is the default."""

    turn: bool = False
    """Flip and turn by quarters."""

    zoom: tuple[float, float] = (1.0, 1.0)
    """Least and largest side of what is looked at, in sides of a crop."""

    gain: float = 0.0
    """Standard deviation of the logarithm of a brightness common to all bands."""

    band_gain: float = 0.0
    """The same of each band by itself."""

    band_offset: float = 0.0
    """Standard deviation of what is added to a band, in those of its pixels."""

    @property
    def recolours(self) -> bool:
        """Whether values change."""
        return max(self.gain, self.band_gain, self.band_offset) > 0


PLAIN = Augment()
"""A random crop, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """Which tiles are looked at, and for which time; int64 `(N,)` each."""

    row_N: Tensor  # noqa: N815 -- a tensor's name carries its axes
    """Rows of the tiles."""

    look_N: Tensor  # noqa: N815 -- likewise
    """Numbers of the looks."""

    held_out: bool
    """Whether they are of validation, where a tile always looks the same."""

    seed: int
    """Seed of the run."""

    @classmethod
    def of(cls, keys: Sequence[Key], *, seed: int, device: torch.device) -> Looks:
        """Return the looks that keys name, which are all of one kind."""
        held_out = keys[0].epoch is None
        numbers = [(key.row, -1 if key.epoch is None else key.epoch) for key in keys]
        on_device = torch.tensor(numbers).to(device, non_blocking=True)
        row_N, look_N = on_device.unbind(1)
        return cls(row_N=row_N, look_N=look_N, held_out=held_out, seed=seed)

    def draw(self, about: About, count: int) -> Tensor:
        """Return even draws between 0 and 1, `(N, count)`."""
        return uniform(about, self.row_N, self.look_N, seed=self.seed, count=count)


def cut(
    tiles: Mapping[str, Tensor], looks: Looks, augment: Augment, *, crop_px: int
) -> dict[str, Tensor]:
    """Cut the crop of each sample out of its tile.

    Pixels between pixels are interpolated; next to a missing one they are missing.
    Classes are those of the nearest pixel.

    Args:
        tiles: Modalities, standardised, missing values NaN, classes int64.
        looks: What is looked at.
        augment: How.
        crop_px: Side of a crop.

    """
    tile_px = tiles[INPUT].shape[-1]
    grid_NhwX = _grid(looks, augment, crop_px=crop_px, tile_px=tile_px)
    cropped = {}
    for name, values in tiles.items():
        task = TASKS[name]
        if task.level == "image":
            cropped[name] = values
        elif task.kind == "categorical":
            classes = functional.grid_sample(
                values[:, None].float(), grid_NhwX, mode="nearest", align_corners=False
            )
            cropped[name] = classes[:, 0].long()
        else:
            cropped[name] = functional.grid_sample(
                values, grid_NhwX, padding_mode="border", align_corners=False
            )
    return cropped


def recolour(
    x_NBhw: Tensor, mean_NB: Tensor, std_NB: Tensor, looks: Looks, augment: Augment
) -> Tensor:
    """Return standardised pixels as if digital numbers had been `gain * dn + offset`.

    Args:
        x_NBhw: Standardised pixels.
        mean_NB: What was taken from digital numbers.
        std_NB: What they were divided by.
        looks: What is looked at.
        augment: How far gains and offsets reach.

    """
    bands = x_NBhw.shape[1]
    drawn = normal(looks.draw(About.COLOUR, 1 + 2 * bands))
    common_N1, own_NB, offset_NB = torch.split(drawn, [1, bands, bands], dim=1)
    gain_NB = (augment.gain * common_N1 + augment.band_gain * own_NB).exp()
    shift_NB = (gain_NB - 1) * mean_NB / std_NB + augment.band_offset * offset_NB
    return x_NBhw * gain_NB[..., None, None] + shift_NB[..., None, None]


def draw_mask(looks: Looks, *, patches: int, visible: int) -> tuple[Tensor, Tensor]:
    """Return visible and hidden patches, ascending, `(N, V)` and `(N, U)`."""
    order_NP = looks.draw(About.MASK, patches).argsort(dim=1, stable=True)
    visible_NV, hidden_NU = torch.tensor_split(order_NP, [visible], dim=1)
    return visible_NV.sort(dim=1).values, hidden_NU.sort(dim=1).values


def _grid(looks: Looks, augment: Augment, *, crop_px: int, tile_px: int) -> Tensor:
    """Return where each pixel of a crop lies in its tile, for `grid_sample`."""
    top_N, left_N, zoom_N, turn_N = looks.draw(About.WINDOW, 4).unbind(1)
    least, most = augment.zoom
    side_N = crop_px * least * (most / least) ** zoom_N
    slack_N = tile_px - side_N
    if least == most == 1:  # whole pixels stay what they are
        top_N, left_N = (
            (place_N * (slack_N + 1)).floor() for place_N in (top_N, left_N)
        )
    else:
        top_N, left_N = top_N * slack_N, left_N * slack_N
    step = (torch.arange(crop_px, device=side_N.device) + 0.5) / crop_px - 0.5
    down_hw, across_hw = torch.meshgrid(step, step, indexing="ij")
    turn_N = (turn_N * (_TURNS if augment.turn else 0)).long()[:, None, None]
    down_Nhw = torch.where(turn_N >= _TURNS // 2, across_hw, down_hw)
    across_Nhw = torch.where(turn_N >= _TURNS // 2, down_hw, across_hw)
    down_Nhw = torch.where(turn_N % 2 == 1, -down_Nhw, down_Nhw)
    across_Nhw = torch.where(turn_N // 2 % 2 == 1, -across_Nhw, across_Nhw)
    places = [
        (start_N + side_N / 2)[:, None, None] + side_N[:, None, None] * offset_Nhw
        for start_N, offset_Nhw in ((left_N, across_Nhw), (top_N, down_Nhw))
    ]
    return torch.stack(places, dim=-1) * (2 / tile_px) - 1
