"""What a user can say about a scene that the scene does not say itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmearth_infer.contract.bands import ProductLevel, find_band
from mmearth_infer.errors import BandError

OffsetChoice = Literal["auto", "none", "-1000"]
"""Decide by evidence, leave the pixels alone, or remove 1000."""

ProductChoice = Literal["auto"] | ProductLevel
"""Decide by evidence, or take the user's word."""


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
