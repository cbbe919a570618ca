"""A scene whose bands lie on one grid, in a file or in memory: how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmearth_infer.grid.window import Window
from mmearth_infer.read.acquired import find_acquired
from mmearth_infer.read.digital import blanked, check_values, to_dn
from mmearth_infer.read.georeference import check_resolution
from mmearth_infer.read.naming import name_bands, pick_bands
from mmearth_infer.read.offset import check_scaled, darkest_dn, decide_offset
from mmearth_infer.read.product import decide_level, product_facts
from mmearth_infer.read.raster import COARSE_PX, sample_windows
from mmearth_infer.seams import Scene, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.read.options import SceneOptions


class Raster(Protocol):
    """Bands of one number type on one grid, and what is said about them."""

    @property
    def name(self) -> str:
        """Its name, which may be that of a product."""
        ...

    @property
    def descriptions(self) -> Sequence[str | None]:
        """What each band is called; None where nothing says so."""
        ...

    @property
    def geobox(self) -> GeoBox:
        """Where it lies."""
        ...

    @property
    def nodata(self) -> float | None:
        """Value that means nothing was measured, beside 0 and NaN."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """What it says of its product."""
        ...

    @property
    def offsets_dn(self) -> Sequence[float]:
        """What it says must be added to each band, in digital numbers."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of it."""
        ...

    @property
    def fingerprint(self) -> str:
        """What tells it from a changed one."""
        ...

    def values(
        self,
        indexes: Sequence[int],
        window: Window,
        *,
        shape: tuple[int, int] | None = None,
    ) -> NDArray[Any]:
        """Return its own values, `(C, H, W)`.

        Args:
            indexes: Bands, from 1.
            window: Which pixels.
            shape: Height and width to thin out to; None for every pixel.

        """
        ...


class OneGridSource(Source):
    """A raster as a source."""

    def __init__(
        self, raster: Raster, *, options: SceneOptions, wanted: Sequence[str] | None
    ) -> None:
        """Find bands, level, offset and place; refuse what cannot be embedded.

        Args:
            raster: The pixels, and what is said about them.
            options: What the user said about it.
            wanted: Bands to give, in order; None for all that have a name.

        Raises:
            SceneError: If it cannot be read, or not as asked.

        """
        self._raster, name = raster, raster.name
        naming = name_bands(raster.descriptions, options.bands, source=name)
        bands = tuple(naming.index) if wanted is None else tuple(wanted)
        self._indexes = pick_bands(naming, bands, source=name)
        self._nodata = raster.nodata
        self._scale = options.scale
        geobox = raster.geobox
        notes = check_resolution(geobox, allow=options.allow_resolution, source=name)
        if naming.warning:
            notes = (naming.warning, *notes)
        tags = raster.tags
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
            warnings=(*notes, *raster.warnings),
        )

    def _band_offsets_dn(self) -> list[float]:
        """Return what is said of each band that is read."""
        offsets = self._raster.offsets_dn
        return [offsets[n - 1] for n in self._indexes]

    def _sample(self) -> NDArray[Any]:
        """Return `(C, P)` values from five places on each diagonal of the scene.

        Values that mean nothing was measured are 0.
        """
        box = self._raster.geobox
        parts = [
            self._raster.values(self._indexes, window).reshape(len(self._indexes), -1)
            for window in sample_windows(box.height, box.width)
        ]
        sample = blanked(np.concatenate(parts, axis=1), nodata=self._nodata)
        return sample if sample.any() else self._coarse_sample()

    def _coarse_sample(self) -> NDArray[Any]:
        """Return `(C, P)` values from all over the scene, which costs reading it."""
        box = self._raster.geobox
        shape = (min(box.height, COARSE_PX), min(box.width, COARSE_PX))
        whole = Window(row=0, col=0, height=box.height, width=box.width)
        raw = self._raster.values(self._indexes, whole, shape=shape)
        return blanked(raw.reshape(len(self._indexes), -1), nodata=self._nodata)

    @property
    def fingerprint(self) -> str:
        """What tells the pixels from changed ones."""
        return self._raster.fingerprint

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW` of a window inside the scene."""
        return self._to_dn(self._raster.values(self._indexes, window))

    def _to_dn(self, raw: NDArray[Any]) -> NDArray[np.uint16]:
        return to_dn(
            raw, nodata=self._nodata, scale=self._scale, offset_dn=self._offset_dn
        )
