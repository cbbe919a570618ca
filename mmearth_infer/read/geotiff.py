"""Multi-band rasters through GDAL: GeoTIFF, COG, and whatever else GDAL opens."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rasterio.enums import MaskFlags

from mmearth_infer.grid.window import Window
from mmearth_infer.read.acquired import find_acquired
from mmearth_infer.read.digital import blanked, check_values, to_dn
from mmearth_infer.read.fingerprint import files_fingerprint
from mmearth_infer.read.georeference import check_resolution, read_geobox
from mmearth_infer.read.naming import name_bands, pick_bands
from mmearth_infer.read.offset import check_scaled, darkest_dn, decide_offset
from mmearth_infer.read.product import decide_level, product_facts
from mmearth_infer.read.raster import (
    COARSE_PX,
    open_raster,
    read_raster,
    sample_windows,
)
from mmearth_infer.seams import Scene, Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmearth_infer.read.options import SceneOptions


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
        self._dataset = open_raster(path, threads=threads)
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
        check_scaled(offset, asked=options.offset, scale=options.scale, source=name)
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
            acquired=find_acquired(name, tags),
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
            for window in sample_windows(self._dataset.height, self._dataset.width)
        ]
        sample = blanked(np.concatenate(parts, axis=1), nodata=self._nodata)
        return sample if sample.any() else self._coarse_sample()

    def _coarse_sample(self) -> NDArray[Any]:
        """Return `(C, P)` values from all over the scene, which costs reading it."""
        dataset = self._dataset
        shape = (min(dataset.height, COARSE_PX), min(dataset.width, COARSE_PX))
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
        return read_raster(
            self._dataset,
            self._indexes,
            window,
            threads=self._threads,
            name=self._name,
            shape=shape and (len(self._indexes), *shape),
        )

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
