"""Multi-band rasters through GDAL: GeoTIFF, COG, and whatever else GDAL opens."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import rasterio
from rasterio import windows
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.digital import blanked, check_values, to_dn
from mmearth_infer.read.fingerprint import files_fingerprint
from mmearth_infer.read.georeference import check_resolution, read_geobox
from mmearth_infer.read.naming import name_bands, pick_bands
from mmearth_infer.read.offset import darkest_dn, decide_offset
from mmearth_infer.read.product import decide_level, product_facts
from mmearth_infer.seams import Scene, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from mmearth_infer.read.options import SceneOptions

GDAL_CACHE_BYTES: Final = 256 * 2**20
"""GDAL's block cache: one row of 512 px blocks of a Sentinel-2 tile is 135 MB.

GDAL's own default is 5 % of the machine's memory, which would let memory grow with
the scene on a large machine.
"""

_COARSE_PX: Final = 1024
_SAMPLE_PX: Final = 256
_SAMPLE_PLACES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_HINT_CORRUPT: Final = "the file may be cut off or damaged; compare it with its source"


class GeoTiffSource(Source):
    """A raster file with all bands on one grid."""

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
        self._name = Path(path).name.partition("?")[0]  # what follows may be a secret
        self._threads = threads
        self._dataset = _open(path, threads=threads)
        with ExitStack() as closing:  # unless all goes well
            closing.callback(self._dataset.close)
            self._decide(options, wanted)
            closing.pop_all()

    def _decide(self, options: SceneOptions, wanted: Sequence[str] | None) -> None:
        """Find bands, level, offset and place; refuse what cannot be embedded."""
        dataset, name = self._dataset, self._name
        naming = name_bands(dataset.descriptions, options.bands, source=name)
        bands = tuple(naming.index) if wanted is None else tuple(wanted)
        self._indexes = pick_bands(naming, bands, source=name)
        self._nodata = dataset.nodata
        self._scale = options.scale
        geobox = read_geobox(dataset, source=name)
        notes = check_resolution(geobox, allow=options.allow_resolution, source=name)
        if naming.warning:
            notes = (naming.warning, *notes)
        if MaskFlags.per_dataset in dataset.mask_flag_enums[0]:
            notes = (
                *notes,
                f"`{name}` has a mask, which is not used: only nodata is",
            )
        tags = dataset.tags()
        facts = product_facts(name, tags)
        level, level_evidence = decide_level(
            options.product, facts, naming.index, source=name
        )
        sample = self._sample()
        check_values(sample[sample != 0], scale=options.scale, source=name)
        self._offset_dn = 0
        offset = decide_offset(
            options.offset,
            tags=tags,
            facts=facts,
            band_offsets=[] if options.scale else self._band_offsets_dn(),
            darkest_dn=darkest_dn(self._to_dn(sample)),
            source=name,
        )
        if options.scale and options.offset == "auto" and offset.dn:
            raise SceneError(
                f"`{name}` is scaled by --scale, and an offset of {offset.dn} is named "
                f"by {offset.evidence}: it may be applied already",
                hint="--offset none if its values are right, --offset -1000 if not",
            )
        self._offset_dn = offset.dn
        self.scene = Scene(
            name=name,
            geobox=geobox,
            bands=bands,
            bands_evidence=naming.evidence,
            level=level,
            level_evidence=level_evidence,
            offset_dn=offset.dn,
            offset_evidence=offset.evidence,
            scale=options.scale,
            warnings=notes,
        )

    def _band_offsets_dn(self) -> list[float]:
        """Return each band's offset tag in digital numbers."""
        return [
            self._dataset.offsets[n - 1] / (self._dataset.scales[n - 1] or 1.0)
            for n in self._indexes
        ]

    def _sample(self) -> NDArray[Any]:
        """Return `(C, P)` values from five places on each diagonal of the scene.

        Values that mean nothing was measured are 0.
        """
        parts = [
            self._read(window).reshape(len(self._indexes), -1)
            for window in _sample_windows(self._dataset.height, self._dataset.width)
        ]
        sample = blanked(np.concatenate(parts, axis=1), nodata=self._nodata)
        return sample if sample.any() else self._coarse_sample()

    def _coarse_sample(self) -> NDArray[Any]:
        """Return `(C, P)` values from all over the scene, which costs reading it."""
        dataset = self._dataset
        shape = (min(dataset.height, _COARSE_PX), min(dataset.width, _COARSE_PX))
        whole = Window(row=0, col=0, height=dataset.height, width=dataset.width)
        raw = self._read(whole, shape=shape).reshape(len(self._indexes), -1)
        return blanked(raw, nodata=self._nodata)

    @property
    def fingerprint(self) -> str:
        """Name, sizes and times of the files that the scene consists of."""
        return files_fingerprint(self._dataset.files)

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW` of a window inside the scene."""
        return self._to_dn(self._read(window))

    def _read(
        self, window: Window, *, shape: tuple[int, int] | None = None
    ) -> NDArray[Any]:
        """Return the file's own values, thinned out to a shape if one is given."""
        place = windows.Window(window.col, window.row, window.width, window.height)
        try:
            with _gdal(self._threads):
                raw: NDArray[Any] = self._dataset.read(
                    self._indexes,
                    window=place,
                    out_shape=shape and (len(self._indexes), *shape),
                )
        except RasterioError as error:
            raise SceneError(
                f"cannot read rows {window.row} to {window.row + window.height} of "
                f"`{self._name}`: {_reason(error)}",
                hint=_HINT_CORRUPT,
            ) from error
        return raw

    def _to_dn(self, raw: NDArray[Any]) -> NDArray[np.uint16]:
        return to_dn(
            raw, nodata=self._nodata, scale=self._scale, offset_dn=self._offset_dn
        )

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def __enter__(self) -> Self:
        """Return the source, which closes at the end of the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the file."""
        self.close()


def _gdal(threads: int) -> rasterio.Env:
    """Return GDAL's settings; they hold for one thread, so each read brings them."""
    return rasterio.Env(GDAL_NUM_THREADS=str(threads), GDAL_CACHEMAX=GDAL_CACHE_BYTES)


def _open(path: str | Path, *, threads: int) -> DatasetReader:
    """Open a file for reading, or say why not."""
    try:
        with _gdal(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset: DatasetReader = rasterio.open(path, sharing=False)
    except (RasterioIOError, UnicodeError) as error:
        if "://" not in str(path) and not os.path.exists(path):  # noqa: PTH110 -- never raises
            raise SceneError(
                f"there is no file `{path}`",
                hint="check the path; `demo` is the built-in scene",
            ) from error
        raise SceneError(
            f"`{path}` is not a raster that can be read: {_reason(error)}",
            hint="give a GeoTIFF with all bands on one grid",
        ) from error
    if dataset.count == 0:
        subdatasets = len(dataset.subdatasets)
        dataset.close()
        raise SceneError(
            f"`{path}` holds no bands itself, but {subdatasets} subdatasets",
            hint="name one of them; `rio info --subdatasets` lists them",
        )
    kinds = set(dataset.dtypes)
    if len(kinds) > 1 or np.dtype(dataset.dtypes[0]).kind not in "uif":
        dataset.close()
        raise SceneError(
            f"`{path}` holds {', '.join(sorted(kinds))} pixels, not one number type",
            hint="give digital numbers as uint16",
        )
    return dataset


def _reason(error: BaseException) -> str:
    """Return GDAL's own words, which rasterio keeps as the cause, on one line."""
    root = error.__cause__ or error
    return " ".join(str(root).split())


def _sample_windows(height: int, width: int) -> Iterator[Window]:
    """Yield windows along both diagonals, corners and middle among them."""
    tall, wide = min(_SAMPLE_PX, height), min(_SAMPLE_PX, width)
    places = {
        (round(down * (height - tall)), round(across * (width - wide)))
        for down in _SAMPLE_PLACES
        for across in (down, 1 - down)
    }
    for row, col in sorted(places):
        yield Window(row=row, col=col, height=tall, width=wide)
