"""A window of a scene as a scene; and the one whose cells lie on the common grid."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.common import from_multiples, place_of
from mmearth_infer.seams import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.grid.window import Window


class CroppedSource(Source):
    """A window of a scene, on the scene's grid.

    With `w + corner` for a window of the part, counted from the scene's corner:
    `CroppedSource(s, frame).read(w) == s.read(w + corner)`.
    """

    def __init__(self, source: Source, frame: Window, evidence: str) -> None:
        """Crop a scene.

        Args:
            source: The scene.
            frame: Which window of it.
            evidence: Which part this is and why, in words.

        """
        self._source = source
        self.frame = frame
        self.evidence = evidence
        scene = source.scene
        self.scene = replace(
            scene, geobox=scene.geobox.part(frame), notes=(*scene.notes, evidence)
        )

    @property
    def fingerprint(self) -> str:
        """That of the scene, and which part of it this is."""
        frame = self.frame
        place = (frame.row, frame.col, frame.height, frame.width)
        return f"{self._source.fingerprint} area {place}"

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW`."""
        return self._source.read(self._in_scene(window))

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return `scl_HW`."""
        return self._source.classes(self._in_scene(window))

    def wanted(self, window: Window) -> NDArray[np.bool_] | None:
        """Return `wanted_HW`, pixels that the scene wants."""
        return self._source.wanted(self._in_scene(window))

    def _in_scene(self, window: Window) -> Window:
        """Return a window of the part as one of the scene."""
        return replace(
            window, row=window.row + self.frame.row, col=window.col + self.frame.col
        )


def snapped(source: Source, snap_px: int) -> CroppedSource:
    """Return a scene without what lies before the first whole cell of the common grid.

    Cells of `snap_px` pixels then are cells of every other scene of the same CRS that
    was snapped, too. Fewer than `snap_px` rows in the north and columns in the west go.

    Args:
        source: The scene.
        snap_px: Side of a cell in pixels.

    Raises:
        SceneError: If no crop brings it on that grid, or none leaves anything.

    """
    scene = source.scene
    box = scene.geobox
    if box.crs.is_geographic:
        raise SceneError(
            f"`{scene.name}` is in degrees, which scenes cannot share a grid in",
            hint="bring it to its UTM zone with `gdalwarp -tap -tr 10 10 -t_srs`",
        )
    place = place_of(box)
    if place is None:
        left, _, _, top = box.bounds
        raise SceneError(
            f"the corner of `{scene.name}` is at {left:.12g}, {top:.12g}, which are no "
            f"multiples of its pixels, {box.transform.a:g} x {-box.transform.e:g}",
            hint="bring it to the grid of other scenes with `gdalwarp -tap -tr 10 10`",
        )
    frame = from_multiples(place, snap_px)
    if frame is None:
        raise SceneError(
            f"`{scene.name}` holds no cell of {snap_px} px that begins on the grid "
            f"that scenes share: it has {box.height} x {box.width} px",
            hint="leave it out, or give a larger scene",
        )
    return CroppedSource(
        source,
        frame,
        f"without {frame.row} rows in the north and {frame.col} columns in the west: "
        f"it begins at multiples of {snap_px} px",
    )
