"""Colours of classes that nobody chose colours for."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.classes import BRIGHTEST, MapClass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Rgb = tuple[int, int, int]

OKABE_ITO: Final = (
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (0, 114, 178),
    (204, 121, 167),
    (240, 228, 66),
    (0, 0, 0),
)
"""Told apart by people who do not see all colours (M. Okabe and K. Ito, 2008)."""

_GOLDEN: Final = (5**0.5 - 1) / 2


def coloured(
    names: Sequence[str], given: Mapping[str, Rgb] | None = None
) -> tuple[MapClass, ...]:
    """Return classes with colours: given ones, then eight that everybody tells apart.

    Args:
        names: Of the classes.
        given: Colours by name, for some of them.

    """
    given = given or {}
    return tuple(
        MapClass(name=name, rgb=given.get(name) or _colour(number))
        for number, name in enumerate(names)
    )


def _colour(number: int) -> Rgb:
    """Return the colour of a class by its number; hues never repeat."""
    if number < len(OKABE_ITO):
        return OKABE_ITO[number]
    value = (0.9, 0.65, 0.45)[number % 3]
    parts = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.75, value)
    red, green, blue = (round(part * BRIGHTEST) for part in parts)
    return red, green, blue
