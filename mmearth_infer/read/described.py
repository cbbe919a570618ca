"""What a folder, a .SAFE or a STAC item says of a product with a file a band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mmearth_infer.read.offset import Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFile:
    """Where one band of a product is."""

    path: str
    """File, address, or what GDAL opens."""

    number: int = 1
    """Which of the file's bands, from 1."""

    offset_dn: float = 0.0
    """What a catalogue says must be added to its numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a folder, a .SAFE or a STAC item says of itself."""

    name: str
    """Name without the folder above."""

    bands: Mapping[str, BandFile]
    """Bands it has."""

    bands_evidence: str
    """How they were recognised."""

    tags: Mapping[str, str]
    """What it says of level, baseline and offset."""

    scl: BandFile | None = None
    """Scene classes."""

    offset: Offset | None = None
    """Offset, where something tells of the very pixels; it precedes the tags."""

    quantification: float | None = None
    """Digital number of reflectance 1, where it is said; None for 10000."""

    files: tuple[str, ...] = ()
    """Its metadata, as files or as digests: what tells it from another beside bands."""

    drivers: tuple[str, ...] | None = None
    """Formats its files may have, by GDAL's names; None for all."""

    hint_missing: str = "name the files after their bands, such as B02.tif"
    """What to do where a band is missing."""
