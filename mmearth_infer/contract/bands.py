"""Sentinel-2 bands: one name each, and every name people use for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ProductLevel = Literal["l1c", "l2a"]
"""Top-of-atmosphere (L1C) or surface (L2A) reflectance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One spectral band of the Multispectral Instrument."""

    name: str
    """Name without leading zero, as MMEarth writes it: `B8A`."""

    wavelength_nm: float
    """Central wavelength of Sentinel-2A, in nanometres."""

    native_px_m: int
    """Ground sampling distance in metres: 10, 20 or 60."""

    common_name: str
    """STAC common name; `cirrus` has one too, though L2A drops the band."""


_TABLE: Final = (
    Band(name="B1", wavelength_nm=442.7, native_px_m=60, common_name="coastal"),
    Band(name="B2", wavelength_nm=492.4, native_px_m=10, common_name="blue"),
    Band(name="B3", wavelength_nm=559.8, native_px_m=10, common_name="green"),
    Band(name="B4", wavelength_nm=664.6, native_px_m=10, common_name="red"),
    Band(name="B5", wavelength_nm=704.1, native_px_m=20, common_name="rededge1"),
    Band(name="B6", wavelength_nm=740.5, native_px_m=20, common_name="rededge2"),
    Band(name="B7", wavelength_nm=782.8, native_px_m=20, common_name="rededge3"),
    Band(name="B8", wavelength_nm=832.8, native_px_m=10, common_name="nir"),
    Band(name="B8A", wavelength_nm=864.7, native_px_m=20, common_name="nir08"),
    Band(name="B9", wavelength_nm=945.1, native_px_m=60, common_name="nir09"),
    Band(name="B10", wavelength_nm=1373.5, native_px_m=60, common_name="cirrus"),
    Band(name="B11", wavelength_nm=1613.7, native_px_m=20, common_name="swir16"),
    Band(name="B12", wavelength_nm=2202.4, native_px_m=20, common_name="swir22"),
)

BANDS: Final[Mapping[str, Band]] = MappingProxyType({b.name: b for b in _TABLE})
"""All 13 bands by name, in the order of their wavelength."""

L1C_BANDS: Final = tuple(BANDS)
"""What an L1C product holds, in the order of Sentinel-2's own products."""

L2A_BANDS: Final = tuple(name for name in BANDS if name != "B10")
"""What an L2A product holds: atmospheric correction uses up the cirrus band."""

MMEARTH_BANDS: Final = (
    *("B1", "B2", "B3", "B4", "B5", "B6", "B7"),
    *("B8A", "B8", "B9", "B11", "B12"),
)
"""Input of the published 12-band models. B8A comes *before* B8."""

MMEARTH_RGB_BANDS: Final = ("B2", "B3", "B4")
"""Input of the published RGB models: blue, green, red."""

_ALIASES: Final = {
    **{band.name.lower(): band.name for band in _TABLE},
    **{band.common_name: band.name for band in _TABLE},
}
_NUMBERED: Final = re.compile(r"b(?:and)?[ _-]?0*(\d{1,2}a?)(?![a-z0-9])")


def find_band(text: str) -> str | None:
    """Return the band that a description names, or None.

    Understands `B8A`, `B08A`, `b08`, `Band 4`, `B4, central wavelength 665 nm`,
    `B11 - SWIR` and the STAC common names.

    >>> find_band("B08A"), find_band("nir08"), find_band("B4, 665 nm")
    ('B8A', 'B8A', 'B4')
    >>> find_band("B13") is None
    True
    """
    text = text.strip().lower()
    if text in _ALIASES:
        return _ALIASES[text]
    found = _NUMBERED.match(text)
    return _ALIASES.get(f"b{found[1]}") if found else None
