"""Cuts a scene into swaths, and swaths into batches of tiles."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mmearth_infer.grid.validity import present, valid_share
from mmearth_infer.grid.window import Window
from mmearth_infer.seams import Batch, Swath
from mmearth_infer.stitch.weights import needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import Blend, Span, Tile, TilePlan
    from mmearth_infer.seams import Source


def read_swaths(
    source: Source, plan: TilePlan, rows: Sequence[Span]
) -> Iterator[Swath]:
    """Read the scene once from north to south, one row of tiles at a time.

    Rows of pixels that two swaths share are read once and copied.

    Args:
        source: The scene.
        plan: The tiling, or a panel of it.
        rows: Rows of tiles that are needed.

    """
    bands, geobox = len(source.scene.bands), source.scene.geobox
    before: NDArray[np.uint16] | None = None
    read_to = 0
    for row in rows:
        seen = plan.swath_cells(row).times(plan.stride_px)
        dn_CHW = np.zeros((bands, seen.height, seen.width), dtype=np.uint16)
        shared = max(read_to - seen.row, 0)
        if before is not None and shared:
            dn_CHW[:, :shared] = before[:, before.shape[1] - shared :]
        top = seen.row + shared
        read_to = seen.row + seen.height
        if top < read_to:
            fresh = Window(
                row=top, col=seen.col, height=read_to - top, width=seen.width
            ).clipped(geobox.height, geobox.width)
            place = (slice(None), *fresh.seen_from(seen).slices)
            dn_CHW[place] = source.read(fresh)
        inside = seen.clipped(geobox.height, geobox.width)
        wanted_HW = source.wanted(inside)
        if wanted_HW is not None:
            margin = (
                (0, seen.height - inside.height),
                (0, seen.width - inside.width),
            )
            wanted_HW = np.pad(wanted_HW, margin)
        before = dn_CHW
        yield Swath(
            row=row,
            dn_CHW=dn_CHW,
            present_HW=present(dn_CHW, wanted_HW),
        )


def cut_batches(
    swath: Swath, plan: TilePlan, *, size: int, blend: Blend
) -> Iterator[Batch]:
    """Yield the tiles of a swath that any cell with data needs, `size` at a time."""
    frame = plan.swath_cells(swath.row)
    valid_hw = valid_share(swath.present_HW, plan.stride_px)
    waiting: list[Tile] = []
    for tile in plan.tiles(swath.row):
        if needed(tile, valid_hw[tile.cells.seen_from(frame).slices], blend):
            waiting.append(tile)
        if len(waiting) == size:
            yield _stack(swath, frame, waiting, plan.stride_px)
            waiting = []
    if waiting:
        yield _stack(swath, frame, waiting, plan.stride_px)


def _stack(swath: Swath, frame: Window, tiles: list[Tile], stride_px: int) -> Batch:
    """Return the tiles' pixels; they are copied only where tiles are not evenly apart.

    Otherwise the batch is a view, in which pixels that tiles share stand once. The
    engine copies them anyway, to where it computes.
    """
    seen = [tile.cells.seen_from(frame).times(stride_px) for tile in tiles]
    apart = {right.col - left.col for left, right in pairwise(seen)} or {0}
    tiles_CHW = [swath.dn_CHW[:, *window.slices] for window in seen]
    first_CHW = tiles_CHW[0]
    if len(apart) == 1:
        dn_NCHW = as_strided(
            first_CHW,
            shape=(len(tiles), *first_CHW.shape),
            strides=(apart.pop() * first_CHW.strides[-1], *first_CHW.strides),
            writeable=False,
        )
    else:
        dn_NCHW = np.stack(tiles_CHW)
    return Batch(tiles=tuple(tiles), dn_NCHW=dn_NCHW)
