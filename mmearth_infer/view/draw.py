"""A store as a picture: three components as colours, or likeness to one cell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine

from mmearth_infer.disk import check_files, check_suffix
from mmearth_infer.view.basis import (
    COLOURS,
    fit_basis,
    load_basis,
    save_basis,
)
from mmearth_infer.view.blocks import block_means
from mmearth_infer.view.click import check_display, click_place
from mmearth_infer.view.colours import paint_ramp, paint_rgb
from mmearth_infer.view.picture import SUFFIXES, files_of, write_picture
from mmearth_infer.view.sample import SAMPLE_CELLS
from mmearth_infer.view.similarity import cosine, find_cell, unit_vector
from mmearth_infer.write.open_store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.view.similarity import Place
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.open_store import Embedding

MAX_PX: Final = 2000
"""Most pixels on the longer side of a picture."""

LIKENESS: Final = (2.0, 99.5)
"""Percentiles of the cosine that become the first and the last colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewConfig:
    """What is drawn, and where it goes."""

    store: Where
    """A finished store."""

    out: Path
    """The picture, `.png` or `.tif`."""

    stage: int | None = None
    """Stage of the encoder; None for the deepest the store holds."""

    similar_to: Place | None = None
    """Draw likeness to the cell there; None for three components as colours."""

    click: bool = False
    """Show the components in a window, and draw likeness to the place clicked last."""

    basis: Path | None = None
    """A basis to use; None to compute one."""

    save_basis: Path | None = None
    """Where the basis goes; None to keep none."""

    max_px: int = MAX_PX
    """Most pixels on the longer side."""

    zoom: int = 1
    """Pixels a side of a cell, or of a block of cells where they are too many."""

    sample_cells: int = SAMPLE_CELLS
    """About how many cells a basis is computed from."""

    overwrite: bool = False
    """Replace files that are there."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """What the picture says besides, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    """What was drawn."""

    picture: str
    """The picture."""

    height_px: int
    """Rows of it."""

    width_px: int
    """Columns of it."""

    cells_per_px: float
    """Cells a side of a pixel; below 1 where they were enlarged."""

    stage: int | None
    """Stage of the encoder."""

    shown: str
    """`components` or `similarity`."""

    similar_to: str | None
    """Place of the cell that was compared with, `X,Y`; None for components."""

    explained: tuple[float, ...]
    """Share of the variance in red, green and blue, where they were computed here."""

    low: float | None
    """Cosine of the first colour; None for components."""

    high: float | None
    """Cosine of the last colour; None for components."""

    basis: str | None
    """File of the basis; None if none was read or written."""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A picture, and what its colours mean."""

    rgba_4HW: NDArray[np.uint8]  # noqa: N815 -- an array's name carries its axes
    """A pixel for each block of cells."""

    explained: tuple[float, ...] = ()
    """As in `Viewed`."""

    low: float | None = None
    """Likewise."""

    high: float | None = None
    """Likewise."""


def view(config: ViewConfig) -> Viewed:
    """Draw a store.

    Held at a time: a chunk, the sample, and the picture.

    Raises:
        MissingExtraError: If a window is asked for, and matplotlib is not installed.
        StoreError: If the store cannot be read, holds nothing there, the basis is of
            another model, an output is there or cannot be written, or there is no
            display for a window.

    """
    check_suffix(config.out, SUFFIXES, "a .png, or a .tif for a GeoTIFF")
    outputs = [*files_of(config.out), config.save_basis]
    check_files(outputs, overwrite=config.overwrite)
    if config.click:
        check_display()
    embedding = open_store(config.store, config.stage)
    box = embedding.geobox
    side = -(-max(box.height, box.width) // max(1, config.max_px // config.zoom))
    place, basis = config.similar_to, None
    if place is not None:
        drawn = _similarity(embedding, place, side)
    else:
        drawn = _components(embedding, config, side)
        basis = config.save_basis or config.basis
        if config.click:
            place, drawn = _clicked(embedding, drawn, side)
    rgba_4HW = drawn.rgba_4HW.repeat(config.zoom, axis=1).repeat(config.zoom, axis=2)
    shown = _shown(box, rgba_4HW, side / config.zoom)
    write_picture(config.out, rgba_4HW, shown, config.tags)
    return Viewed(
        picture=str(config.out),
        height_px=rgba_4HW.shape[1],
        width_px=rgba_4HW.shape[2],
        cells_per_px=side / config.zoom,
        stage=embedding.stage,
        shown="components" if place is None else "similarity",
        similar_to=None if place is None else str(place),
        explained=drawn.explained,
        low=drawn.low,
        high=drawn.high,
        basis=None if basis is None else str(basis),
    )


def _shown(box: GeoBox, rgba_4HW: NDArray[np.uint8], cells_per_px: float) -> GeoBox:
    """Return the grid of a picture of a grid of cells."""
    return replace(
        box,
        transform=box.transform @ Affine.scale(cells_per_px),
        height=rgba_4HW.shape[1],
        width=rgba_4HW.shape[2],
    )


def _components(embedding: Embedding, config: ViewConfig, side: int) -> _Drawn:
    """Draw three components; the variance they hold is known where they are new."""
    explained: tuple[float, ...]
    if config.basis is None:
        basis = fit_basis(embedding, config.sample_cells)
        explained = basis.explained
    else:
        explained = ()  # it says nothing of this store
        basis = load_basis(config.basis)
        basis.check(embedding, str(config.basis))
    if config.save_basis is not None:
        save_basis(basis, config.save_basis)
    colours_3HW = block_means(embedding, side, COLOURS, basis.colours)
    return _Drawn(rgba_4HW=paint_rgb(colours_3HW), explained=explained)


def _similarity(embedding: Embedding, place: Place, side: int) -> _Drawn:
    """Draw likeness to a cell."""
    unit_D = unit_vector(embedding, *find_cell(embedding, place))
    cosine_1HW = block_means(
        embedding, side, 1, lambda features_Dhw: cosine(features_Dhw, unit_D)
    )
    low, high = map(float, np.nanpercentile(cosine_1HW, LIKENESS))
    low = min(low, high - 1e-6)  # where every cell is alike
    rgba_4HW = paint_ramp((cosine_1HW[0] - low) / (high - low))
    return _Drawn(rgba_4HW=rgba_4HW, low=low, high=high)


def _clicked(
    embedding: Embedding, components: _Drawn, side: int
) -> tuple[Place, _Drawn]:
    """Let a place be clicked, and return it with likeness to it."""
    last = components

    def likeness(place: Place) -> NDArray[np.uint8]:
        nonlocal last
        last = _similarity(embedding, place, side)
        return last.rgba_4HW

    shown = _shown(embedding.geobox, components.rgba_4HW, side)
    place = click_place(components.rgba_4HW, shown, likeness)
    return place, last
