"""Leaves out pixels by what Sentinel-2's scene classification says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.seams import Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

MASKS: Final = {
    "nodata": (0,),
    "defective": (1,),
    "dark": (2,),  # dark areas, shadows cast by relief
    "shadow": (3,),
    "vegetation": (4,),
    "soil": (5,),  # not vegetated
    "water": (6,),
    "unclassified": (7,),
    "cloud": (8, 9, 10),  # medium and high probability, thin cirrus
    "cirrus": (10,),
    "snow": (11,),  # and ice
}
"""Classes of the SCL band of L2A products, by what users type for them."""

NODATA_CLASS: Final = 0
"""Is left out by every mask."""

_CLASSES: Final = 256


class MaskedSource(Source):
    """A scene without some of its classes: their pixels are 0 in all bands.

    `MaskedSource(s, names).read(w) == where(s.classes(w) in names, 0, s.read(w))`.
    """

    def __init__(self, source: Source, names: Iterable[str]) -> None:
        """Leave classes out of a scene.

        Args:
            source: The scene.
            names: Which classes, out of `MASKS`.

        Raises:
            SceneError: If a name is unknown, or the scene has no classes.

        """
        self._source = source
        self._names = check_masks(names)
        numbers = {NODATA_CLASS, *(n for name in self._names for n in MASKS[name])}
        self._numbers = tuple(sorted(numbers))
        self._missing = np.zeros(_CLASSES, dtype=np.bool_)
        self._missing[list(self._numbers)] = True
        scene = source.scene
        if source.classes(Window(row=0, col=0, height=1, width=1)) is None:
            raise SceneError(
                f"`{scene.name}` has no scene classes (SCL), which --mask "
                f"{','.join(self._names)} goes by",
                hint="give the L2A product as SAFE or STAC item, which have them, or "
                "leave --mask out",
            )
        self.scene = replace(scene, notes=(*scene.notes, self.evidence))

    @property
    def evidence(self) -> str:
        """What is left out, in words."""
        numbers = ", ".join(map(str, self._numbers))
        return (
            f"pixels of SCL classes {numbers} count as nodata, for --mask "
            f"{','.join(self._names)}"
        )

    @property
    def fingerprint(self) -> str:
        """That of the scene, and the classes that are left out."""
        return f"{self._source.fingerprint} mask {self._numbers}"

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW`, 0 where a class is left out."""
        dn_CHW = self._source.read(window)
        scl_HW = self._source.classes(window)
        assert scl_HW is not None  # it was there at the opening
        missing_HW = self._missing[scl_HW]
        if missing_HW.any():
            dn_CHW = dn_CHW.copy()  # it may be the source's own
            dn_CHW[:, missing_HW] = 0
        return dn_CHW

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return the scene's own `scl_HW`."""
        return self._source.classes(window)

    def wanted(self, window: Window) -> NDArray[np.bool_] | None:
        """Return what the scene says: a mask is about data, not about wishes."""
        return self._source.wanted(window)


def check_masks(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a mask, each once.

    Raises:
        SceneError: If one is unknown.

    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in MASKS:
            raise SceneError(
                f"--mask does not know `{name}`", hint=f"it knows {', '.join(MASKS)}"
            )
    return names


def parse_masks(text: str) -> tuple[str, ...]:
    """Turn `cloud,shadow,snow` into names.

    Raises:
        SceneError: If one is unknown.

    """
    return check_masks(part.strip().lower() for part in text.split(","))
