"""Made-up targets, computed from Sentinel-2, for trying the pipeline out.

No value here was measured. Each is a plain function of the bands, plus noise, so that
a model can learn it and be seen to learn it; ranges, types and missing values are those
of the real modality. A pixel's value depends on pixels at most `MARGIN_PX` away, so
that overlapping tiles agree.

Shapes: C channels, H W pixels, N tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from mmearth_training.modalities import MODALITIES, STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

MARGIN_PX: Final = 25
"""Pixels around a tile that its values depend on: two blurs and a gradient."""

HOW: Final[Mapping[str, str]] = {
    "sentinel1": "linear in NDVI, NDWI and NDBI, with speckle of four looks",
    "aster": "elevation from blurred brightness, slope as its gradient",
    "canopy_height_eth": "linear in NDVI",
    "dynamic_world": "thresholds on NDVI, NDWI, NDBI, NDSI and brightness",
    "esa_worldcover": "the classes of dynamic_world by their names here",
    "era5": "linear in the tile's mean reflectance and latitude, with noise",
    "biome": "sextiles of the tiles' mean NDVI",
    "eco_region": "sextiles of the tiles' mean brightness within each biome",
    "month": "from the tile's mean NDVI, where a scene has no date",
}
"""How each modality is made."""

_LOOKS: Final = 4.0
_PIXEL_M: Final = 10.0
_METRES_A_DN: Final = 0.2
_BIOMES: Final = 6
_ECO_REGIONS: Final = 6
_RARE: Final = 3  # every third tile lacks what real tiles often lack
_GAP_PX: Final = 9

_WORLD_RULES: Final = (
    (9, {"brightness": 4000, "ndsi": 0.4}),
    (1, {"ndwi": 0.05}),
    (4, {"ndwi": -0.25, "ndsi": 0}),
    (2, {"ndvi": 0.6, "darkness": -500}),
    (5, {"ndvi": 0.5}),
    (3, {"ndvi": 0.38}),
    (6, {"ndvi": 0.25}),
    (7, {"ndbi": 0, "brightness": 1200}),
)
"""Dynamic World's code and what its pixels exceed; the first that fits wins."""

_BARE: Final = 8
"""Its code where none fits."""

_WORLD_TO_COVER: Final = np.array([255, 80, 10, 30, 90, 40, 20, 50, 60, 70], np.uint8)
"""WorldCover's code for each of Dynamic World's, 0 included."""


class Indices(NamedTuple):
    """Normalised differences, and brightness in digital numbers."""

    ndvi: Floats
    """Vegetation."""

    ndwi: Floats
    """Open water."""

    ndbi: Floats
    """Buildings and bare soil."""

    ndsi: Floats
    """Snow."""

    brightness: Floats
    """Mean of the visible bands."""

    darkness: Floats
    """Its negative."""


def indices(dn_CHW: NDArray[Any]) -> Indices:
    """Return the indices of pixels, or of whatever has the bands in front."""
    band = {
        name: dn_CHW[STORED_BANDS.index(name)].astype(np.float32)
        for name in ("B2", "B3", "B4", "B8", "B11")
    }
    brightness = (band["B2"] + band["B3"] + band["B4"]) / 3
    return Indices(
        ndvi=_difference(band["B8"], band["B4"]),
        ndwi=_difference(band["B3"], band["B8"]),
        ndbi=_difference(band["B11"], band["B8"]),
        ndsi=_difference(band["B3"], band["B11"]),
        brightness=brightness,
        darkness=-brightness,
    )


def pixel_targets(
    dn_CHW: NDArray[np.uint16], *, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Return the made-up pixel modalities as stored, with a channel axis.

    Args:
        dn_CHW: The 13 stored bands, with whatever margin there is.
        rng: Source of noise.

    """
    found = indices(dn_CHW)
    missing = dn_CHW[STORED_BANDS.index("B2")] == 0
    world = _dynamic_world(found)
    cover = _WORLD_TO_COVER[world]
    elevation = _blur(_blur(found.brightness, 12), 12) * _METRES_A_DN
    slope = np.degrees(np.arctan(np.hypot(*np.gradient(elevation, _PIXEL_M))))
    ndvi = _blur(found.ndvi, 1)
    height = np.clip(60 * (ndvi - 0.2) / 0.7, 0, 60)
    targets: dict[str, NDArray[Any]] = {
        "sentinel1": _radar(found, rng),
        "aster": np.stack([elevation, slope]).round().astype(np.int16),
        "canopy_height_eth": np.stack([height, 1 + height / 8]).astype(np.int8),
        "dynamic_world": world[None],
        "esa_worldcover": cover[None],
    }
    lacking = {"sentinel1": -np.inf, "aster": -32768, "canopy_height_eth": 127}
    for name, value in (lacking | {"dynamic_world": 0, "esa_worldcover": 255}).items():
        targets[name][:, missing] = value
    return targets


def leave_gaps(
    targets: Mapping[str, NDArray[Any]], *, tile: int, rng: np.random.Generator
) -> None:
    """Take out of a tile what real tiles lack: polarisations, and small areas.

    Args:
        targets: The made-up pixels, which are changed.
        tile: Number of the tile, which decides what it lacks.
        rng: Where the gaps are.

    """
    if tile % _RARE == 1:
        targets["sentinel1"][[2, 3, 6, 7]] = -np.inf
    if tile % _RARE != 2:  # noqa: PLR2004 -- the last of three
        return
    for name, pixels_CHW in targets.items():
        top, left = rng.integers(pixels_CHW.shape[-1] - _GAP_PX, size=2)
        gap = np.s_[:, top : top + _GAP_PX, left : left + _GAP_PX]
        modality = MODALITIES[name]
        pixels_CHW[gap] = -np.inf if not modality.nodata else modality.nodata[-1]


def image_targets(
    means_NC: NDArray[np.float64], lat_deg_N: NDArray[np.float64], *, seed: int
) -> dict[str, NDArray[Any]]:
    """Return the made-up modalities of whole tiles as stored.

    Args:
        means_NC: Mean of each band of each tile.
        lat_deg_N: Latitude of each tile.
        seed: Seed of the noise.

    """
    found = indices(means_NC.T)
    count = len(means_NC)
    biome = np.minimum(_BIOMES * _ranks(found.ndvi) // count, _BIOMES - 1)
    eco_region = np.empty(count, np.int64)
    for one in range(_BIOMES):
        inside = np.flatnonzero(biome == one)
        place = _ECO_REGIONS * _ranks(found.brightness[inside]) // max(len(inside), 1)
        eco_region[inside] = one * _ECO_REGIONS + place
    targets: dict[str, NDArray[Any]] = {
        "biome": np.eye(14, dtype=np.uint8)[biome],
        "eco_region": np.eye(846, dtype=np.uint16)[eco_region],
        "era5": _era5(found, lat_deg_N, np.random.default_rng(seed)),
    }
    lacking = np.arange(count) % (4 * _RARE) == 4 * _RARE - 1
    targets["biome"][lacking] = 0  # a row without a class
    targets["eco_region"][lacking] = 0
    targets["era5"][lacking, :4] = np.nan
    return targets


def made_up_month(mean_C: NDArray[np.float64]) -> int:
    """Return a month from 1 to 12 that follows a tile's greenness."""
    return 1 + int(np.clip(12 * (float(indices(mean_C).ndvi) + 0.1), 0, 11))


def _difference(one: Floats, other: Floats) -> Floats:
    total = one + other
    return np.where(total > 0, (one - other) / np.maximum(total, 1), 0)


def _dynamic_world(found: Indices) -> NDArray[np.uint8]:
    """Return Dynamic World's codes, 1 to 9."""
    smooth = Indices(*(_blur(index, 1) for index in found))
    codes = np.full(found.ndvi.shape, _BARE, np.uint8)
    for code, limits in reversed(_WORLD_RULES):
        fits = [getattr(smooth, index) > least for index, least in limits.items()]
        codes[np.logical_and.reduce(fits)] = code
    return codes


def _radar(found: Indices, rng: np.random.Generator) -> Floats:
    """Return backscatter in dB, ascending then descending."""
    ndvi, ndwi, ndbi = (_blur(index, 2) for index in found[:3])
    clean = np.stack(
        [
            -11 - 9 * ndwi + 3 * ndbi,  # VV
            -18 + 8 * ndvi - 4 * ndwi,  # VH
            -10 - 8 * ndwi + 5 * ndbi,  # HH
            -19 + 7 * ndvi - 4 * ndwi,  # HV
        ]
    )
    both = np.concatenate([clean, 0.95 * clean - 0.8])
    speckle = rng.gamma(_LOOKS, 1 / _LOOKS, both.shape)
    noisy: Floats = (both + 10 * np.log10(speckle)).astype(np.float32)
    return noisy


def _era5(
    found: Indices, lat_deg_N: NDArray[np.float64], rng: np.random.Generator
) -> Floats:
    """Return temperatures in kelvin and precipitation in metres, three periods."""
    mean = 300 - 0.4 * np.abs(lat_deg_N) + 8 * found.ndbi
    rain = np.clip(0.12 + 0.15 * found.ndvi, 0.001, None)
    periods = []
    for warmer, wetter in ((-1.5, 0.9), (0.0, 1.0), (-2.5, 11.0)):
        middle = mean + warmer + rng.normal(0, 0.3, mean.shape)
        spread = 5 + 4 * found.ndbi
        periods += [middle, middle - spread, middle + 1.2 * spread]
        periods += [rain * wetter * rng.uniform(0.95, 1.05, rain.shape)]
    return np.stack(periods, axis=1).astype(np.float32)


def _ranks(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return each value's place in their order, from 0."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")


def _blur(image_HW: Floats, radius_px: int) -> Floats:
    """Return the mean of the square around each pixel, of what lies in the image."""
    for axis in (0, 1):
        length = image_HW.shape[axis]
        sums = np.insert(np.cumsum(image_HW, axis=axis, dtype=np.float64), 0, 0, axis)
        places = np.arange(length)
        last = np.minimum(places + radius_px + 1, length)
        first = np.maximum(places - radius_px, 0)
        size = (last - first).reshape((-1, 1) if axis == 0 else (1, -1))
        image_HW = (sums.take(last, axis) - sums.take(first, axis)) / size
    return image_HW.astype(np.float32)
