"""Labels of a raster: its values are classes.

Shapes: H W points of a fine grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio._err import CPLE_BaseError  # rasterio shows it nowhere else
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from mmearth_infer.errors import SceneError
from mmearth_infer.probe.codes import NONE
from mmearth_infer.read.georeference import read_geobox
from mmearth_infer.read.projection import bounds_in, in_words, meets
from mmearth_infer.read.raster import gdal_settings, open_raster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from mmearth_infer.grid.geobox import GeoBox

HINT: Final = "labels are a raster with one band of whole numbers, one a class"
"""What to do about a raster that is none."""


def open_raster_labels(
    path: Path, *, names: Mapping[int, str], ignore: Sequence[int]
) -> RasterLabels:
    """Open a raster of classes.

    Args:
        path: The file.
        names: Names of values.
        ignore: Values that are no class, beside the file's nodata.

    Raises:
        SceneError: If it cannot be read, or is no raster of classes on Earth.

    """
    dataset = open_raster(path, hint=HINT)
    if dataset.count != 1:
        dataset.close()
        raise SceneError(f"`{path}` has {dataset.count} bands", hint=HINT)
    return RasterLabels(path, dataset, names=names, ignore=ignore)


class RasterLabels:
    """A raster of classes; the nearest pixel tells the class of a point."""

    whole_cells = False

    def __init__(
        self,
        path: Path,
        dataset: DatasetReader,
        *,
        names: Mapping[int, str],
        ignore: Sequence[int],
    ) -> None:
        """Keep an open raster with one band."""
        self.name = path.name
        self._path, self._dataset = path, dataset
        self._box = read_geobox(dataset, source=str(path))
        self._names, self._ignore = names, np.array(ignore, dtype=np.int64)
        self._met = False
        self.colours: Mapping[str, tuple[int, int, int]] = {}
        if dataset.colorinterp[0] == ColorInterp.palette:
            self.colours = {
                self.name_of(code): rgba[:3]
                for code, rgba in dataset.colormap(1).items()
            }

    def codes(self, box: GeoBox) -> NDArray[np.int32] | None:
        """Return `codes_HW`, values of the raster; None where it has none.

        Raises:
            SceneError: If it cannot be read, or a value is not a whole number.

        """
        if not meets(bounds_in(box, self._box.crs), self._box.bounds):
            return None
        try:
            with (
                gdal_settings(1),
                WarpedVRT(
                    self._dataset,
                    crs=box.crs,
                    transform=box.transform,
                    width=box.width,
                    height=box.height,
                    resampling=Resampling.nearest,
                    add_alpha=True,
                ) as warped,
            ):
                values_HW, alpha_HW = warped.read()
        except (RasterioError, CPLE_BaseError) as error:
            raise SceneError(
                f"cannot read `{self._path}`: {error}",
                hint="compare it with its source",
            ) from error
        known_HW = (alpha_HW > 0) & np.isfinite(values_HW)
        codes_HW = np.where(known_HW, values_HW, 0).astype(np.int64)
        if (codes_HW != np.where(known_HW, values_HW, 0)).any() or (
            np.abs(codes_HW) >= -NONE
        ).any():
            raise SceneError(
                f"`{self._path}` holds values that are no whole numbers", hint=HINT
            )
        known_HW &= ~np.isin(codes_HW, self._ignore)
        self._met |= bool(known_HW.any())
        return np.where(known_HW, codes_HW, NONE).astype(np.int32)

    def name_of(self, code: int) -> str:
        """Return the name of a value, its number if it has none."""
        return self._names.get(code, str(code))

    def span(self) -> str:
        """Return where the raster lies, in words."""
        return f"{in_words(self._box.bounds)} in {self._box.crs.to_string()}"

    def outside(self) -> tuple[int, int]:
        """Return one label, the raster, that no grid has met or some has."""
        return int(not self._met), 1
