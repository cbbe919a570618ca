"""`mmearth embed`: what a run is made of, from the scene to the finished store."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import MMEarthError, ModelError
from mmearth_infer.read.source import open_sources
from mmearth_infer.run.pipeline import MapShape, NoProgress, refuse_empty, run
from mmearth_infer.run.provenance import geoemb, job, provenance
from mmearth_infer.run.report import Report, Stopwatch, peak_rss_bytes
from mmearth_infer.run.seams import plan_of, report_seams
from mmearth_infer.run.tiling import PANEL_PX, blend_for, plan_scene, tiles_per_batch
from mmearth_infer.write.address import locate
from mmearth_infer.write.encode import encoding_for
from mmearth_infer.write.layout import Layer
from mmearth_infer.write.open_store import open_store
from mmearth_infer.write.work import work_at
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from mmearth_infer.contract.manifest import Output
    from mmearth_infer.engine.compiled import CompiledModel
    from mmearth_infer.run.config import EmbedConfig
    from mmearth_infer.run.pipeline import Progress
    from mmearth_infer.seams import Scene, Source

log = logging.getLogger("mmearth")

SINGLE_ROW: Final = (
    "the store has a single row or column of cells: GDAL and QGIS then find no "
    "transform (rioxarray and xarray do)"
)
"""Said of stores that GDAL 3.12 opens with an identity transform."""


def embed(config: EmbedConfig, progress: Progress | None = None) -> Report:
    """Embed a scene into a Zarr store.

    Args:
        config: What to read, how, and where to write.
        progress: Is told how far it is; None for nobody.

    Returns:
        What was done, in numbers.

    Raises:
        MMEarthError: With a hint. Nothing is under the store's name, or what was there
            before; what was written waits for `resume`.

    """
    watch = Stopwatch()
    if not config.resume:
        work_at(config.out, overwrite=config.overwrite).check()
    with ExitStack() as stack:
        with watch.busy("open"):
            model = _open_model(config)
            manifest = model.file.manifest
            outputs = manifest.outputs_of(config.stages)
            coarsest = outputs[-1]
            source = stack.enter_context(
                open_sources(
                    config.scenes,
                    options=config.options,
                    wanted=manifest.bands,
                    threads=config.threads or os.cpu_count() or 1,
                )
            )
        scene = source.scene
        plan = plan_scene(
            scene.geobox,
            manifest,
            outputs,
            window_px=config.window_px,
            halo_px=config.halo_px,
        )
        warnings = (*model.warnings, *scene.warnings)
        if 1 in (plan.height, plan.width):
            warnings = (*warnings, SINGLE_ROW)
        for warning in warnings:
            log.warning(warning)
        for note in scene.notes:
            log.info(note)
        blend = blend_for(config.blend, manifest, outputs, halo_px=plan.halo_px)
        batch_size = tiles_per_batch(
            config.batch_size,
            plan,
            manifest,
            free_bytes=model.runtime.free_bytes(),
            lanes=model.runtime.lanes,
        )
        said = provenance(model, scene, outputs, plan, replace(config, blend=blend))
        sink = ZarrSink(
            config.out,
            layers=_layers(model, scene, outputs, config),
            provenance=said,
            job=job(said, source.fingerprint, batch_size=batch_size),
            overwrite=config.overwrite,
            resume=config.resume,
            layout=config.layout,
        )
        stack.enter_context(sink)
        resumed_cells = sink.done.cells
        complete = sink.is_complete
        if not complete:
            with watch.busy("open"):
                engine = model.engines(
                    level=scene.level,
                    outputs=outputs,
                    largest=(batch_size, *plan.tile_px),
                )
            try:
                run(
                    source,
                    engine,
                    sink,
                    plan=plan,
                    maps=[
                        MapShape(
                            channels=out.channels,
                            factor=coarsest.stride_px // out.stride_px,
                        )
                        for out in outputs
                    ],
                    batch_size=batch_size,
                    panel_cells=PANEL_PX // plan.stride_px,
                    watch=watch,
                    progress=progress or NoProgress(),
                    blend=blend,
                    read_ahead_bytes=config.read_ahead_mb * 2**20,
                    lanes=model.runtime.lanes,
                )
                refuse_empty(sink.done.valid_cells, scene.name)
                with watch.busy("write"):
                    sink.finish()
            except MMEarthError as error:
                _say_what_is_kept(error, sink)
                raise
        valid_cells = sink.done.valid_cells
        elapsed_s = watch.elapsed_s
        asked = config.report or config.report_picture is not None
        seams = _seams(config, model, source) if asked else None
    return Report(
        store=str(locate(config.out)),
        scene=scene.name,
        model=manifest.name,
        model_digest=model.file.digest,
        engine=model.runtime.name,
        device=model.runtime.device,
        cells=plan.cell_count,
        valid_cells=valid_cells,
        resumed_cells=plan.cell_count if complete else resumed_cells,
        channels=coarsest.channels,
        tiles=plan.tile_count,
        window_px=plan.window_px,
        halo_px=plan.halo_px,
        blend=blend,
        elapsed_s=elapsed_s,
        stage_s=watch.stage_s,
        waited_s=watch.waited_s,
        bound_by=watch.bound_by,
        megapixels_per_s=scene.geobox.pixels / 1e6 / elapsed_s,
        square_km_per_s=scene.geobox.square_km / elapsed_s,
        peak_rss_bytes=peak_rss_bytes(),
        warnings=warnings,
        notes=scene.notes,
        seams=seams,
    )


def _open_model(config: EmbedConfig) -> CompiledModel:
    """Open the model, and say what runs it."""
    model = open_model(
        config.model,
        engine=config.engine,
        device=config.device,
        threads=config.threads,
        trusted=config.trust_model,
    )
    where = f"engine {model.runtime.name} on {model.runtime.device}"
    log.info("%s: %s", where, model.why)
    return model


def _seams(config: EmbedConfig, model: CompiledModel, source: Source) -> dict[str, Any]:
    """Return how far tiles show in the coarsest map of the finished store."""
    output = model.file.manifest.outputs_of(config.stages)[-1]
    store = open_store(config.out, stage=output.stage)
    one_map = model.engine(level=source.scene.level, output=output)
    try:
        found = report_seams(store, source=source, one_map=one_map)
    except ModelError as error:  # larger windows than it was built for, or has room for
        log.warning("no larger windows were computed: %s", error)
        found = report_seams(store)
    if config.report_picture is not None:
        from mmearth_infer.run.seam_picture import save_picture  # noqa: PLC0415 -- an extra

        save_picture(found, plan_of(store), config.report_picture)
    return found.to_json()


def _layers(
    model: CompiledModel, scene: Scene, outputs: tuple[Output, ...], config: EmbedConfig
) -> list[Layer]:
    """Return the maps of the store; one has the root for itself."""
    name = model.file.manifest.name
    return [
        Layer(
            group="" if len(outputs) == 1 else f"stage{out.stage}",
            box=scene.geobox.cells(out.stride_px, of_px=outputs[-1].stride_px),
            stride_px=out.stride_px,
            channels=out.channels,
            encoding=encoding_for(config.dtype, out, model=name),
            geoemb=geoemb(model.file, scene, out, dtype=config.dtype),
        )
        for out in outputs
    ]


def _say_what_is_kept(error: MMEarthError, sink: ZarrSink) -> None:
    """Add to an error's hint how to go on, if anything was written."""
    if sink.done.valid_cells:
        kept = f"the same command with --resume goes on after {sink.done.cells} cells"
        error.hint = f"{error.hint}; {kept}" if error.hint else kept
