"""Stores of made-up fields whose classes are known, and labels of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.warp import transform_geom

from tests.mmearth_infer.view.stores import CORNER, Made, Map, write_store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CELLS = CORNER @ Affine.scale(16)
"""Transform of the cells."""

NAMES = ("field", "forest", "water")


def classes_hw(height: int = 40, width: int = 40) -> NDArray[np.int64]:
    """Return three classes in patches of 5 x 5 cells, mixed all over the scene."""
    row, col = np.mgrid[:height, :width] // 5
    found: NDArray[np.int64] = (row * 2 + col * 5 + row * col) % 3
    return found


def write_fields(
    path: Path,
    class_hw: NDArray[np.int64] | None = None,
    *,
    noise: float = 0.1,
    hole: int = 0,
    made: Made | None = None,
    seed: int = 0,
    **of: Any,  # noqa: ANN401
) -> Path:
    """Write a store whose embeddings tell classes apart, as well as noise allows."""
    class_hw = classes_hw() if class_hw is None else class_hw
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(6, int(class_hw.max()) + 1)) * 3
    features_Dhw = centres[:, class_hw] + rng.normal(size=(6, *class_hw.shape)) * noise
    features_Dhw[:, :hole, :hole] = np.nan
    return write_store(
        path,
        Map(features_Dhw=features_Dhw.astype(np.float32), **of),
        made=made or Made(chunk_cells=16),
    )


def square(row: float, col: float, side: float) -> dict[str, Any]:
    """Return a square of cells of the grid as a GeoJSON polygon."""
    places = [(0, 0), (0, side), (side, side), (side, 0), (0, 0)]
    ring = [list(CELLS @ (col + right, row + down)) for down, right in places]
    return {"type": "Polygon", "coordinates": [ring]}


def point(row: float, col: float) -> dict[str, Any]:
    """Return a place in cells of the grid as a GeoJSON point."""
    return {
        "type": "Point",
        "coordinates": list(CELLS @ (col, row)),
    }


def write_labels(
    path: Path,
    shapes: list[tuple[dict[str, Any], object]],
    *,
    crs: str = "EPSG:32633",
    field: str = "class",
    **more: object,
) -> Path:
    """Write geometries in UTM 33 with a class each, as GeoJSON of any CRS."""
    features = [
        {
            "type": "Feature",
            "geometry": transform_geom("EPSG:32633", crs, shape),
            "properties": {field: name, **more},
        }
        for shape, name in shapes
    ]
    number = crs.removeprefix("EPSG:")
    said = {
        "type": "FeatureCollection",
        "crs": {
            "type": "name",
            "properties": {"name": f"urn:ogc:def:crs:EPSG::{number}"},
        },
        "features": features,
    }
    path.write_text(json.dumps(said))
    return path


def patches(class_hw: NDArray[np.int64] | None = None) -> list[tuple[Any, object]]:
    """Return a square of 3 x 3 cells in every patch, with its class."""
    class_hw = classes_hw() if class_hw is None else class_hw
    height, width = class_hw.shape
    return [
        (square(row + 1, col + 1, 3), NAMES[class_hw[row, col]])
        for row in range(0, height - 4, 5)
        for col in range(0, width - 4, 5)
    ]


def write_raster(
    path: Path,
    values_HW: NDArray[Any],
    *,
    transform: Affine = CELLS,
    crs: str = "EPSG:32633",
    nodata: float | None = None,
) -> Path:
    """Write a raster of classes."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=values_HW.shape[0],
        width=values_HW.shape[1],
        dtype=values_HW.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
    ) as file:
        file.write(values_HW, 1)
    return path
