"""A map of classes as polygons, in a GeoPackage.

Shapes: H W cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyogrio.raw  # type: ignore[import-untyped]
import shapely  # type: ignore[import-untyped]
from rasterio import features

from mmearth_infer.contract.classes import NODATA_CLASS
from mmearth_infer.disk import files_beside
from mmearth_infer.write.conventions import crs_wkt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.classes import MapClass
    from mmearth_infer.grid.geobox import GeoBox

LAYER: Final = "map"
"""Layer of the polygons."""


def write_polygons(
    out: Path,
    class_HW: NDArray[np.uint8],
    box: GeoBox,
    classes: Sequence[MapClass],
    *,
    least_cells: int = 1,
) -> int:
    """Write a polygon for each patch of cells of one class that touch by a side.

    Args:
        out: Where the GeoPackage goes.
        class_HW: Classes from 0, `NODATA_CLASS` for cells without data.
        box: Grid of the cells.
        classes: In the order of the values.
        least_cells: Patches of fewer cells join their largest neighbour.

    Returns:
        How many polygons there are.

    Raises:
        StoreError: If the disk does not take it.

    """
    present_HW = class_HW != NODATA_CLASS
    if least_cells > 1:
        class_HW = features.sieve(class_HW, size=least_cells, mask=present_HW)
    found = list(features.shapes(class_HW, mask=present_HW, transform=box.transform))
    polygons: NDArray[Any] = np.array([_polygon(one) for one, _ in found], dtype=object)
    numbers = np.array([int(number) for _, number in found], dtype=np.int32)
    names = np.array([classes[number].name for number in numbers], dtype=object)
    with files_beside(out, [out.suffix]) as aside:
        pyogrio.raw.write(
            aside,
            geometry=shapely.to_wkb(polygons),
            field_data=[numbers, names],
            fields=np.array(["class", "name"], dtype=object),
            geometry_type="Polygon",
            crs=crs_wkt(box.crs),
            driver="GPKG",
            layer=LAYER,
        )
    return len(found)


def _polygon(shape: dict[str, Any]) -> shapely.Polygon:
    """Return a polygon of GeoJSON."""
    outer, *holes = shape["coordinates"]
    return shapely.Polygon(outer, holes)
