"""What both forms of a data set have in common: shapes, tile sizes, product levels.

Nothing heavy is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import DataError
from mmearth_training.modalities import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_infer.contract.bands import ProductLevel

TILE_PX: Final = (64, 128)
"""Sides of a tile: of MMEarth64, and of the others."""

LEVELS: Final[tuple[ProductLevel, ...]] = ("l1c", "l2a")
"""Product levels a tile can be of."""

DAMAGED: Final = "the file may be cut off or damaged; compare it with its source"
"""What to do about a file that cannot be read."""


def shapes(name: str, count: int, tile_px: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes a modality may be stored in, the published one first.

    Pixel classes are published with a channel axis of 1, and accepted without.
    """
    modality = MODALITIES[name]
    if modality.level == "image":
        return ((count, modality.width),)
    side = (tile_px, tile_px)
    if modality.codes:
        return ((count, 1, *side), (count, *side))
    return ((count, modality.width, *side),)


def check_rows(rows: Sequence[int], tiles: int, source: str) -> None:
    """Refuse rows that a data set does not have.

    Raises:
        DataError: Naming the first of them.

    """
    for row in rows:
        if not 0 <= row < tiles:
            raise DataError(
                f"there is no tile {row} in `{source}`",
                hint=f"it holds {tiles}; do the splits belong to it?",
            )


def reason(error: BaseException) -> str:
    """Return an error's own words on one line."""
    return " ".join(str(error).split())
