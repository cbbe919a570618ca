"""What is written of each tile: real pixels, real place, made-up rest.

Shapes: N tiles, C channels, H W pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_training.data.mmearth import METADATA
from mmearth_training.data.synthetic import (
    image_targets,
    leave_gaps,
    made_up_month,
    pixel_targets,
)
from mmearth_training.modalities import INPUT, STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mmearth_training.data.cutting import Cut

BLUE: Final = STORED_BANDS.index("B2")
"""The band that says where a tile has pixels: 0 where it has none."""

_CLOUDS: Final = {
    "sentinel2_cloudmask": 0,  # clear
    "sentinel2_cloudprod": 65535,  # none
    "sentinel2_scl": 255,  # none
}
_YEAR: Final = 2019  # of a date that is made up

REAL: Final = (INPUT, "lat", "lon", "month")
"""Modalities that a scene tells; the month where it has a date."""


def pixel_rows(
    cut: Cut, row: int, *, seed: int, real_only: bool = False
) -> dict[str, Any]:
    """Return every dataset of one tile that has pixels."""
    if real_only:
        return {INPUT: cut.tile_CHW, **_CLOUDS}
    rng = np.random.default_rng([seed, cut.scene, cut.window.row, cut.window.col])
    inside = (slice(None), *cut.inside)
    targets = {
        name: values_CHW[inside].copy()
        for name, values_CHW in pixel_targets(cut.dn_CHW, rng=rng).items()
    }
    leave_gaps(targets, tile=row, rng=rng)
    return {INPUT: cut.tile_CHW, **targets, **_CLOUDS}


def image_rows(
    info: Mapping[str, Mapping[str, Any]],
    means_NC: NDArray[np.float64],
    *,
    seed: int,
    real_only: bool = False,
) -> dict[str, Any]:
    """Return every dataset without pixels, all rows of it.

    Args:
        info: NAME_tile_info.json.
        means_NC: Mean of each band of each tile.
        seed: Seed of the noise.
        real_only: Make nothing up.

    """
    facts = list(info.values())
    lat, lon = (np.array([fact[key] for fact in facts]) for key in ("lat", "lon"))
    dates = [fact["S2_DATE"] for fact in facts]
    month = np.array([int(d.split("-")[1]) if d else math.nan for d in dates])
    made_up = {} if real_only else image_targets(means_NC, lat, seed=seed)
    return {
        "lat": _circle(np.radians(lat)),
        "lon": _circle(np.radians(lon)),
        "month": _circle(2 * math.pi * month / 12),
        METADATA: [(tile_id, fact["S2_type"]) for tile_id, fact in info.items()],
        **made_up,
    }


def _circle(angle_N: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return sine and cosine of angles, `(N, 2)`."""
    both = np.stack([np.sin(angle_N), np.cos(angle_N)], axis=1)
    return both.astype(np.float32)


def band_means(tile_CHW: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the mean of each band over the pixels that are there."""
    there = tile_CHW[BLUE] != 0
    means: NDArray[np.float64] = tile_CHW[:, there].mean(axis=1, dtype=np.float64)
    return means


def describe(
    cut: Cut, mean_C: NDArray[np.float64], *, real_only: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return a tile's name and its entry in NAME_tile_info.json."""
    one, window = cut.surveyed, cut.window
    lat, lon = one.lat_lon_deg(window)
    made_up = None if real_only else f"{_YEAR}-{made_up_month(mean_C):02d}-15"
    return f"{cut.scene:04d}_{window.row:05d}_{window.col:05d}", {
        "S2_type": one.scene.level,
        "S2_DATE": one.date.isoformat() if one.date else made_up,
        "date_is_synthetic": one.date is None and not real_only,
        "lat": lat,
        "lon": lon,
        "CRS": one.scene.geobox.crs.to_string(),
        "BANDS": {INPUT: list(one.scene.bands)},
        "scene": one.scene.name,
        "row": window.row,
        "col": window.col,
    }
