"""Merges the stores of a zone into one, strip by strip; `zones.LAW` says what it is.

What is held at any time is one strip of one panel, and what one scene has of it. Strips
that no scene reaches are neither computed nor written.

Shapes: D channels, h w cells of a strip in one panel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.window import Window
from mmearth_infer.jobs.pieces import pieces_of
from mmearth_infer.jobs.zones import encoding_of
from mmearth_infer.read.fingerprint import files_fingerprint
from mmearth_infer.write.encode import StoredStrip
from mmearth_infer.write.layout import COMPLETE, Layer
from mmearth_infer.write.ledger import differences, read_ledger
from mmearth_infer.write.metadata import ROOT, said_by
from mmearth_infer.write.open_store import open_store, stages_of
from mmearth_infer.write.place import Folder
from mmearth_infer.write.work import work_at
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.jobs.pieces import Piece
    from mmearth_infer.jobs.zones import Zone
    from mmearth_infer.write.ledger import Job
    from mmearth_infer.write.open_store import Embedding

PANEL_BYTES: Final = 64 * 2**20
"""Values of a strip that are held at once."""

MOST_OPEN: Final = 64
"""Stores that stay open between strips."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Map:
    """One of the maps that are merged."""

    layer: Layer
    """What it is."""

    stage: int | None
    """Stage of the encoder; None for the only one of a store."""

    factor: int
    """How many of its cells a side make one of the coarsest map."""


class _Scenes:
    """The stores of a zone, opened when they are read, and closed for others."""

    def __init__(self, zone: Zone) -> None:
        """Open none yet."""
        self.stores, self.places = zone.stores, zone.places
        self.opened = lru_cache(maxsize=MOST_OPEN)(self._open)

    def _open(self, number: int, stage: int | None) -> Embedding:
        """Open a stage of the store of a scene."""
        return open_store(self.stores[number], stage)


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
    scenes = _Scenes(zone)
    maps = _maps(zone, scenes)
    with _sink(zone, [one.layer for one in maps]) as sink:
        width = _panel_cells(maps, sink.chunk_cells)
        pieces = list(pieces_of(zone, height=sink.chunk_cells, width=width))
        if not sink.is_complete:
            cols = {piece.window.col for piece in pieces}
            missing = {col: sink.missing(col) for col in cols}
            for done, piece in enumerate(pieces, start=1):
                if any(piece.window.row in rows for rows in missing[piece.window.col]):
                    owner_hw = _owners(piece, scenes, maps[-1])
                    sink.write_stored(
                        _strip(piece, scenes, one, owner_hw) for one in maps
                    )
                if tell is not None:
                    tell(done, len(pieces))
            sink.finish()
    return Merged(
        scenes=len(zone.stores),
        cells=zone.box.pixels,
        valid_cells=_valid_cells(zone.out, pieces),
        complete=sink.is_complete,
    )


def _maps(zone: Zone, scenes: _Scenes) -> list[_Map]:
    """Return the maps of the mosaic, like those of the first scene."""
    stages = stages_of(zone.stores[0]) or (None,)
    opened = [scenes.opened(0, stage) for stage in stages]
    strides = [one.stride_px or 1 for one in opened]
    factors = [strides[-1] // stride_px for stride_px in strides]
    return [
        _Map(layer=_layer(zone, store, factor), stage=stage, factor=factor)
        for store, stage, factor in zip(opened, stages, factors, strict=True)
    ]


def _layer(zone: Zone, store: Embedding, factor: int) -> Layer:
    """Return a map of the mosaic, like that of a scene's store."""
    box = zone.box
    geoemb = {
        key.removeprefix("geoemb:"): value
        for key, value in store.attributes.items()
        if key.startswith("geoemb:")
    }
    scenes = [entry["name"] for entry in zone.provenance["mosaic"]["scenes"]]
    return Layer(
        group=store.group_path,
        box=replace(
            box,
            transform=box.transform @ Affine.scale(1 / factor),
            height=box.height * factor,
            width=box.width * factor,
        ),
        stride_px=store.stride_px or 1,
        channels=store.channels,
        encoding=encoding_of(store),
        geoemb={**geoemb, "source_data": scenes},
    )


def _sink(zone: Zone, layers: Sequence[Layer]) -> ZarrSink:
    """Open the mosaic: complete, gone on with, or begun in place of another.

    Raises:
        StoreError: If it is not taken.

    """
    stores = [files_fingerprint([path / ROOT]) for path in zone.stores]
    job = {**zone.provenance, "stores": stores}
    work = work_at(zone.out, overwrite=True)  # puts right what a kill left
    begun = _begun_from(zone.out) if work.begun else None
    goes_on = begun is None or not differences(begun, job)
    is_there = begun is None and work.taken and _is_current(zone)
    return ZarrSink(
        zone.out,
        layers=layers,
        provenance=zone.provenance,
        job=job,
        overwrite=not is_there and (work.taken or not goes_on),
        resume=goes_on,
        layout=zone.provenance["output"].get("layout", "plain"),
    )


def _begun_from(out: Path) -> Job:
    """Return what a mosaic was begun from; nothing if that cannot be told."""
    out = out.resolve()
    try:
        return read_ledger(out.with_name(f"{out.name}.ledger"))[0]
    except StoreError:
        return {}


def _is_current(zone: Zone) -> bool:
    """Tell whether the mosaic is of these stores, and none was made after it."""
    said = said_by(Folder(zone.out))
    if said is None or differences(said, {COMPLETE: True, **zone.provenance}):
        return False
    made = (zone.out / ROOT).stat().st_mtime_ns
    return all((path / ROOT).stat().st_mtime_ns <= made for path in zone.stores)


def _panel_cells(maps: Sequence[_Map], side: int) -> int:
    """Return the most columns that are held at once, a multiple of chunks."""
    square_bytes = sum(
        one.layer.channels
        * one.layer.encoding.dtype.itemsize
        * (side * one.factor) ** 2
        for one in maps
    )
    return max(PANEL_BYTES // square_bytes, 1) * side


def _owners(piece: Piece, scenes: _Scenes, coarsest: _Map) -> NDArray[np.int32]:
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
    piece: Piece, scenes: _Scenes, one: _Map, owner_hw: NDArray[np.int32]
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
