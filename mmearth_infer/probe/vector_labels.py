"""Labels of a vector file: polygons or points, a field tells the class.

Shapes: H W points of a fine grid, G geometries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely  # type: ignore[import-untyped]
from rasterio._err import CPLE_BaseError  # rasterio shows it nowhere else
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.warp import transform

from mmearth_infer.contract.classes import MOST_CLASSES
from mmearth_infer.errors import SceneError
from mmearth_infer.probe.codes import NONE
from mmearth_infer.read.ogr import Layer, read_layer
from mmearth_infer.read.projection import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from rasterio.crs import CRS

    from mmearth_infer.grid.geobox import GeoBox

HINT: Final = "labels are polygons or points with a field that names the class"
"""What to do about a vector file that is none."""

_STEP_DEG: Final = 0.02
_STEP_M: Final = 2_000.0
_POLYGONS: Final = frozenset({"Polygon", "MultiPolygon"})
_POINTS: Final = frozenset({"Point", "MultiPoint"})


def open_vector_labels(path: Path, *, field: str | None) -> VectorLabels:
    """Read a vector file of classes; geometries without a class are left out.

    Args:
        path: The file.
        field: Name of the field with the class; None if there is only one.

    Raises:
        SceneError: If it cannot be read, or holds no classes on Earth.

    """
    layer = read_layer(path, fields=None, hint=HINT)
    names = [_name(value) for value in _values(path, layer, field)]
    kept = [
        n
        for n, (name, shape) in enumerate(zip(names, layer.shapes, strict=True))
        if name and shape is not None and not shape.is_empty
    ]
    if not kept:
        raise SceneError(f"`{path}` holds no geometry with a class", hint=HINT)
    shapes = shapely.force_2d(layer.shapes[kept])
    kinds = {shape.geom_type for shape in shapes}
    if not (kinds <= _POLYGONS or kinds <= _POINTS):
        raise SceneError(
            f"`{path}` holds geometries of type {', '.join(sorted(kinds))}", hint=HINT
        )
    if kinds <= _POLYGONS and not shapely.is_valid(shapes).all():
        first = shapes[~shapely.is_valid(shapes)][0]
        raise SceneError(
            f"`{path}` holds a polygon whose inside is unclear: "
            f"{shapely.is_valid_reason(first)}",
            hint="repair it, for example with `ogr2ogr -makevalid`",
        )
    return VectorLabels(
        path,
        layer.crs,
        shapes,
        [names[n] for n in kept],
        points=kinds <= _POINTS,
    )


class VectorLabels:
    """Polygons or points with classes, in any CRS."""

    def __init__(
        self,
        path: Path,
        crs: CRS,
        shapes_G: NDArray[Any],
        names_G: list[str],
        *,
        points: bool,
    ) -> None:
        """Keep geometries and the class of each.

        Raises:
            SceneError: If there are more classes than a map holds.

        """
        self.name, self.whole_cells = path.name, points
        self.colours: Mapping[str, tuple[int, int, int]] = {}
        self._crs, self._shapes_G = crs, shapes_G
        self._names = sorted(set(names_G))
        if len(self._names) > MOST_CLASSES:
            raise SceneError(
                f"`{path}` has {len(self._names)} classes, maps hold {MOST_CLASSES}",
                hint="choose another --field; probes tell classes apart, numbers "
                "that are measured are none",
            )
        numbers = {name: n for n, name in enumerate(self._names)}
        self._codes_G = np.array([numbers[name] for name in names_G], dtype=np.int32)
        self._met_G = np.zeros(len(shapes_G), dtype=bool)
        self._projected: dict[str, shapely.STRtree] = {}

    def codes(self, box: GeoBox) -> NDArray[np.int32] | None:
        """Return `codes_HW`: the class whose polygon or point is there.

        A point of the grid is in a polygon if its centre is. Where polygons of several
        classes are, or points, there is no label.

        Raises:
            SceneError: If the labels have no place in the CRS of the grid.

        """
        tree = self._in(box.crs)
        near = tree.query(shapely.box(*box.bounds), predicate="intersects")
        if not len(near):
            return None
        self._met_G[near] = True
        codes_HW = np.full((box.height, box.width), NONE, dtype=np.int32)
        several_HW = np.zeros(codes_HW.shape, dtype=bool)
        for code in np.unique(self._codes_G[near]):
            inside_HW = rasterize(
                tree.geometries[near[self._codes_G[near] == code]],
                out_shape=codes_HW.shape,
                transform=box.transform,
                dtype="uint8",
            ).astype(bool)
            several_HW |= inside_HW & (codes_HW != NONE)
            codes_HW[inside_HW] = code
        codes_HW[several_HW] = NONE
        return codes_HW

    def name_of(self, code: int) -> str:
        """Return the name of the class."""
        return self._names[code]

    def span(self) -> str:
        """Return where the labels lie, in words."""
        bounds = tuple(float(edge) for edge in shapely.total_bounds(self._shapes_G))
        return f"{in_words(bounds)} in {self._crs.to_string()}"  # type: ignore[arg-type]  # four

    def outside(self) -> tuple[int, int]:
        """Return how many geometries no grid has met, and how many there are."""
        return int((~self._met_G).sum()), len(self._met_G)

    def _in(self, crs: CRS) -> shapely.STRtree:
        """Return the geometries in another CRS; what has no place there is empty."""
        key = crs.to_wkt()
        if key not in self._projected:
            self._projected[key] = shapely.STRtree(self._project(crs))
        return self._projected[key]

    def _project(self, crs: CRS) -> NDArray[Any]:
        """Bring geometries to a CRS, with points on their long edges."""
        if crs == self._crs:
            return self._shapes_G
        step = _STEP_DEG if self._crs.is_geographic else _STEP_M
        dense_G = shapely.segmentize(self._shapes_G, step)

        def move(xy_P2: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = transform(self._crs, crs, xy_P2[:, 0].tolist(), xy_P2[:, 1].tolist())
            return np.stack([x, y], axis=1)

        try:
            moved_G = shapely.transform(dense_G, move)
        except (CPLE_BaseError, RasterioError) as error:
            raise SceneError(
                f"the labels `{self.name}` have no place in {crs.to_string()}: {error}",
                hint="give labels near the scene",
            ) from error
        lost_G = ~np.isfinite(shapely.bounds(moved_G)).all(axis=1)
        moved_G[lost_G] = shapely.Point()
        return moved_G  # type: ignore[no-any-return]  # shapely has no types


def _values(path: Path, layer: Layer, field: str | None) -> NDArray[Any]:
    """Return the values of the field that names the class."""
    if field is None and len(layer.fields) == 1:
        (field,) = layer.fields
    there = ", ".join(f"`{name}`" for name in layer.fields) or "none"
    if field is None:
        raise SceneError(
            f"`{path}` has {len(layer.fields)} fields: {there}",
            hint="--field says which one names the class",
        )
    if field not in layer.fields:
        raise SceneError(
            f"`{path}` has no field `{field}`", hint=f"its fields are {there}"
        )
    values = layer.fields[field]
    if values.dtype.kind == "f":
        known = values[np.isfinite(values)]
        if (known != np.rint(known)).any():
            raise SceneError(
                f"field `{field}` of `{path}` holds numbers that are measured, such as "
                f"{known[known != np.rint(known)][0]:g}",
                hint="probes tell classes apart; choose a field that names them",
            )
    return values


def _name(value: object) -> str:
    """Return a value of a field as the name of a class; empty for none."""
    if isinstance(value, float | np.floating):
        return str(int(value)) if np.isfinite(value) else ""
    if value is None:
        return ""
    return str(value).strip()
