"""One band's file: its numbers, brought to the 10 m grid."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rasterio.enums import MaskFlags

from mmearth_infer.errors import BandError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.digital import blanked, check_values, to_dn
from mmearth_infer.read.georeference import read_geobox
from mmearth_infer.read.raster import (
    COARSE_PX,
    open_raster,
    read_raster,
    sample_windows,
    shown,
)
from mmearth_infer.read.resample import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.read.described import BandFile
    from mmearth_infer.read.resample import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """How a scene's values become digital numbers."""

    scale: float | None
    """Factor that the user gave."""

    offset_dn: int
    """What is added to every valid one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBand:
    """A band's file, open."""

    name: str
    """Name of the file, for messages."""

    dataset: DatasetReader
    """The file."""

    number: int
    """Which of its bands, from 1."""

    geobox: GeoBox
    """Where its pixels lie."""

    @property
    def kind(self) -> str:
        """Number type of its values."""
        return str(self.dataset.dtypes[self.number - 1])

    @property
    def has_mask(self) -> bool:
        """Whether it has a mask beside nodata."""
        return MaskFlags.per_dataset in self.dataset.mask_flag_enums[self.number - 1]

    @property
    def offset_dn(self) -> float:
        """What the file says must be added to its digital numbers."""
        scale = self.dataset.scales[self.number - 1] or 1.0
        return float(self.dataset.offsets[self.number - 1] / scale)

    def sample(self, *, scale: float | None) -> NDArray[np.uint16]:
        """Return digital numbers from several places, offset left in.

        Raises:
            SceneError: If the values are none.

        """
        height, width = self.dataset.height, self.dataset.width
        raw = np.concatenate(
            [self._raw(place).ravel() for place in sample_windows(height, width)]
        )
        nodata = self._nodata
        if not blanked(raw, nodata=nodata).any():  # which costs reading it all
            whole = Window(row=0, col=0, height=height, width=width)
            thin = min(height, COARSE_PX), min(width, COARSE_PX)
            raw = self._raw(whole, shape=thin).ravel()
        values = blanked(raw, nodata=nodata)
        check_values(values[values != 0], scale=scale, source=self.name)
        return to_dn(raw, nodata=nodata, scale=scale, offset_dn=0)

    def native(
        self, window: Window, fit: Fit, numbers: Numbers, *, threads: int = 1
    ) -> NDArray[np.uint16]:
        """Return digital numbers of its own pixels that a window sees.

        Args:
            window: Pixels of the 10 m grid.
            fit: How that grid lies on the file's.
            numbers: How values become digital numbers.
            threads: Threads GDAL decodes with.

        """
        return to_dn(
            self._raw(window, threads=threads)
            if fit.same
            else self._spanned(window, fit, threads=threads),
            nodata=self._nodata,
            scale=numbers.scale,
            offset_dn=numbers.offset_dn,
        )

    def nearest(self, window: Window, fit: Fit) -> NDArray[Any]:
        """Return the file's value that each pixel of the 10 m grid lies in."""
        return nearest(self._spanned(window, fit), fit, window)

    def _spanned(self, window: Window, fit: Fit, *, threads: int = 1) -> NDArray[Any]:
        """Return the file's values that a window of the 10 m grid sees."""
        top, bottom = fit.rows.span(window.row, window.height)
        left, right = fit.cols.span(window.col, window.width)
        if bottom == top or right == left:
            return np.zeros((bottom - top, right - left), dtype=self.kind)
        place = Window(row=top, col=left, height=bottom - top, width=right - left)
        return self._raw(place, threads=threads)

    def _raw(
        self,
        window: Window,
        *,
        threads: int = 1,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Return values in the file's own pixels, thinned out to a shape if given."""
        return read_raster(
            self.dataset,
            self.number,
            window,
            threads=threads,
            name=self.name,
            shape=shape,
        )

    @property
    def _nodata(self) -> float | None:
        value: float | None = self.dataset.nodatavals[self.number - 1]
        return value


def open_band(
    file: BandFile, *, threads: int, drivers: Sequence[str] | None
) -> OpenBand:
    """Open a band's file.

    Raises:
        SceneError: If it cannot be opened, or lies nowhere.
        BandError: If it has too few bands.

    """
    name = shown(file.path).rpartition("/")[2]
    dataset = open_raster(
        file.path,
        threads=threads,
        drivers=drivers,
        hint="the file may be cut off; compare it with its source",
    )
    with ExitStack() as closing:  # unless all goes well
        closing.callback(dataset.close)
        if dataset.count < file.number:
            raise BandError(
                f"`{name}` has {dataset.count} bands, its item tells of {file.number}",
                hint="the item may be of another file",
            )
        geobox = read_geobox(dataset, source=name)
        closing.pop_all()
    return OpenBand(name=name, dataset=dataset, number=file.number, geobox=geobox)
