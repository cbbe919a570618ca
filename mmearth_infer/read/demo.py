"""The built-in scene: synthetic but plausible, and the same every time.

Fields on rotated plots, a forest, a town with streets, a river, and a corner
outside the swath. Reflectances are typical L2A values of temperate land cover; no
measured pixel is in it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from mmearth_infer.contract.bands import BANDS, L2A_BANDS
from mmearth_infer.errors import BandError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.seams import Scene, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.window import Window

DEMO_NAME: Final = "demo"
"""What users type for it."""

SIDE_PX: Final = 1024
"""Rows and columns of the scene."""

_SPECTRA: Final = {
    # B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B11 B12, in digital numbers
    "water": (420, 430, 450, 280, 260, 210, 200, 170, 150, 140, 60, 40),
    "forest": (180, 210, 350, 230, 620, 1850, 2250, 2400, 2550, 2600, 1150, 520),
    "wheat": (280, 350, 680, 420, 1150, 2900, 3500, 3700, 3900, 4000, 1750, 850),
    "maize": (260, 310, 610, 360, 1050, 2700, 3400, 3600, 3750, 3850, 1500, 700),
    "meadow": (300, 400, 780, 560, 1300, 2500, 2950, 3150, 3350, 3450, 2150, 1200),
    "stubble": (520, 760, 1120, 1550, 1850, 2150, 2400, 2600, 2800, 2900, 3600, 2900),
    "soil": (480, 640, 880, 1150, 1350, 1500, 1650, 1750, 1900, 2000, 2700, 2350),
    "roof": (900, 1150, 1350, 1500, 1600, 1700, 1800, 1900, 1950, 2000, 2250, 2100),
    "street": (700, 800, 900, 950, 1000, 1050, 1100, 1150, 1200, 1250, 1400, 1300),
}
_CLASSES: Final = tuple(_SPECTRA)
_CROPS: Final = ("wheat", "maize", "meadow", "stubble", "soil")
_PLOTS: Final = 400
_PLOT_ANGLE: Final = 0.35
_STREET_PX: Final = 3


class DemoSource(Source):
    """The built-in scene as a source."""

    def __init__(self, wanted: Sequence[str] | None = None) -> None:
        """Prepare the bands that are wanted, in their order; all for None."""
        bands = L2A_BANDS if wanted is None else tuple(wanted)
        missing = [band for band in bands if band not in L2A_BANDS]
        if missing:
            raise BandError(
                f"the demo scene is L2A and lacks {', '.join(missing)}",
                hint="embed a scene that has them, or use another --model",
            )
        self._dn_CHW = demo_dn()[[L2A_BANDS.index(band) for band in bands]]
        self.scene = Scene(
            name=DEMO_NAME,
            geobox=GeoBox(
                crs=CRS.from_epsg(32632),
                transform=Affine(10, 0, 500_000, 0, -10, 5_400_000),
                height=SIDE_PX,
                width=SIDE_PX,
            ),
            bands=bands,
            bands_evidence="made with these bands",
            level="l2a",
            level_evidence="made as L2A",
            offset_dn=0,
            offset_evidence="made without offset",
            warnings=("the demo scene is synthetic: it shows the tool, not the Earth",),
        )

    @property
    def fingerprint(self) -> str:
        """Always the same."""
        return "demo"

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW` of a window."""
        return self._dn_CHW[(slice(None), *window.slices)]


@lru_cache(maxsize=1)
def demo_dn() -> NDArray[np.uint16]:
    """Return the whole scene, `(12, 1024, 1024)` in the order of `L2A_BANDS`.

    Bands of 20 and 60 m are averaged over their native pixels, as the instrument
    does.
    """
    rng = np.random.default_rng(20240930)
    plots = _plot_numbers()
    labels = _land_cover(rng, plots)
    spectra = np.array([_SPECTRA[name] for name in _CLASSES], dtype=np.float64)
    plot_gain = rng.uniform(0.85, 1.15, _PLOTS)[plots]
    texture = 1 + 0.05 * rng.standard_normal(labels.shape)
    relief = 1 + 0.08 * np.sin(np.linspace(0, 9, SIDE_PX))
    gain = plot_gain * texture * relief[:, None]
    outside = _outside_swath()
    dn_CHW = np.empty((len(L2A_BANDS), SIDE_PX, SIDE_PX), dtype=np.uint16)
    for row, band in enumerate(L2A_BANDS):
        values = spectra[:, row][labels] * gain
        blurred = _at_native_size(values, BANDS[band].native_px_m // 10)
        noisy = blurred + rng.normal(0, 12, values.shape)
        dn_CHW[row] = np.where(outside, 0, np.clip(np.rint(noisy), 1, 10000))
    dn_CHW.setflags(write=False)
    return dn_CHW


def _plot_numbers() -> NDArray[np.intp]:
    """Return the number of each pixel's field."""
    row, col = np.mgrid[:SIDE_PX, :SIDE_PX]
    along = (row * np.cos(_PLOT_ANGLE) + col * np.sin(_PLOT_ANGLE)) // 42
    across = (col * np.cos(_PLOT_ANGLE) - row * np.sin(_PLOT_ANGLE)) // 64
    numbers: NDArray[np.intp] = ((along * 31 + across * 17) % _PLOTS).astype(np.intp)
    return numbers


def _land_cover(rng: np.random.Generator, plots: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the index into `_CLASSES` of every pixel."""
    row, col = np.mgrid[:SIDE_PX, :SIDE_PX]
    crops = np.array([_CLASSES.index(name) for name in _CROPS])
    labels = rng.choice(crops, _PLOTS)[plots]
    ragged = 25 * np.sin(col / 37) + 18 * np.sin(row / 23 + col / 91)
    in_forest = (row - 250) ** 2 + (0.7 * (col - 780)) ** 2 < (190 + ragged) ** 2
    in_town = np.hypot(row - 720, col - 300) < 150 + ragged
    on_street = (row % 18 < _STREET_PX) | (col % 24 < _STREET_PX)
    middle_of_river = 520 + 110 * np.sin(col / 170) + 30 * np.sin(col / 47)
    in_river = np.abs(row - middle_of_river) < 9 + 4 * np.sin(col / 60)
    for where, name in (
        (in_forest, "forest"),
        (in_town, "roof"),
        (in_town & on_street, "street"),
        (in_river, "water"),
    ):
        labels[where] = _CLASSES.index(name)
    return labels


def _outside_swath() -> NDArray[np.bool_]:
    """Return the pixels beyond the edge of the swath, the south-east corner."""
    row, col = np.mgrid[:SIDE_PX, :SIDE_PX]
    beyond: NDArray[np.bool_] = 0.45 * row + col > 1.27 * SIDE_PX
    return beyond


def _at_native_size(values_HW: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Average over squares of `factor` pixels and repeat, as a coarser band looks."""
    if factor == 1:
        return values_HW
    side = -(-SIDE_PX // factor) * factor
    padded = np.pad(values_HW, (0, side - SIDE_PX), mode="edge")
    coarse = padded.reshape(side // factor, factor, side // factor, factor).mean((1, 3))
    fine: NDArray[np.float64] = coarse.repeat(factor, 0).repeat(factor, 1)
    return fine[:SIDE_PX, :SIDE_PX]
