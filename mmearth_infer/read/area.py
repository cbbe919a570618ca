"""Reads a part of a scene: what a polygon covers, or a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio.features import rasterize

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.crop import CroppedSource
from mmearth_infer.read.outline import outer_bounds
from mmearth_infer.read.projection import in_words, meets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.read.outline import Bounds, Polygon
    from mmearth_infer.seams import Source

MULTIPLE_PX: Final = 64
"""Areas start at multiples of it: it suits all strides and tiles."""

STRIP_PX: Final = 256
"""Rows that are rasterised at once; the same ones whichever window is asked for."""

_STRIPS_KEPT: Final = 4
_ROUNDING_PX: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Area:
    """A part of a scene, in the scene's CRS."""

    polygons: tuple[Polygon, ...]
    """What is inside; at least one."""

    evidence: str
    """What the user asked for, and how it was understood."""

    digest: str
    """What tells it from another area."""

    @property
    def bounds(self) -> Bounds:
        """Left, bottom, right, top."""
        return outer_bounds(self.polygons)


class AreaSource(CroppedSource):
    """The part of a scene that holds an area, on the scene's grid.

    Both sides of its corner are multiples of `multiple_px`, so that a cell of the part
    is a cell of the scene. A pixel is wanted if its centre is inside the area; the
    others are read all the same.
    """

    def __init__(
        self, source: Source, area: Area, *, multiple_px: int = MULTIPLE_PX
    ) -> None:
        """Crop a scene to an area.

        Args:
            source: The scene.
            area: Which part of it is wanted.
            multiple_px: What the corner of the part is a multiple of; all sides are
                where the scene does not end before.

        Raises:
            SceneError: If no pixel of the scene is inside the area.

        """
        self._area = area
        scene = source.scene
        frame = _frame(area.bounds, scene.geobox, multiple_px, area.evidence)
        super().__init__(
            source,
            frame,
            f"rows {frame.row} to {frame.row + frame.height} and columns {frame.col} "
            f"to {frame.col + frame.width} of the scene, for {area.evidence}",
        )
        self._strip = lru_cache(maxsize=_STRIPS_KEPT)(self._rasterised)
        strips = range(-(-self.frame.height // STRIP_PX))
        if not any(self._strip(number).any() for number in strips):
            raise SceneError(
                f"no pixel of `{scene.name}` has its centre in the area: "
                f"{area.evidence}",
                hint="give a larger area; a pixel is "
                f"{scene.geobox.transform.a:g} wide in {scene.geobox.crs.to_string()}",
            )

    @property
    def fingerprint(self) -> str:
        """That of the scene, and which part of it this is."""
        return f"{super().fingerprint} {self._area.digest}"

    def wanted(self, window: Window) -> NDArray[np.bool_] | None:
        """Return `wanted_HW`, pixels inside the area that the scene wants as well."""
        top, bottom = window.row, window.row + window.height
        numbers = range(top // STRIP_PX, (bottom - 1) // STRIP_PX + 1)
        cols = slice(window.col, window.col + window.width)
        inside_HW = np.concatenate([self._strip(number)[:, cols] for number in numbers])
        start = top - numbers.start * STRIP_PX
        inside_HW = inside_HW[start : start + window.height]
        wanted_HW = super().wanted(window)
        return inside_HW if wanted_HW is None else inside_HW & wanted_HW

    def _rasterised(self, number: int) -> NDArray[np.bool_]:
        """Return `inside_HW` of a strip of rows, the whole width of the part."""
        box = self.scene.geobox
        top = number * STRIP_PX
        strip = box.part(
            Window(
                row=top,
                col=0,
                height=min(STRIP_PX, box.height - top),
                width=box.width,
            )
        )
        _, south, _, north = strip.bounds
        shapes = []
        for polygon in self._area.polygons:
            _, bottom, _, high = outer_bounds([polygon])
            if bottom <= north and high >= south:
                rings = [ring.tolist() for ring in polygon]
                shapes.append({"type": "Polygon", "coordinates": rings})
        if not shapes:
            return np.zeros((strip.height, strip.width), dtype=np.bool_)
        burnt_HW = rasterize(
            shapes,
            out_shape=(strip.height, strip.width),
            transform=strip.transform,
            dtype=np.uint8,
        )
        inside_HW: NDArray[np.bool_] = burnt_HW.view(np.bool_)
        return inside_HW


def _frame(bounds: Bounds, box: GeoBox, multiple_px: int, evidence: str) -> Window:
    """Return the pixels that bounds touch, grown to multiples of `multiple_px`."""
    left, bottom, right, top = bounds
    scene = box.bounds
    if not meets(bounds, scene):
        raise SceneError(
            f"the area lies outside the scene: it spans {in_words(bounds)}, the scene "
            f"{in_words(scene)}, in {box.crs.to_string()} ({evidence})",
            hint="check the area against the bounds that `mmearth info` tells",
        )
    high, wide = -box.transform.e, box.transform.a
    row, height = _grown(
        (scene[3] - min(top, scene[3])) / high,
        (scene[3] - max(bottom, scene[1])) / high,
        multiple_px,
        box.height,
    )
    col, width = _grown(
        (max(left, scene[0]) - scene[0]) / wide,
        (min(right, scene[2]) - scene[0]) / wide,
        multiple_px,
        box.width,
    )
    return Window(row=row, col=col, height=height, width=width)


def _grown(first: float, last: float, multiple: int, length: int) -> tuple[int, int]:
    """Return start and length, outwards to multiples that the scene ends anyway."""
    start = max(math.floor(first + _ROUNDING_PX), 0) // multiple * multiple
    end = min(-(-math.ceil(last - _ROUNDING_PX) // multiple) * multiple, length)
    start = min(start, (length - 1) // multiple * multiple)
    return start, max(end, start + 1) - start
