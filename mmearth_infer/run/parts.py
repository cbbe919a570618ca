"""A scene in parts, on several workers: rows of chunks, a head start on its run.

Somebody begins the store; then parts are computed anywhere, in any order; then the
ordinary run over the scene, with `resume`, computes what is missing, which is nothing
unless a part failed, and finishes. So a part can never make a result wrong, only late.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmearth_infer.run.config import EmbedConfig, SegmentConfig
from mmearth_infer.run.embed import embedding_sink
from mmearth_infer.run.prepared import compute, prepare
from mmearth_infer.run.report import Stopwatch
from mmearth_infer.run.segment import map_sink, panel_px, written_to
from mmearth_infer.run.tiling import PANEL_PX
from mmearth_infer.write.address import locate
from mmearth_infer.write.part import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmearth_infer.run.config import RunConfig
    from mmearth_infer.run.prepared import Prepared
    from mmearth_infer.write.zarr_store import ZarrSink


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDone:
    """What the computing of a part took."""

    pixels: int
    """Pixels that it has, without those that earlier runs had done."""

    elapsed_s: float
    """Wall time."""


def begin(config: RunConfig, *, parts: int) -> tuple[range, ...]:
    """Create the store of a scene, and return the rows of its parts.

    Args:
        config: The run over the scene, with `resume`.
        parts: How many at most; a part has one row of chunks at least.

    Returns:
        Nothing where there are no two parts to be had: the result is there, it is
        written behind an address, or it is one row of chunks.

    Raises:
        MMEarthError: As the run itself would.

    """
    out = locate(config.target)
    is_there = out != written_to(out) and Path(str(out)).exists()
    if is_there or not isinstance(out, Path):
        return ()
    with _opened(config, Stopwatch()) as (made, sink):
        if sink.is_complete:
            return ()
        rows = cut(made.plan.height, chunk=sink.chunk_cells, parts=parts)
        if len(rows) == 1:
            return ()
        sink.keep()
        return rows


def compute_part(config: RunConfig, rows: range) -> PartDone:
    """Compute some rows of a scene whose store is begun.

    Args:
        config: The run over the scene, with `resume`.
        rows: Rows of cells, as `begin` gave them.

    Raises:
        MMEarthError: With a hint. What was written is kept.

    """
    watch = Stopwatch()
    with _opened(config, watch, part=rows) as (made, sink):
        if sink.is_complete:
            return PartDone(pixels=0, elapsed_s=watch.elapsed_s)
        before = sink.done.cells
        widest = PANEL_PX
        if isinstance(config, SegmentConfig):
            widest = panel_px(made, sink.chunk_cells)
        compute(made, sink, config, panel_px=widest, watch=watch, progress=None)
        cells = sink.done.cells - before
    share = cells / made.plan.cell_count
    return PartDone(
        pixels=round(made.scene.geobox.pixels * share), elapsed_s=watch.elapsed_s
    )


@contextmanager
def _opened(
    config: RunConfig, watch: Stopwatch, *, part: range | None = None
) -> Iterator[tuple[Prepared, ZarrSink]]:
    """Open model, scene and store of a run, or of a part of it."""
    if isinstance(config, SegmentConfig):
        with (
            prepare(config, task="segmentation", watch=watch) as made,
            map_sink(made, config, part=part) as sink,
        ):
            yield made, sink
        return
    assert isinstance(config, EmbedConfig)
    with (
        prepare(
            config, task="embedding", stages=config.stages, watch=watch
        ) as embedding,
        embedding_sink(embedding, config, part=part) as store,
    ):
        yield embedding, store
