"""What a user can say about a scene that the scene does not say itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from mmearth_infer.contract.bands import ProductLevel, find_band
from mmearth_infer.errors import BandError, SceneError
from mmearth_infer.read.masked import check_masks

OffsetChoice = Literal["auto", "none", "-1000"]
"""Decide by evidence, leave the pixels alone, or remove 1000."""

ProductChoice = Literal["auto"] | ProductLevel
"""Decide by evidence, or take the user's word."""

_BBOX: Final = "--bbox takes WEST,SOUTH,EAST,NORTH"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneOptions:
    """How to read a scene; every default means: find out."""

    bands: tuple[str, ...] = ()
    """Names of the file's bands in the order of the file, `-` for one to ignore."""

    product: ProductChoice = "auto"
    """Product level."""

    offset: OffsetChoice = "auto"
    """The +1000 of processing baseline 04.00 and later."""

    scale: float | None = None
    """Factor from the file's values to digital numbers; 10000 for reflectance."""

    allow_resolution: bool = False
    """Accept pixels that are not 10 m."""

    granule: str | None = None
    """Granule of a .SAFE that holds several, by its tile of the military grid, such as
    `T32TQM`; None for the only one."""

    mask: tuple[str, ...] = ()
    """Scene classes that count as nodata, by their names in `read.masked.MASKS`."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north of the part to read: degrees where they can be, else in
    the scene's CRS; None for the whole scene."""

    aoi: str | None = None
    """File of polygons that cover the part to read; None for the whole scene."""

    snap_px: int | None = None
    """Side in pixels of the cells that begin on the grid which scenes of a CRS share
    (`grid.common`); None for cells that begin at the scene's corner."""

    def __post_init__(self) -> None:
        """Refuse masks, areas and grids that cannot be.

        Raises:
            SceneError: Naming the flag and its value.

        """
        check_masks(self.mask)
        if self.bbox is not None and self.aoi is not None:
            raise SceneError("--bbox and --aoi are two areas", hint="give one of them")
        if self.bbox is not None:
            _check_bbox(self.bbox)
        if self.snap_px is not None and self.snap_px < 1:
            raise SceneError(
                f"snap_px {self.snap_px} is not the side of a cell",
                hint="it is the stride of the model's coarsest map",
            )


def parse_bands(text: str) -> tuple[str, ...]:
    """Turn `B02,B03,-,B04` into canonical names.

    Raises:
        BandError: For a name that is no Sentinel-2 band, or that comes twice.

    """
    names = []
    for part in text.split(","):
        name = "-" if part.strip() == "-" else find_band(part)
        if name is None:
            raise BandError(
                f"`{part.strip()}` is not a Sentinel-2 band",
                hint="--bands takes names such as B02,B8A or red, `-` for one to skip",
            )
        if name != "-" and name in names:
            raise BandError(f"--bands names {name} twice")
        names.append(name)
    return tuple(names)


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """Turn `WEST,SOUTH,EAST,NORTH` into numbers.

    Raises:
        SceneError: If it is anything else.

    """
    try:
        west, south, east, north = map(float, text.split(","))
    except ValueError as error:
        raise SceneError(f"--bbox {text} is not four numbers", hint=_BBOX) from error
    return west, south, east, north


def _check_bbox(bbox: tuple[float, float, float, float]) -> None:
    """Refuse numbers that are no box."""
    west, south, east, north = bbox
    typed = ",".join(f"{number:.12g}" for number in bbox)
    if not all(map(math.isfinite, bbox)):
        raise SceneError(f"--bbox {typed} is not four numbers", hint=_BBOX)
    if south >= north or west == east:
        raise SceneError(f"--bbox {typed} covers nothing", hint=_BBOX)
