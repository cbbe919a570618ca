"""`mmearth embed`: what a run is made of, from the scene to the finished store."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmearth_infer.errors import ModelError
from mmearth_infer.run.prepared import drive, prepare, report_of
from mmearth_infer.run.provenance import geoemb, job, provenance
from mmearth_infer.run.report import Report, Stopwatch
from mmearth_infer.run.seams import plan_of, report_seams
from mmearth_infer.run.tiling import PANEL_PX
from mmearth_infer.write.encode import encoding_for
from mmearth_infer.write.layout import Layer
from mmearth_infer.write.open_store import open_store
from mmearth_infer.write.work import work_at
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from mmearth_infer.engine.compiled import CompiledModel
    from mmearth_infer.run.config import EmbedConfig
    from mmearth_infer.run.pipeline import Progress
    from mmearth_infer.run.prepared import Prepared
    from mmearth_infer.seams import Source

log = logging.getLogger("mmearth")


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
        work_at(config.target, overwrite=config.overwrite).check()
    with prepare(config, task="embedding", stages=config.stages, watch=watch) as made:
        with embedding_sink(made, config) as sink:
            resumed = made.plan.cell_count if sink.is_complete else sink.done.cells
            drive(made, sink, config, panel_px=PANEL_PX, watch=watch, progress=progress)
            report = report_of(
                made,
                watch,
                store=sink.path,
                valid_cells=sink.done.valid_cells,
                resumed_cells=resumed,
            )
        if config.report or config.report_picture is not None:
            report = replace(report, seams=_seams(config, made.model, made.source))
    return report


def embedding_sink(
    made: Prepared, config: EmbedConfig, *, part: range | None = None
) -> ZarrSink:
    """Return the store of a run, or a part of it that others have begun."""
    said = provenance(made, {"dtype": config.dtype, "layout": config.layout})
    return ZarrSink(
        config.target,
        layers=embedding_layers(made, config),
        provenance=said,
        job=job(said, made),
        overwrite=config.overwrite,
        resume=config.resume,
        layout=config.layout,
        part=part,
    )


def _seams(config: EmbedConfig, model: CompiledModel, source: Source) -> dict[str, Any]:
    """Return how far tiles show in the coarsest map of the finished store."""
    output = model.file.manifest.outputs_of(config.stages)[-1]
    store = open_store(config.target, stage=output.stage)
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


def embedding_layers(made: Prepared, config: EmbedConfig) -> list[Layer]:
    """Return the maps of a run; one has the root of a store for itself."""
    model, scene, outputs = made.model, made.scene, made.outputs
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
