"""Merges the stores of a zone into one, strip by strip; `zones.LAW` says what it is.

What is held at any time is one strip of one panel, and what one scene has of it. Strips
that no scene reaches are neither computed nor written.

Shapes: D channels, h w cells of a strip in one panel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.grid.window import Window
from mmearth_infer.jobs.mosaic_store import Scenes, maps_of, open_mosaic
from mmearth_infer.jobs.pieces import pieces_of
from mmearth_infer.write.encode import StoredStrip
from mmearth_infer.write.open_store import open_store
from mmearth_infer.write.part import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.jobs.mosaic_store import MosaicMap
    from mmearth_infer.jobs.pieces import Piece
    from mmearth_infer.jobs.zones import Zone
    from mmearth_infer.write.zarr_store import ZarrSink

PANEL_BYTES: Final = 64 * 2**20
"""Values of a strip that are held at once."""

NOBODY: Final = -1
"""Owner of cells without data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What became of a zone."""

    scenes: int
    """Scenes that were merged."""

    cells: int
    """Cells of its coarsest map."""

    valid_cells: int
    """Those with data."""

    complete: bool
    """Whether it was there already, of the same stores."""


def merge_zone(zone: Zone, *, tell: Callable[[int, int], None] | None = None) -> Merged:
    """Make the mosaic of a zone, or go on with it.

    A mosaic of other stores, or of stores that were made anew, is replaced.

    Args:
        zone: The stores, and what becomes of them.
        tell: Is told how many strips are done, and of how many.

    Raises:
        StoreError: If a store cannot be read, the mosaic is not taken, another run
            writes it, or something else has its name.

    """
    scenes = Scenes(zone)
    maps = maps_of(zone, scenes)
    with open_mosaic(zone, [one.layer for one in maps]) as sink:
        pieces = _pieces(zone, maps, sink)
        if not sink.is_complete:
            _merge(pieces, scenes, maps, sink, tell)
            sink.finish()
    return Merged(
        scenes=len(zone.stores),
        cells=zone.box.pixels,
        valid_cells=_valid_cells(zone.out, pieces),
        complete=sink.is_complete,
    )


def begin_zone(zone: Zone, *, parts: int) -> tuple[range, ...]:
    """Create the mosaic of a zone, and return the rows of its parts.

    Args:
        zone: The stores, and what becomes of them.
        parts: How many at most; a part has one row of chunks at least.

    Returns:
        Nothing where the mosaic is there, or is one row of chunks.

    Raises:
        StoreError: As `merge_zone` would.

    """
    maps = maps_of(zone, Scenes(zone))
    with open_mosaic(zone, [one.layer for one in maps]) as sink:
        rows = cut(zone.box.height, chunk=sink.chunk_cells, parts=parts)
        if sink.is_complete or len(rows) == 1:
            return ()
        sink.keep()
        return rows


def merge_part(zone: Zone, rows: range) -> None:
    """Merge some rows of a mosaic that is begun.

    Args:
        zone: The stores, and what becomes of them.
        rows: Rows of cells, as `begin_zone` gave them.

    Raises:
        StoreError: As `merge_zone` would.

    """
    scenes = Scenes(zone)
    maps = maps_of(zone, scenes)
    with open_mosaic(zone, [one.layer for one in maps], part=rows) as sink:
        if not sink.is_complete:
            _merge(_pieces(zone, maps, sink), scenes, maps, sink, None)


def _pieces(zone: Zone, maps: Sequence[MosaicMap], sink: ZarrSink) -> list[Piece]:
    """Return the strips of a mosaic that any scene reaches."""
    width = _panel_cells(maps, sink.chunk_cells)
    return list(pieces_of(zone, height=sink.chunk_cells, width=width))


def _merge(
    pieces: Sequence[Piece],
    scenes: Scenes,
    maps: Sequence[MosaicMap],
    sink: ZarrSink,
    tell: Callable[[int, int], None] | None,
) -> None:
    """Write the strips that the sink has not got."""
    cols = {piece.window.col for piece in pieces}
    missing = {col: sink.missing(col) for col in cols}
    for done, piece in enumerate(pieces, start=1):
        if any(piece.window.row in rows for rows in missing[piece.window.col]):
            owner_hw = _owners(piece, scenes, maps[-1])
            sink.write_stored(_strip(piece, scenes, one, owner_hw) for one in maps)
        if tell is not None:
            tell(done, len(pieces))


def _panel_cells(maps: Sequence[MosaicMap], side: int) -> int:
    """Return the most columns that are held at once, a multiple of chunks."""
    square_bytes = sum(
        one.layer.channels
        * one.layer.encoding.dtype.itemsize
        * (side * one.factor) ** 2
        for one in maps
    )
    return max(PANEL_BYTES // square_bytes, 1) * side


def _owners(piece: Piece, scenes: Scenes, coarsest: MosaicMap) -> NDArray[np.int32]:
    """Return `owner_hw`, the number of the scene that each cell is of, by the law."""
    shape = piece.window.height, piece.window.width
    owner_hw = np.full(shape, NOBODY, np.int32)
    best_hw = np.zeros(shape, np.float32)
    for number in piece.scenes:
        place = scenes.places[number]
        shared = place.shared_with(piece.window)
        assert shared is not None
        here = shared.seen_from(piece.window).slices
        store = scenes.opened(number, coarsest.stage)
        valid_hw = store.read_valid(shared.seen_from(place))
        better_hw = valid_hw > best_hw[here]
        best_hw[here][better_hw] = valid_hw[better_hw]
        owner_hw[here][better_hw] = number
    return owner_hw


def _strip(
    piece: Piece, scenes: Scenes, one: MosaicMap, owner_hw: NDArray[np.int32]
) -> StoredStrip:
    """Return a strip of a map, each cell as the store of its owner has it.

    Args:
        piece: Where.
        scenes: The stores.
        one: The map.
        owner_hw: Owners of the cells of the coarsest map.

    """
    window, encoding = piece.window.times(one.factor), one.layer.encoding
    owner_hw = owner_hw.repeat(one.factor, axis=0).repeat(one.factor, axis=1)
    shape = (one.layer.channels, *owner_hw.shape)
    values_Dhw = np.full(shape, encoding.nodata, encoding.dtype)
    valid_hw = np.full(owner_hw.shape, np.nan, np.float32)
    scale_hw = np.full_like(valid_hw, np.nan) if encoding.per_cell else None
    for number in piece.scenes:
        place = scenes.places[number].times(one.factor).seen_from(window)
        reached = place.shared_with(window.seen_from(window))
        assert reached is not None
        np.fmax(valid_hw[reached.slices], 0, out=valid_hw[reached.slices])
        frame = _frame(owner_hw == number)
        if frame is None:
            continue
        store, theirs = scenes.opened(number, one.stage), frame.seen_from(place)
        rows, cols = frame.slices
        mine_hw = owner_hw[rows, cols] == number
        np.copyto(values_Dhw[:, rows, cols], store.read_stored(theirs), where=mine_hw)
        np.copyto(valid_hw[rows, cols], store.read_valid(theirs), where=mine_hw)
        of_cells = store.read_scale(theirs)
        if scale_hw is not None and of_cells is not None:
            np.copyto(scale_hw[rows, cols], of_cells, where=mine_hw)
    return StoredStrip(
        row=window.row,
        col=window.col,
        values_DhW=values_Dhw,
        scale_hW=scale_hw,
        valid_hW=valid_hw,
    )


def _frame(mine_hw: NDArray[np.bool_]) -> Window | None:
    """Return the smallest window that holds all that is true, None for nothing."""
    rows, cols = (np.flatnonzero(mine_hw.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return Window(
        row=int(rows[0]),
        col=int(cols[0]),
        height=int(rows[-1] - rows[0]) + 1,
        width=int(cols[-1] - cols[0]) + 1,
    )


def _valid_cells(out: Path, pieces: Sequence[Piece]) -> int:
    """Count the cells with data of a finished mosaic, without what no scene reaches."""
    store = open_store(out)
    return sum(int((store.read_valid(p.window) > 0).sum()) for p in pieces)
