"""The classes of a map: names and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mmearth_infer.errors import ManifestError

MOST_CLASSES: Final = 255
"""Classes that fit a map in uint8 beside its nodata value."""

NODATA_CLASS: Final = 255
"""Value of a map's cells without data; classes count from 0."""

BRIGHTEST: Final = 255
"""Largest part of a colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapClass:
    """A class that a segmentation model or a probe tells apart."""

    name: str
    """What people call it."""

    rgb: tuple[int, int, int]
    """Its colour on maps: red, green, blue, 0 to 255 each."""

    def __post_init__(self) -> None:
        """Refuse what is no colour.

        Raises:
            ManifestError: Naming the class.

        """
        if not self.name or not all(0 <= part <= BRIGHTEST for part in self.rgb):
            raise ManifestError(f"the class `{self.name}` has the colour {self.rgb}")
