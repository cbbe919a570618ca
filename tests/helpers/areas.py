"""Scenes in memory whose pixels tell their place, and areas of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.read.area import Area, AreaSource
from mmearth_infer.read.asked import read_area
from mmearth_infer.seams import Scene, Source

if TYPE_CHECKING:
    from pathlib import Path

UTM_32, UTM_33 = CRS.from_epsg(32632), CRS.from_epsg(32633)
LEFT, TOP = 600_000, 5_300_000
Corners = Sequence[tuple[float, float]]


class PlainSource(Source):
    """A scene in memory whose pixels tell their row and column."""

    def __init__(
        self,
        height: int = 700,
        width: int = 500,
        *,
        crs: CRS = UTM_33,
        transform: Affine | None = None,
        wanted: np.ndarray | None = None,
    ) -> None:
        row, col = np.mgrid[:height, :width]
        self.dn = np.stack([row + 1, col + 1]).astype(np.uint16)
        self.scl = ((row + col) % 12).astype(np.uint8)
        self.wanted_HW = wanted
        self.scene = Scene(
            name="plain",
            geobox=GeoBox(
                crs=crs,
                transform=transform or Affine(10, 0, LEFT, 0, -10, TOP),
                height=height,
                width=width,
            ),
            bands=("B2", "B3"),
            bands_evidence="",
            level="l2a",
            level_evidence="",
            offset_dn=0,
            offset_evidence="",
        )

    @property
    def fingerprint(self) -> str:
        return "plain"

    def read(self, window: Window) -> np.ndarray:
        rows, cols = window.slices
        return self.dn[:, rows, cols]

    def classes(self, window: Window) -> np.ndarray:
        return self.scl[window.slices]

    def wanted(self, window: Window) -> np.ndarray | None:
        return None if self.wanted_HW is None else self.wanted_HW[window.slices]


def whole(source: Source) -> Window:
    box = source.scene.geobox
    return Window(row=0, col=0, height=box.height, width=box.width)


def to_area(*polygons: Corners) -> Area:
    """Polygons in columns and rows of the scene, without their last point."""
    rings = []
    for corners in polygons:
        ring = np.array([*corners, corners[0]], dtype=np.float64)
        rings.append((np.array([LEFT, TOP]) + ring * (10, -10),))
    return Area(polygons=tuple(rings), evidence="drawn", digest="d")


def write(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def polygon(*corners: tuple[float, float], **members: object) -> dict[str, Any]:
    ring = [list(corner) for corner in (*corners, corners[0])]
    return {"type": "Polygon", "coordinates": [ring], **members}


def without_a_quarter(path: Path, side_px: int) -> Path:
    """Write an area: a square at a scene's corner without its lower right quarter."""
    whole, half = 10 * side_px, 5 * side_px
    outline = (
        (0, 0),
        (whole, 0),
        (whole, half),
        (half, half),
        (half, whole),
        (0, whole),
    )
    crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
    corners = [(LEFT + x, TOP - y) for x, y in outline]
    return write(path, polygon(*corners, crs=crs))


def feature(geometry: object) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"id": 1}, "geometry": geometry}


def inside(source: Source) -> np.ndarray:
    wanted_HW = source.wanted(whole(source))
    assert wanted_HW is not None
    return wanted_HW


def on_scene(source: AreaSource, scene: PlainSource) -> np.ndarray:
    """What is wanted of the whole scene."""
    wanted = np.zeros(scene.dn.shape[1:], dtype=bool)
    wanted[source.frame.slices] = inside(source)
    return wanted


def lon_lat_square(source: Source) -> dict[str, Any]:
    """A square of 0.01 degrees in the middle of a scene."""
    box = source.scene.geobox
    left, bottom, right, top = transform_bounds(box.crs, "OGC:CRS84", *box.bounds)
    x, y = (left + right) / 2, (bottom + top) / 2
    return polygon(
        (x - 0.005, y - 0.005),
        (x + 0.005, y - 0.005),
        (x + 0.005, y + 0.005),
        (x - 0.005, y + 0.005),
    )


def of_file(path: Path, source: Source) -> AreaSource:
    return AreaSource(source, read_area(path, source.scene.geobox))
