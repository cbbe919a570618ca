"""Multi-band rasters through GDAL: GeoTIFF, COG, and whatever else GDAL opens."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rasterio.enums import MaskFlags

from mmearth_infer.read.fingerprint import files_fingerprint
from mmearth_infer.read.georeference import read_geobox
from mmearth_infer.read.one_grid import OneGridSource, Raster
from mmearth_infer.read.raster import open_raster, read_raster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.window import Window
    from mmearth_infer.read.options import SceneOptions


class RasterFile(Raster):
    """A raster file with all bands on one grid."""

    def __init__(self, path: str | Path, *, threads: int) -> None:
        """Open it.

        Args:
            path: The file.
            threads: Threads GDAL decodes with.

        Raises:
            SceneError: If it cannot be opened.

        """
        self._name = Path(path).name.partition("?")[0]  # what follows may be a secret
        self._threads = threads
        self._dataset = open_raster(path, threads=threads)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self._name

    @property
    def descriptions(self) -> Sequence[str | None]:
        """What the file calls each band."""
        descriptions: tuple[str | None, ...] = self._dataset.descriptions
        return descriptions

    @property
    def geobox(self) -> GeoBox:
        """Where it lies.

        Raises:
            SceneError: If it has no CRS, or is not a north-up grid.

        """
        return read_geobox(self._dataset, source=self._name)

    @property
    def nodata(self) -> float | None:
        """Its nodata value."""
        nodata: float | None = self._dataset.nodata
        return nodata

    @property
    def tags(self) -> Mapping[str, str]:
        """Its metadata."""
        tags: dict[str, str] = self._dataset.tags()
        return tags

    @property
    def offsets_dn(self) -> Sequence[float]:
        """Each band's offset tag in digital numbers."""
        return [
            offset / (scale or 1.0)
            for offset, scale in zip(
                self._dataset.offsets, self._dataset.scales, strict=True
            )
        ]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is left aside."""
        if MaskFlags.per_dataset not in self._dataset.mask_flag_enums[0]:
            return ()
        return (f"`{self._name}` has a mask, which is not used: only nodata is",)

    @property
    def fingerprint(self) -> str:
        """Name, sizes and times of the files that the scene consists of."""
        return files_fingerprint(self._dataset.files)

    def values(
        self,
        indexes: Sequence[int],
        window: Window,
        *,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Return the file's own values, thinned out to a shape if one is given."""
        return read_raster(
            self._dataset,
            indexes,
            window,
            threads=self._threads,
            name=self._name,
            shape=shape and (len(indexes), *shape),
        )

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


class GeoTiffSource(OneGridSource):
    """A raster file as a source."""

    def __init__(
        self,
        path: str | Path,
        *,
        options: SceneOptions,
        wanted: Sequence[str] | None,
        threads: int,
    ) -> None:
        """Open a file and decide everything about it.

        Args:
            path: The file.
            options: What the user said about it.
            wanted: Bands to give, in order; None for all that have a name.
            threads: Threads GDAL decodes with.

        Raises:
            SceneError: If it cannot be read, or not as asked.

        """
        self._file = RasterFile(path, threads=threads)
        with ExitStack() as closing:  # unless all goes well
            closing.callback(self._file.close)
            super().__init__(self._file, options=options, wanted=wanted)
            closing.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the source, which closes at the end of the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the file."""
        self.close()
