"""How far tiles show in a finished store: the seam index, and larger windows.

Shapes: N tiles, C bands, H W pixels, D channels, h w cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from mmearth_infer.contract.manifest import Manifest
from mmearth_infer.errors import StoreError, WindowError
from mmearth_infer.grid.plan import TilePlan, plan_tiles
from mmearth_infer.grid.window import Window
from mmearth_infer.run.steps import Steps, measure_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from mmearth_infer.seams import Source
    from mmearth_infer.write.open_store import Embedding

    OneMap = Callable[[NDArray[np.uint16]], NDArray[np.float32]]

PLACES: Final = 5
"""Places at which a larger window is computed, each four times as large as a tile."""

_SEED: Final = 0
_TRIES: Final = 4  # crossings looked at for each place, as some lie where no data is


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A crossing of borders, and what a larger window says of the cells near it."""

    row: int
    """First row of cells south of the border, or the middle row if there is none."""

    col: int
    """First column of cells east of the border, or the middle column."""

    cells: int
    """Cells that were compared."""

    apart: float
    """RMS difference over the standard deviation of the larger window's map."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeamReport:
    """How far tiles show in a map."""

    rows: Steps
    """Steps from north to south, across the borders of rows of tiles."""

    cols: Steps
    """Steps from west to east, across the borders of columns of tiles."""

    places: tuple[Place, ...] = ()
    """Where cells near borders were held against those of a larger window."""

    @property
    def index(self) -> float | None:
        """Seam index of both axes, weighted by pairs; 1 is no seam, None no border."""
        return _mean([(axis.index, axis.across) for axis in (self.rows, self.cols)])

    @property
    def index_of_medians(self) -> float | None:
        """Likewise of medians, which single edges in the scene do not move."""
        return _mean(
            [(axis.index_of_medians, axis.across) for axis in (self.rows, self.cols)]
        )

    @property
    def apart(self) -> float | None:
        """Median of the relative RMS differences to larger windows; None for none."""
        return float(np.median([p.apart for p in self.places])) if self.places else None

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return {
            "seam_index": self.index,
            "seam_index_of_medians": self.index_of_medians,
            "apart_from_larger_window": self.apart,
            "rows": self.rows.to_json(),
            "cols": self.cols.to_json(),
            "places": [msgspec.to_builtins(place) for place in self.places],
        }


def report_seams(
    store: Embedding,
    *,
    source: Source | None = None,
    one_map: OneMap | None = None,
    places: int = PLACES,
) -> SeamReport:
    """Return how far tiles show in a finished store, one chunk at a time.

    Larger windows are computed where both a source and an engine are given, one after
    the other, four times the pixels of a tile each.

    Args:
        store: The store, or one stage of it.
        source: The scene it was made from.
        one_map: The engine that made it, of the stage of the store alone.
        places: Number of larger windows; fewer where borders cross less often.

    Raises:
        StoreError: If it is damaged, or does not say how it was tiled.
        SceneError: If the scene cannot be read.
        ModelError: If the engine fails.

    """
    plan, multiple_px = _tiling(store)
    blocks = ((window, store.read(window)) for window in store.chunks())
    rows, cols = measure_steps(blocks, plan)
    compared: list[Place] = []
    if source is not None and one_map is not None:
        for row, col in _crossings(plan, most=places * _TRIES):
            if len(compared) == places:
                break
            frame = _larger_window(plan, row, col, multiple_px // plan.stride_px)
            place = _compare(store, plan, (row, col), frame, source, one_map)
            compared += [place] if place else []
    return SeamReport(rows=rows, cols=cols, places=tuple(compared))


def plan_of(store: Embedding) -> TilePlan:
    """Return the tiling a store was made with, on the grid of its stage.

    It may end less than a cell of the coarsest stage beyond the store.

    Raises:
        StoreError: If the store does not say.

    """
    return _tiling(store)[0]


def _tiling(store: Embedding) -> tuple[TilePlan, int]:
    """Return the plan, and what tiles must be multiples of."""
    said = store.provenance
    try:
        manifest = msgspec.convert(said["model"]["manifest"], Manifest)
        height_px, width_px = said["scene"]["shape_px"]
        tiling = said["tiling"]
        plan = plan_tiles(
            height_px=height_px,
            width_px=width_px,
            stride_px=tiling["stride_px"],
            multiple_px=manifest.multiple_px,
            window_px=tiling["window_px"],
            halo_px=tiling["halo_px"],
        )
        own = manifest.output(store.stage).stride_px
        return plan.scaled(tiling["stride_px"] // own), manifest.multiple_px
    except (KeyError, TypeError, ValueError, WindowError) as error:
        raise StoreError(
            f"`{store.path}` does not say how it was tiled: {error}",
            hint="embed the scene again",
        ) from error


def _crossings(plan: TilePlan, *, most: int) -> Iterator[tuple[int, int]]:
    """Yield cells south-east of crossings, in an order that is always the same.

    Where one axis has no border, its middle stands for one.
    """
    rows = [span.core_start for span in plan.rows[1:]]
    cols = [span.core_start for span in plan.cols[1:]]
    if not rows and not cols:
        return
    places = list(product(rows or [plan.height // 2], cols or [plan.width // 2]))
    order = np.random.default_rng(_SEED).permutation(len(places))
    for number in order[:most]:
        yield places[number]


def _larger_window(plan: TilePlan, row: int, col: int, multiple: int) -> Window:
    """Return a window twice as large as a tile around a place, within the scene.

    It may reach past the last cells by less than one multiple, as tiles do.

    Args:
        plan: The tiling.
        row: A row of cells.
        col: A column of cells.
        multiple: Cells that its sides and corner are multiples of.

    """

    def along(centre: int, tile: int, spans_end: int) -> tuple[int, int]:
        whole = -(-spans_end // multiple) * multiple
        length = min(2 * tile, whole)
        start = (centre - length // 2) // multiple * multiple
        return min(max(start, 0), whole - length), length

    top, height = along(row, plan.tile_height, plan.height)
    left, width = along(col, plan.tile_width, plan.width)
    return Window(row=top, col=left, height=height, width=width)


def _compare(  # noqa: PLR0913, PLR0917 -- a place, and all that has a say about it
    store: Embedding,
    plan: TilePlan,
    at: tuple[int, int],
    frame: Window,
    source: Source,
    one_map: OneMap,
) -> Place | None:
    """Hold the cells near borders against those of one window; None without data."""
    pixels = frame.times(plan.stride_px)
    inside = pixels.clipped(source.scene.geobox.height, source.scene.geobox.width)
    dn_CHW = np.zeros(
        (len(source.scene.bands), pixels.height, pixels.width), dtype=np.uint16
    )
    dn_CHW[(slice(None), *inside.seen_from(pixels).slices)] = source.read(inside)
    if not dn_CHW.any():
        return None
    cells = frame.clipped(store.geobox.height, store.geobox.width)
    stored_Dhw = store.read(cells)
    near_hw = _near_borders(plan, cells, at) & np.isfinite(stored_Dhw[0])
    if not near_hw.any():
        return None
    larger_Dhw = one_map(dn_CHW[None])[0][:, : cells.height, : cells.width]
    spread = larger_Dhw[:, np.isfinite(stored_Dhw[0])].std()
    change = (stored_Dhw - larger_Dhw)[:, near_hw]
    return Place(
        row=at[0],
        col=at[1],
        cells=int(near_hw.sum()),
        apart=float(np.sqrt(np.square(change).mean()) / max(spread, 1e-12)),
    )


def _near_borders(
    plan: TilePlan, cells: Window, at: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the cells that lie a halo or less from a border near a place.

    They lie no further from the place than a quarter of the window, where the window
    sees enough around them.
    """
    reach = max(plan.halo_px // plan.stride_px, 1)
    near, central = [], []
    axes = (
        (cells.row, cells.height, at[0], plan.rows),
        (cells.col, cells.width, at[1], plan.cols),
    )
    for start, length, centre, spans in axes:
        centres = start + np.arange(length) + 0.5
        borders = np.array([span.core_start for span in spans[1:]])
        apart = np.abs(centres[:, None] - borders)
        near.append((apart <= reach).any(axis=1))
        central.append(np.abs(centres - centre) <= max(length // 4, reach))
    both: NDArray[np.bool_] = central[0][:, None] & central[1][None, :]
    both &= near[0][:, None] | near[1][None, :]
    return both


def _mean(values: list[tuple[float | None, int]]) -> float | None:
    """Return the mean by weight of the values that are there."""
    there = [(value, weight) for value, weight in values if value is not None]
    total = sum(weight for _, weight in there)
    return sum(value * weight for value, weight in there) / total if total else None
