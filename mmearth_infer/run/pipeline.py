"""The whole way of the data, on one page.

    scene -> read -> feed -> engine -> stitch -> write -> store

Reading runs one swath ahead in a thread, writing one strip behind in another, and
the engine in between. Very wide scenes go panel by panel, so that what is held at any
time is a few rows of a part of the scene, however large it is.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from mmearth_infer.disk import check_output
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import SceneError
from mmearth_infer.feed.batches import cut_batches, read_swaths
from mmearth_infer.feed.prefetch import prefetch
from mmearth_infer.grid.plan import cells_up_to
from mmearth_infer.read.source import open_source
from mmearth_infer.run.provenance import geoemb, provenance
from mmearth_infer.run.report import Report, Stopwatch, peak_rss_bytes
from mmearth_infer.run.tiling import PANEL_PX, plan_scene, tiles_per_batch
from mmearth_infer.stitch.mosaic import Mosaic
from mmearth_infer.write.zarr_store import STORE, ZarrSink

if TYPE_CHECKING:
    from concurrent.futures import Future

    from mmearth_infer.grid.plan import TilePlan
    from mmearth_infer.run.config import EmbedConfig
    from mmearth_infer.seams import Engine, Sink, Source, Strip

log = logging.getLogger("mmearth")

SINGLE_ROW: Final = (
    "the store has a single row or column of cells: GDAL and QGIS then find no "
    "transform (rioxarray and xarray do)"
)
"""Said of stores that GDAL 3.12 opens with an identity transform."""


class Progress(Protocol):
    """Something that shows how far a run is."""

    def start(self, *, cells: int, pixels: int) -> None:
        """Show a run that begins, of `cells` cells made from `pixels` pixels."""
        ...

    def reach(self, cells: int) -> None:
        """Show that the first `cells` cells, row by row of tiles, are done."""
        ...


class NoProgress:
    """Shows nothing."""

    def start(self, *, cells: int, pixels: int) -> None:
        """Do nothing."""

    def reach(self, cells: int) -> None:
        """Do nothing."""


def embed(config: EmbedConfig, progress: Progress | None = None) -> Report:
    """Embed a scene into a Zarr store.

    Args:
        config: What to read, how, and where to write.
        progress: Is told how far it is; None for nobody.

    Returns:
        What was done, in numbers.

    Raises:
        MMEarthError: With a hint; nothing is left under the store's name, or what
            was there before.

    """
    watch = Stopwatch()
    check_output(Path(config.out), STORE, overwrite=config.overwrite)
    threads = config.threads or os.cpu_count() or 1
    with ExitStack() as stack:
        with watch.busy("open"):
            model = open_model(
                config.model,
                engine=config.engine,
                device=config.device,
                threads=config.threads,
                trusted=config.trust_model,
            )
            log.info(
                "engine %s on %s: %s",
                model.runtime.name,
                model.runtime.device,
                model.why,
            )
            manifest = model.file.manifest
            output = manifest.output(config.stage)
            source = stack.enter_context(
                open_source(
                    config.scene,
                    options=config.options,
                    wanted=manifest.bands,
                    threads=threads,
                )
            )
        scene = source.scene
        notes = (*model.warnings, *scene.warnings)
        for note in notes:
            log.warning(note)
        plan = plan_scene(
            scene.geobox,
            manifest,
            output,
            window_px=config.window_px,
            halo_px=config.halo_px,
        )
        if 1 in (plan.height, plan.width):
            notes = (*notes, SINGLE_ROW)
            log.warning(SINGLE_ROW)
        batch_size = tiles_per_batch(
            config.batch_size, plan, device=model.runtime.device
        )
        with watch.busy("open"):
            engine = model.engine(
                level=scene.level,
                output=output,
                largest=(batch_size, *plan.tile_px),
            )
        sink = stack.enter_context(
            ZarrSink(
                config.out,
                box=scene.geobox.cells(output.stride_px),
                channels=output.channels,
                geoemb=geoemb(model.file, scene, output),
                provenance=provenance(model, scene, output, plan),
                overwrite=config.overwrite,
            )
        )
        valid_cells = run(
            source,
            engine,
            sink,
            plan=plan,
            channels=output.channels,
            batch_size=batch_size,
            panel_cells=PANEL_PX // plan.stride_px,
            watch=watch,
            progress=progress or NoProgress(),
        )
        with watch.busy("write"):
            sink.finish()
    return Report(
        store=str(config.out),
        scene=scene.name,
        model=manifest.name,
        model_digest=model.file.digest,
        engine=model.runtime.name,
        cells=plan.cell_count,
        valid_cells=valid_cells,
        channels=output.channels,
        tiles=plan.tile_count,
        window_px=plan.window_px,
        halo_px=plan.halo_px,
        elapsed_s=watch.elapsed_s,
        stage_s=watch.stage_s,
        megapixels_per_s=scene.geobox.pixels / 1e6 / watch.elapsed_s,
        peak_rss_bytes=peak_rss_bytes(),
        warnings=notes,
    )


def run(  # noqa: PLR0913 -- the stages, and what watches them
    source: Source,
    engine: Engine,
    sink: Sink,
    *,
    plan: TilePlan,
    channels: int,
    batch_size: int,
    panel_cells: int,
    watch: Stopwatch,
    progress: Progress,
) -> int:
    """Move a scene through all stages and return the number of cells with data.

    Raises:
        SceneError: If no pixel of the scene holds data.

    """
    progress.start(cells=plan.cell_count, pixels=source.scene.geobox.pixels)
    valid_cells = done_cells = 0

    def write(strip: Strip) -> None:
        with watch.busy("write"):
            sink.write(strip)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="write") as writer:
        written: Future[None] | None = None
        for panel in plan.panels(widest=panel_cells, multiple=sink.chunk_cells):
            mosaic = Mosaic(panel, channels=channels, strip_rows=sink.chunk_cells)
            with prefetch(watch.timed("read", read_swaths(source, panel))) as swaths:
                for swath in swaths:
                    for batch in cut_batches(swath, panel, size=batch_size):
                        with watch.busy("compute"):
                            features_NDhw = engine(batch.dn_NCHW)
                        with watch.busy("stitch"):
                            mosaic.place(batch.tiles, features_NDhw)
                        progress.reach(done_cells + cells_up_to(batch.tiles[-1], panel))
                    for strip in mosaic.finish(swath):
                        valid_cells += int((strip.valid_hW > 0).sum())
                        if written is not None:
                            written.result()
                        written = writer.submit(write, strip)
            done_cells += panel.cell_count
            progress.reach(done_cells)
        if written is not None:
            written.result()
    if valid_cells == 0:
        raise SceneError(
            f"`{source.scene.name}` holds no data: every pixel is nodata in all bands",
            hint="check the bands and the nodata value with `mmearth info`",
        )
    return valid_cells
