"""The whole way of the data, on one page.

    scene -> read -> feed -> engine -> stitch -> write -> store

Reading runs ahead in a thread, as far as its share of memory goes; writing one strip
behind in another; and the engine in between, on a GPU with several batches under way:
one is copied there while another is computed. Very wide scenes go panel by panel, so
that what is held at any time is a few rows of a part of the scene, however large it is.
What is written is in the ledger once it is on the disk, and is not computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from mmearth_infer.errors import ModelError, SceneError
from mmearth_infer.feed.batches import cut_batches, read_swaths
from mmearth_infer.feed.lanes import in_lanes
from mmearth_infer.feed.prefetch import prefetch
from mmearth_infer.grid.plan import cells_up_to
from mmearth_infer.run.behind import Behind
from mmearth_infer.seams import Batch, Swath
from mmearth_infer.stitch.mosaic import Mosaic
from mmearth_infer.stitch.weights import rows_needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import Blend, TilePlan
    from mmearth_infer.run.report import Stopwatch
    from mmearth_infer.seams import Engine, Sink, Source, Strip


class Progress(Protocol):
    """Something that shows how far a run is."""

    def start(self, *, cells: int, pixels: int, watch: Stopwatch) -> None:
        """Show a run that begins, of `cells` cells made from `pixels` pixels."""
        ...

    def skip(self, cells: int) -> None:
        """Show that an earlier run has done the first `cells` cells."""
        ...

    def reach(self, cells: int) -> None:
        """Show that the first `cells` cells, row by row of tiles, are done."""
        ...


class NoProgress:
    """Shows nothing."""

    def start(self, *, cells: int, pixels: int, watch: Stopwatch) -> None:
        """Do nothing."""

    def skip(self, cells: int) -> None:
        """Do nothing."""

    def reach(self, cells: int) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapShape:
    """One of the maps that an engine gives."""

    channels: int
    """D, values a cell."""

    factor: int = 1
    """How many of its cells a side make one of the coarsest map."""


def run(  # noqa: PLR0913 -- the stages, and what watches them
    source: Source,
    engine: Engine,
    sink: Sink,
    *,
    plan: TilePlan,
    maps: Sequence[MapShape],
    batch_size: int,
    panel_cells: int,
    watch: Stopwatch,
    progress: Progress,
    blend: Blend = "none",
    read_ahead_bytes: int = 0,
    lanes: int = 1,
) -> int:
    """Move a scene through all stages and return how many cells with data came out.

    Cells that the sink has already are not computed again, and not counted.

    Args:
        source: The scene.
        engine: Gives the maps of a batch.
        sink: Takes strips of them.
        plan: The tiling, in cells of the coarsest map.
        maps: The maps, the coarsest last.
        batch_size: Tiles a batch.
        panel_cells: Most columns of cells that are worked on at once.
        watch: Counts the time of each stage.
        progress: Is told how far it is.
        blend: How tiles that overlap make one map.
        read_ahead_bytes: Pixels that are in use or wait, at most; one row of tiles is
            always ahead.
        lanes: Batches that are computed at once.

    Raises:
        MMEarthError: The first error of any stage, which ends the others.

    """
    progress.start(
        cells=plan.cell_count, pixels=source.scene.geobox.pixels, watch=watch
    )
    valid_cells = 0

    with Behind(sink, watch) as writer:
        for panel, rows, before in _missing(plan, sink, panel_cells, blend):
            progress.skip(before + rows.start * panel.width)
            mosaics = [
                _mosaic(panel, shape, rows, sink.chunk_cells, blend) for shape in maps
            ]
            tile_rows = rows_needed(panel, rows, blend)
            with (
                prefetch(
                    watch.timed("read", read_swaths(source, panel, tile_rows)),
                    most_bytes=read_ahead_bytes,
                    size_of=lambda swath: swath.nbytes,
                ) as swaths,
                in_lanes(
                    _work(watch.waited("read", swaths), panel, batch_size, blend),
                    partial(_compute, engine, stride_px=plan.stride_px, watch=watch),
                    lanes=lanes,
                ) as computed,
            ):
                for part, features in computed:
                    if isinstance(part, Batch):
                        with watch.busy("stitch"):
                            _place(mosaics, maps, part, features)
                        progress.reach(before + cells_up_to(part.tiles[-1], panel))
                        continue
                    for strips in _finish(mosaics, maps, part):
                        valid_cells += int((strips[-1].valid_hW > 0).sum())
                        writer.write(strips)
        writer.wait()
    progress.reach(plan.cell_count)
    return valid_cells


def _missing(
    plan: TilePlan, sink: Sink, panel_cells: int, blend: Blend
) -> Iterator[tuple[TilePlan, range, int]]:
    """Yield panels with rows that the sink has not got, and the cells before each."""
    before = 0
    for panel in plan.panels(
        widest=panel_cells, multiple=sink.chunk_cells, blend=blend
    ):
        for rows in sink.missing(panel.first_col):
            yield panel, rows, before
        before += panel.cell_count


def _mosaic(
    panel: TilePlan, shape: MapShape, rows: range, strip_rows: int, blend: Blend
) -> Mosaic:
    """Return what gathers a map, for some rows of the coarsest."""
    return Mosaic(
        panel.scaled(shape.factor),
        channels=shape.channels,
        strip_rows=strip_rows * shape.factor,
        blend=blend,
        rows=range(rows.start * shape.factor, rows.stop * shape.factor),
    )


def _place(
    mosaics: Sequence[Mosaic],
    maps: Sequence[MapShape],
    batch: Batch,
    features: Sequence[NDArray[np.float32]],
) -> None:
    """Add a batch to every map, each on its own grid."""
    for mosaic, shape, features_NDhw in zip(mosaics, maps, features, strict=True):
        mosaic.place([tile.scaled(shape.factor) for tile in batch.tiles], features_NDhw)


def _work(
    swaths: Iterator[Swath], panel: TilePlan, batch_size: int, blend: Blend
) -> Iterator[Batch | Swath]:
    """Yield the batches of each swath, and then what says that its rows are done.

    That comes without pixels, which would be held until the next batch is computed.
    """
    for swath in swaths:
        yield from cut_batches(swath, panel, size=batch_size, blend=blend)
        yield swath.without_pixels()


def _compute(
    engine: Engine, part: Batch | Swath, *, stride_px: int, watch: Stopwatch
) -> tuple[NDArray[np.float32], ...]:
    """Run the engine on a batch, and say where it was if it fails."""
    if isinstance(part, Swath):
        return ()
    try:
        with watch.busy("compute"):
            return engine(part.dn_NCHW)
    except ModelError as error:
        seen = part.tiles[0].cells.times(stride_px)
        raise type(error)(
            f"{error} (the tile at row {seen.row}, column {seen.col})", hint=error.hint
        ) from error


def _finish(
    mosaics: Sequence[Mosaic], maps: Sequence[MapShape], swath: Swath
) -> list[tuple[Strip, ...]]:
    """Return the strips that a swath finished, of all maps together."""
    finished = [
        list(mosaic.finish(swath.scaled(shape.factor)))
        for mosaic, shape in zip(mosaics, maps, strict=True)
    ]
    return list(zip(*finished, strict=True))


def refuse_empty(valid_cells: int, name: str) -> None:
    """Refuse a scene without any data.

    Raises:
        SceneError: If no cell holds any.

    """
    if valid_cells == 0:
        raise SceneError(
            f"`{name}` holds no data: every pixel is nodata in all bands, masked or "
            "outside the area",
            hint="check bands, nodata value, --mask and --aoi with `mmearth info`",
        )
