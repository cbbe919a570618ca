"""Scenes that are in memory already: bands as arrays, and what is said about them.

Shapes: H W pixels of the scene, h w of a window.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmearth_infer.read.georeference import check_grid
from mmearth_infer.read.one_grid import OneGridSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.window import Window
    from mmearth_infer.read.options import SceneOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Bands in memory, on one grid; they are not copied."""

    name: str
    """What the scene is called."""

    bands: tuple[NDArray[Any], ...]
    """Bands, each `(H, W)`, of one number type."""

    descriptions: tuple[str | None, ...]
    """What each is called; None where nothing says so."""

    geobox: GeoBox
    """Where they lie."""

    nodata: float | None = None
    """Value that means nothing was measured, beside 0 and NaN."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """What is said of their product."""

    offsets_dn: tuple[float, ...] = ()
    """What must be added to each, in digital numbers; empty where nothing says so."""

    scl: NDArray[Any] | None = None
    """Scene classes of Sentinel-2, `(H, W)`."""

    warnings: tuple[str, ...] = ()
    """What a user should know of it."""

    def __post_init__(self) -> None:
        """Refuse a grid that no scene has.

        Raises:
            SceneError: Saying how.

        """
        check_grid(self.geobox, source=self.name)
        if not self.offsets_dn:
            object.__setattr__(self, "offsets_dn", (0.0,) * len(self.bands))

    @property
    def fingerprint(self) -> str:
        """Digest of the pixels."""
        digest = hashlib.sha256()
        scl = () if self.scl is None else (self.scl,)
        for band_HW in (*self.bands, *scl):
            digest.update(repr((band_HW.dtype.str, band_HW.shape)).encode())
            digest.update(np.ascontiguousarray(band_HW).view(np.uint8).data)
        return digest.hexdigest()

    def values(
        self,
        indexes: Sequence[int],
        window: Window,
        *,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Return their own values, thinned out to a shape if one is given."""
        rows, cols = window.slices
        part: tuple[Any, ...] = (rows, cols)
        if shape is not None:
            part = np.ix_(_spread(rows, shape[0]), _spread(cols, shape[1]))
        return np.stack([self.bands[n - 1][part] for n in indexes])


def _spread(pixels: slice, count: int) -> NDArray[np.intp]:
    """Return `count` of the pixels of an axis, evenly spread."""
    middles = (np.arange(count) + 0.5) * (pixels.stop - pixels.start) / count
    spread: NDArray[np.intp] = (pixels.start + middles).astype(np.intp)
    return spread


class ArraySource(OneGridSource):
    """Bands in memory as a source."""

    def __init__(
        self, pixels: Pixels, *, options: SceneOptions, wanted: Sequence[str] | None
    ) -> None:
        """Decide everything about a scene.

        Args:
            pixels: The scene.
            options: What the user said about it.
            wanted: Bands to give, in order; None for all that have a name.

        Raises:
            SceneError: If it cannot be read as asked.

        """
        super().__init__(pixels, options=options, wanted=wanted)
        self._scl_HW = pixels.scl

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return `scl_hw`, or None if the scene has none."""
        if self._scl_HW is None:
            return None
        scl_hw: NDArray[Any] = np.nan_to_num(self._scl_HW[window.slices])
        return scl_hw.astype(np.uint8)
