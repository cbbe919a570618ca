"""Labels on the grid of a scene: numbers of classes, from a raster or from polygons.

Shapes: H W pixels.
"""

from __future__ import annotations

from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.warp import reproject, transform_geom

from mmearth_infer.errors import DataError, MissingExtraError, SceneError
from mmearth_infer.read.raster import open_raster
from mmearth_training.losses import MISSING_CLASS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.window import Window
    from mmearth_training.finetune.recipe import Code

VECTOR_SUFFIXES: Final = frozenset(
    {".geojson", ".json", ".gpkg", ".shp", ".fgb", ".parquet"}
)
"""What tells polygons from a raster."""

_NOWHERE: Final = -(2**31)
_HINT: Final = "list it as a class, or in data.ignored"


class Labels(Protocol):
    """What is known about the ground of a scene."""

    def read(self, window: Window) -> NDArray[np.int16]:
        """Return `classes_HW` of a window, -1 where nothing is known."""
        ...


def open_labels(
    path: Path,
    box: GeoBox,
    *,
    codes: Mapping[Code, int],
    ignored: Collection[Code],
    field: str,
) -> Labels:
    """Open labels for the grid of a scene.

    Args:
        path: A raster, or polygons.
        box: The grid.
        codes: Number of the class that each value stands for.
        ignored: Values that are no class.
        field: Field of polygons that holds the values.

    Raises:
        DataError: If there are none, or they hold other values.
        SceneError: If the file cannot be read.
        MissingExtraError: If polygons take pyogrio, and that is not installed.

    """
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return PolygonLabels(path, box, codes=codes, ignored=ignored, field=field)
    return RasterLabels(path, box, codes=codes, ignored=ignored)


class RasterLabels:
    """A raster of numbers on any grid: each pixel takes the nearest value."""

    def __init__(
        self,
        path: Path,
        box: GeoBox,
        *,
        codes: Mapping[Code, int],
        ignored: Collection[Code],
    ) -> None:
        """Check that the file can be labels.

        Raises:
            SceneError: If it cannot be read.
            DataError: If it holds no whole numbers, or several bands.

        """
        self._path, self._box = path, box
        self._codes, self._ignored = codes, ignored
        with closing(self._open()) as file:
            if file.count != 1 or np.dtype(file.dtypes[0]).kind not in "ui":
                raise DataError(
                    f"`{path.name}` has {file.count} bands of {file.dtypes[0]}",
                    hint="labels are one band of whole numbers",
                )
            if file.crs is None:
                raise DataError(
                    f"the labels `{path.name}` do not say where on Earth they are",
                    hint="give them a coordinate reference system",
                )

    def read(self, window: Window) -> NDArray[np.int16]:
        """Return `classes_HW` of a window, -1 where nothing is known.

        Raises:
            DataError: If a value is neither a class nor ignored.

        """
        values_HW = np.full((window.height, window.width), _NOWHERE, np.int64)
        corner = Affine.translation(window.col, window.row)
        with closing(self._open()) as file:
            try:
                reproject(
                    rasterio.band(file, 1),
                    values_HW,
                    dst_transform=self._box.transform @ corner,
                    dst_crs=self._box.crs,
                    resampling=Resampling.nearest,
                    init_dest_nodata=False,
                )
            except RasterioError as error:
                raise SceneError(
                    f"cannot read the labels `{self._path.name}`: {error}",
                    hint="the file may be cut off or damaged",
                ) from error
        classes_HW = np.full(values_HW.shape, MISSING_CLASS, np.int16)
        for value in np.unique(values_HW).tolist():
            if value in self._codes:
                classes_HW[values_HW == value] = self._codes[value]
            elif value != _NOWHERE and value not in self._ignored:
                raise _unknown(value, self._path)
        return classes_HW

    def _open(self) -> Any:  # noqa: ANN401 -- rasterio has no types
        return open_raster(self._path, hint="labels are a raster, or polygons")


class PolygonLabels:
    """Polygons with a field; a pixel is of the class its centre is inside of.

    Where polygons of two classes overlap nothing is known.
    """

    def __init__(
        self,
        path: Path,
        box: GeoBox,
        *,
        codes: Mapping[Code, int],
        ignored: Collection[Code],
        field: str,
    ) -> None:
        """Draw all polygons onto the grid of a scene.

        Raises:
            SceneError: If the file cannot be read.
            DataError: If it has no such field, or other values in it.
            MissingExtraError: If pyogrio is not installed.

        """
        if find_spec("pyogrio") is None:
            raise MissingExtraError(f"labels {path.name}", extra="probe")
        from mmearth_infer.read.ogr import read_layer  # noqa: PLC0415 -- an extra

        layer = read_layer(path, fields=None, hint="labels are polygons")
        if field not in layer.fields:
            raise DataError(
                f"`{path.name}` has no field `{field}`",
                hint=f"data.field is one of {', '.join(layer.fields) or 'none'}",
            )
        shapes: dict[int, list[Any]] = {}
        for shape, value in zip(layer.shapes, layer.fields[field], strict=True):
            if (
                shape is None
                or (number := _number(value, codes, ignored, path)) is None
            ):
                continue
            place = transform_geom(layer.crs, box.crs, shape.__geo_interface__)
            shapes.setdefault(number, []).append(place)
        self._classes_HW = np.full((box.height, box.width), MISSING_CLASS, np.int16)
        taken_HW = np.zeros((box.height, box.width), np.bool_)
        for number, places in shapes.items():
            inside_HW = rasterize(
                places,
                out_shape=taken_HW.shape,
                transform=box.transform,
                dtype=np.uint8,
            ).view(np.bool_)
            self._classes_HW[inside_HW] = number
            self._classes_HW[inside_HW & taken_HW] = MISSING_CLASS
            taken_HW |= inside_HW

    def read(self, window: Window) -> NDArray[np.int16]:
        """Return `classes_HW` of a window, -1 where nothing is known."""
        return self._classes_HW[window.slices]


def _number(
    value: Any,  # noqa: ANN401 -- whatever the field holds
    codes: Mapping[Code, int],
    ignored: Collection[Code],
    path: Path,
) -> int | None:
    """Return the class of a field's value, None if it is to be ignored."""
    said = value.item() if isinstance(value, np.generic) else value
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    if said in codes:
        return codes[said]
    if said in ignored:
        return None
    raise _unknown(said, path)


def _unknown(value: object, path: Path) -> DataError:
    """Return the error of a value that nobody explained."""
    return DataError(f"the labels `{path.name}` hold `{value}`", hint=_HINT)
