"""Products with one file a band, at 10, 20 and 60 m: read as one 10 m scene.

Offset and nodata are dealt with on a band's own pixels, before they are resampled,
so that a product with the +1000 gives the very pixels of one without.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from mmearth_infer.contract.bands import BANDS
from mmearth_infer.errors import BandError, SceneError
from mmearth_infer.read.acquired import find_acquired
from mmearth_infer.read.bandfile import Numbers, open_band
from mmearth_infer.read.fingerprint import files_fingerprint
from mmearth_infer.read.georeference import check_resolution
from mmearth_infer.read.naming import Naming, pick_bands
from mmearth_infer.read.offset import (
    Offset,
    check_scaled,
    darkest_dn,
    offset_by_pixels,
    stated_offset,
)
from mmearth_infer.read.product import decide_level, product_facts
from mmearth_infer.read.resample import Fit, bilinear, fit_grid
from mmearth_infer.seams import Scene, Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.window import Window
    from mmearth_infer.read.bandfile import OpenBand
    from mmearth_infer.read.described import BandFile, Product
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.read.product import ProductFacts

REFLECTANCE_DN: Final = 10_000.0
"""Digital number of reflectance 1."""


class BandFilesSource(Source):
    """A product with a file for every band."""

    def __init__(
        self,
        product: Product,
        *,
        options: SceneOptions,
        wanted: Sequence[str] | None,
        threads: int,
    ) -> None:
        """Open the files of the bands that are wanted and decide everything.

        Args:
            product: What was found.
            options: What the user said about it.
            wanted: Bands to give, in order; None for all, by wavelength.
            threads: Threads that decode, each a file of its own, or a part of one.

        Raises:
            SceneError: If it cannot be read, or not as asked.

        """
        if options.bands:
            raise BandError(
                f"--bands names the bands of one file, `{product.name}` has a file "
                "for each",
                hint=product.hint_missing,
            )
        self._product = product
        self._threads = threads
        self._scl: tuple[OpenBand, Fit] | None = None
        with ExitStack() as closing:
            self._open_bands(closing, wanted)
            self._decide(options)
            workers = min(threads, len(self._bands))
            self._pool = closing.enter_context(ThreadPoolExecutor(workers))
            pixels = [one.geobox.pixels for one in self._bands]
            self._threads_each = threads_each(pixels, threads)
            self._coarse_first = sorted(range(len(pixels)), key=pixels.__getitem__)
            self._closing = closing.pop_all()

    def _open_bands(self, closing: ExitStack, wanted: Sequence[str] | None) -> None:
        """Open what is wanted, and a band of the finest grid to say where that lies."""
        product = self._product
        has = [band for band in BANDS if band in product.bands]
        naming = Naming(index={band: n for n, band in enumerate(has, 1)}, evidence="")
        self._names = tuple(has) if wanted is None else tuple(wanted)
        pick_bands(naming, self._names, source=product.name, hint=product.hint_missing)
        guide = min(has, key=lambda band: BANDS[band].native_px_m)
        opened: dict[str, OpenBand] = {}
        for band in dict.fromkeys((*self._names, guide)):
            opened[band] = self._open(product.bands[band])
            closing.callback(opened[band].dataset.close)
        self._finest = min(opened.values(), key=lambda one: -one.geobox.transform.e)
        self._bands = [opened[band] for band in self._names]
        self._fits = [self._fit(one) for one in self._bands]
        self._files = [file for one in opened.values() for file in one.dataset.files]

    def _open(self, file: BandFile) -> OpenBand:
        return open_band(file, threads=self._threads, drivers=self._product.drivers)

    def _fit(self, one: OpenBand) -> Fit:
        return fit_grid(
            self._finest.geobox,
            one.geobox,
            name=one.name,
            reference=self._finest.name,
        )

    def _decide(self, options: SceneOptions) -> None:
        """Find level and offset; refuse what cannot be embedded."""
        product, name = self._product, self._product.name
        box = self._finest.geobox
        notes = check_resolution(box, allow=options.allow_resolution, source=name)
        own = self._bands[0].dataset.tags().items()
        tags = {**product.tags, **{k: v for k, v in own if k not in product.tags}}
        facts = product_facts("", tags)
        level, level_evidence = decide_level(
            options.product, facts, product.bands, source=name
        )
        _check_quantification(product, options.scale)
        offset = self._decide_offset(options, tags, facts)
        check_scaled(offset, asked=options.offset, scale=options.scale, source=name)
        self._numbers = Numbers(scale=options.scale, offset_dn=offset.dn)
        self.scene = Scene(
            name=name,
            geobox=box,
            bands=self._names,
            bands_evidence=product.bands_evidence,
            level=level,
            level_evidence=level_evidence,
            offset_dn=offset.dn,
            offset_evidence=offset.evidence,
            scale=options.scale,
            acquired=find_acquired(name, tags),
            warnings=(*notes, *self._notes()),
        )

    def _decide_offset(
        self, options: SceneOptions, tags: Mapping[str, str], facts: ProductFacts
    ) -> Offset:
        """Decide the offset; pixels are read only where nothing else tells."""
        product = self._product
        known = product.offset if options.offset == "auto" else None
        offset = known or stated_offset(
            options.offset,
            tags=tags,
            facts=facts,
            band_offsets=[] if options.scale else self._band_offsets_dn(),
            source=product.name,
        )
        plain = {one.kind for one in self._bands} == {"uint16"} and not options.scale
        if offset is not None and plain:
            return offset
        samples = [one.sample(scale=options.scale) for one in self._bands]
        return offset or offset_by_pixels(darkest_dn(samples), source=product.name)

    def _band_offsets_dn(self) -> list[float]:
        """Return each band's offset, as the catalogue says, else its file."""
        return [
            self._product.bands[band].offset_dn or one.offset_dn
            for band, one in zip(self._names, self._bands, strict=True)
        ]

    def _notes(self) -> list[str]:
        """Return what a user should know of the files."""
        pairs = zip(self._bands, self._fits, strict=True)
        short = [one.name for one, fit in pairs if not fit.covers]
        masked = [one.name for one in self._bands if one.has_mask]
        notes = []
        if short:
            notes.append(
                f"{', '.join(short)} reach less far than `{self._finest.name}`: "
                "pixels at the edge are nodata in them"
            )
        if masked:
            notes.append(
                f"{', '.join(masked)} have a mask, which is not used: only nodata is"
            )
        return notes

    @property
    def fingerprint(self) -> str:
        """Names, sizes and times of the files, metadata among them."""
        scl = self._product.scl
        others = (*self._product.files, *((scl.path,) if scl else ()))
        return files_fingerprint({*self._files, *others})

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW`; what a pixel is does not depend on the window."""
        shape = (len(self._bands), window.height, window.width)
        dn_CHW = np.empty(shape, dtype=np.uint16)
        jobs = {  # so that coarse ones are resampled while the others are decoded
            self._pool.submit(self._decode, n, dn_CHW[n], window): n
            for n in self._coarse_first
        }
        try:
            for job in as_completed(jobs):
                native_HW, n = job.result(), jobs[job]
                if native_HW is not None:
                    dn_CHW[n] = bilinear(
                        native_HW, self._fits[n], window, threads=self._threads
                    )
        finally:
            for job in jobs:
                job.cancel()
        return dn_CHW

    def _decode(
        self, n: int, dn_HW: NDArray[np.uint16], window: Window
    ) -> NDArray[np.uint16] | None:
        """Return a band's own pixels; where they are at 10 m, fill them in instead."""
        fit = self._fits[n]
        native_HW = self._bands[n].native(
            window, fit, self._numbers, threads=self._threads_each[n]
        )
        if not fit.same:
            return native_HW
        dn_HW[:] = native_HW
        return None

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return `scl_HW`, the class of the pixel of SCL that each lies in.

        Raises:
            SceneError: If the product has a file of classes that cannot be used.

        """
        if self._product.scl is None:
            return None
        if self._scl is None:
            self._scl = self._open_scl(self._product.scl)
        scl, fit = self._scl
        classes_HW: NDArray[np.uint8] = scl.nearest(window, fit)
        return classes_HW

    def _open_scl(self, file: BandFile) -> tuple[OpenBand, Fit]:
        """Open the scene classes, which only masks need."""
        scl = self._open(file)
        self._closing.callback(scl.dataset.close)
        if scl.kind != "uint8":
            raise SceneError(
                f"`{scl.name}` holds {scl.kind} pixels, scene classes are uint8",
                hint="give SCL as Sentinel-2 products have it",
            )
        return scl, self._fit(scl)

    def close(self) -> None:
        """Close the files."""
        self._closing.close()

    def __enter__(self) -> Self:
        """Return the source, which closes at the end of the block."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close the files."""
        self.close()


def threads_each(pixels: Sequence[int], threads: int) -> list[int]:
    """Return how many threads decode each band: its share of the pixels, rounded up.

    A band at 10 m is a fifth of a product's pixels: with a thread a band, more threads
    than five would wait for those four.

    Args:
        pixels: Of each band.
        threads: Of all bands.

    """
    return [-(-threads * own // sum(pixels)) for own in pixels]


def _check_quantification(product: Product, scale: float | None) -> None:
    """Refuse numbers of which reflectance 1 is not 10000."""
    stated = product.quantification
    if stated is None or stated == REFLECTANCE_DN or scale:
        return
    raise SceneError(
        f"reflectance 1 is {stated:g} in `{product.name}`, the model expects "
        f"{REFLECTANCE_DN:g}",
        hint=f"pass --scale {REFLECTANCE_DN / stated:.6g}"
        if stated > 0
        else "pass the --scale that gives digital numbers",
    )
