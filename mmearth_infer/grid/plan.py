"""How a scene is cut into tiles, and which cells each tile answers for.

A tile is the window the engine sees. Its core is kept, its halo is dropped; if tiles
are blended, a part of it counts in neighbours' cells: the ramp (stitch/weights.py).
Tiles never reach beyond the grid, so that a tile's edge is either the scene's own
edge, where the core goes to the edge too, or it has a halo. Along one axis, with
tiles of 7 cells and a halo of 2:

    cells  0 1 2 3 4 5 6 7 8 9
    tile   a a a a a a a         core a: 0..4
    tile         b b b b b b b   core b: 5..9
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from mmearth_infer.errors import WindowError
from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

Blend = Literal["none", "linear", "cosine"]
"""How tiles that overlap make one map: cores side by side, or a weighted mean."""

MOST_RAMP_PX: Final = 32
"""Cells further from their tile's core see too little (docs/benchmarks/seams.md)."""


class Span(NamedTuple):
    """One tile along one axis, in cells."""

    start: int
    """First cell the engine sees."""

    core_start: int
    """First cell that is kept."""

    core_stop: int
    """Cell after the last one that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """What the engine sees at once, and what is kept of it. In cells."""

    cells: Window
    """Cells the engine sees."""

    core: Window
    """Cells it answers for."""

    ramp: int
    """Cells beyond a border with a neighbour that it has a say in, if blended."""

    def extent(self, blend: Blend) -> Window:
        """Return the cells it has a weight for: its core, or with ramps too."""
        if blend == "none":
            return self.core
        cells, core, ramp = self.cells, self.core, self.ramp
        top, left = max(core.row - ramp, cells.row), max(core.col - ramp, cells.col)
        bottom = min(core.row + core.height + ramp, cells.row + cells.height)
        right = min(core.col + core.width + ramp, cells.col + cells.width)
        return Window(row=top, col=left, height=bottom - top, width=right - left)

    def scaled(self, factor: int) -> Tile:
        """Return the same tile on a grid that is `factor` times as fine."""
        return Tile(
            cells=self.cells.times(factor),
            core=self.core.times(factor),
            ramp=self.ramp * factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """The tiling of one scene. Cores partition the grid of cells."""

    window_px: int
    """Side of a tile that was asked for; a small scene has a smaller one."""

    halo_px: int
    """Margin of a tile that is dropped."""

    ramp_px: int
    """Pixels on each side of a border of cores over which tiles are blended."""

    stride_px: int
    """Pixels a side of a cell."""

    rows: tuple[Span, ...]
    """Tiles from north to south."""

    cols: tuple[Span, ...]
    """Tiles from west to east."""

    tile_height: int
    """Rows of cells every tile has."""

    tile_width: int
    """Columns of cells every tile has."""

    panel: tuple[int, int] | None = None
    """First column of cells and the one after the last; None for those of the cores."""

    @property
    def ramp(self) -> int:
        """Cells on each side of a border of cores over which tiles are blended."""
        return self.ramp_px // self.stride_px

    @property
    def height(self) -> int:
        """Rows of cells of the grid."""
        return self.rows[-1].core_stop

    @property
    def first_col(self) -> int:
        """First column of cells; 0 but for a panel."""
        return self.panel[0] if self.panel else self.cols[0].core_start

    @property
    def width(self) -> int:
        """Columns of cells of the grid, or of the panel."""
        stop = self.panel[1] if self.panel else self.cols[-1].core_stop
        return stop - self.first_col

    @property
    def cell_count(self) -> int:
        """Number of cells that are kept."""
        return self.height * self.width

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        return len(self.rows) * len(self.cols)

    def swath_cells(self, row: Span) -> Window:
        """Return the cells that all tiles of one row see together."""
        first, last = self.cols[0].start, self.cols[-1].start
        return Window(
            row=row.start,
            col=first,
            height=self.tile_height,
            width=last + self.tile_width - first,
        )

    @property
    def tile_px(self) -> tuple[int, int]:
        """Height and width of a tile in pixels."""
        return self.tile_height * self.stride_px, self.tile_width * self.stride_px

    def tiles(self, row: Span) -> Iterator[Tile]:
        """Yield the tiles of one row, from west to east."""
        for col in self.cols:
            yield Tile(
                cells=Window(
                    row=row.start,
                    col=col.start,
                    height=self.tile_height,
                    width=self.tile_width,
                ),
                core=Window(
                    row=row.core_start,
                    col=col.core_start,
                    height=row.core_stop - row.core_start,
                    width=col.core_stop - col.core_start,
                ),
                ramp=self.ramp,
            )

    def scaled(self, factor: int) -> TilePlan:
        """Return the same tiling on a grid that is `factor` times as fine.

        Everything counted in cells is `factor` times as much; the grid still ends
        with a whole cell of the coarse one. The factor divides the stride.
        """
        assert self.stride_px % factor == 0, "a cell is whole pixels"

        rows, cols = (
            tuple(Span(*(cell * factor for cell in span)) for span in axis)
            for axis in (self.rows, self.cols)
        )
        return replace(
            self,
            stride_px=self.stride_px // factor,
            rows=rows,
            cols=cols,
            tile_height=self.tile_height * factor,
            tile_width=self.tile_width * factor,
            panel=self.panel and (self.panel[0] * factor, self.panel[1] * factor),
        )

    def panels(
        self, *, widest: int, multiple: int, blend: Blend = "none"
    ) -> Iterator[TilePlan]:
        """Cut the plan into panels side by side, from west to east.

        A panel has the tiles that any of its cells need, so that cells have the same
        value in a panel as in the whole; the panels' cells partition the grid. Tiles
        on a border are in both panels.

        Args:
            widest: Most columns of cells a panel has, at least `multiple`.
            multiple: Borders lie at multiples of this many cells.
            blend: How tiles that overlap make one map.

        """
        step = max(widest // multiple, 1) * multiple
        beyond = 0 if blend == "none" else self.ramp
        stop_of_grid = self.first_col + self.width
        for start in range(self.first_col, stop_of_grid, step):
            stop = min(start + step, stop_of_grid)
            needed = tuple(
                col
                for col in self.cols
                if col.core_start - beyond < stop and col.core_stop + beyond > start
            )
            yield replace(self, cols=needed, panel=(start, stop))


def spans(cells: int, *, tile: int, halo: int) -> tuple[Span, ...]:
    """Cut an axis of `cells` into tiles.

    The cores partition the axis; every tile lies within it and all have the same
    length; a kept cell has `halo` cells of its tile on both sides, or the end of
    the axis.

    Args:
        cells: Length of the axis, at least 1.
        tile: Length of a tile, more than two halos.
        halo: Cells dropped at each end of a tile that is not an end of the axis.

    """
    if tile >= cells:
        return (Span(0, 0, cells),)
    starts = range(0, cells - tile, tile - 2 * halo)
    stops = [start + tile - halo for start in starts]
    return tuple(
        Span(start, core_start, core_stop)
        for start, core_start, core_stop in zip(
            [*starts, cells - tile], [0, *stops], [*stops, cells], strict=True
        )
    )


def plan_tiles(  # noqa: PLR0913 -- six lengths, all of them needed
    *,
    height_px: int,
    width_px: int,
    stride_px: int,
    multiple_px: int,
    window_px: int,
    halo_px: int,
) -> TilePlan:
    """Plan the tiles of a scene.

    A scene smaller than a window makes one smaller tile. Where the scene's size is
    no multiple of `multiple_px`, the last tiles reach past its right and bottom
    edge by less than that; the grid of cells ends at the last cell that holds a
    pixel of the scene. A ramp is the halo, but at most `MOST_RAMP_PX`.

    Args:
        height_px: Rows of the scene.
        width_px: Columns of the scene.
        stride_px: Pixels a side of a cell of the output.
        multiple_px: What a tile's sides must be multiples of.
        window_px: Side of a tile.
        halo_px: Margin of a tile that is dropped.

    Raises:
        WindowError: If the window or halo do not fit the model.

    """
    for flag, value in (("--window", window_px), ("--halo", halo_px)):
        if value % multiple_px or value < 0:
            below = max(value // multiple_px, 0) * multiple_px
            raise WindowError(
                f"{flag} {value} is not a multiple of the model's {multiple_px} px",
                hint=f"{flag} {below} or {flag} {below + multiple_px}",
            )
    if window_px <= 2 * halo_px:
        raise WindowError(
            f"--window {window_px} leaves nothing between two halos of {halo_px} px",
            hint=f"choose a window of at least {2 * halo_px + multiple_px} px",
        )

    def cut(length_px: int) -> tuple[tuple[Span, ...], int]:
        """Return the tiles of one axis, and the cells each of them has."""
        scale = multiple_px // stride_px
        coarse, tile = -(-length_px // multiple_px), window_px // multiple_px
        cells = -(-length_px // stride_px)
        cut_spans = spans(coarse, tile=tile, halo=halo_px // multiple_px)
        return tuple(
            Span(s.start * scale, s.core_start * scale, min(s.core_stop * scale, cells))
            for s in cut_spans
        ), min(tile, coarse) * scale

    most_px = max(MOST_RAMP_PX // multiple_px, 1) * multiple_px
    rows, tile_height = cut(height_px)
    cols, tile_width = cut(width_px)
    return TilePlan(
        window_px=window_px,
        halo_px=halo_px,
        ramp_px=min(halo_px, most_px),
        stride_px=stride_px,
        rows=rows,
        cols=cols,
        tile_height=tile_height,
        tile_width=tile_width,
    )


def cells_up_to(tile: Tile, plan: TilePlan) -> int:
    """Count the cells of a plan that are done with a tile, row by row of tiles."""
    core = tile.core
    across = core.col + core.width - plan.first_col
    return core.row * plan.width + core.height * min(max(across, 0), plan.width)
