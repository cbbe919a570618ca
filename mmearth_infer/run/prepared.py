"""What every run over a scene shares: all but what is computed and where it goes."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmearth_infer.engine.kept import open_or_keep
from mmearth_infer.errors import MMEarthError, ModelError
from mmearth_infer.grid.footprint import outline
from mmearth_infer.read.source import open_sources
from mmearth_infer.run.pipeline import MapShape, NoProgress, refuse_empty, run
from mmearth_infer.run.report import Report, peak_rss_bytes
from mmearth_infer.run.tiling import blend_for, plan_scene, tiles_per_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_infer.contract.manifest import Output, Task
    from mmearth_infer.engine.compiled import CompiledModel
    from mmearth_infer.grid.plan import Blend, TilePlan
    from mmearth_infer.run.config import RunConfig
    from mmearth_infer.run.pipeline import Progress
    from mmearth_infer.run.report import Stopwatch
    from mmearth_infer.seams import Scene, Sink, Source
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.zarr_store import ZarrSink

log = logging.getLogger("mmearth")

SINGLE_ROW: Final = (
    "the store has a single row or column of cells: GDAL and QGIS then find no "
    "transform (rioxarray and xarray do)"
)
"""Said of stores that GDAL 3.12 opens with an identity transform."""

COMMANDS: Final[dict[Task, str]] = {
    "embedding": "mmearth embed",
    "segmentation": "mmearth segment",
}
"""What runs models of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model and a scene, and how one goes over the other."""

    model: CompiledModel
    """The model."""

    source: Source
    """The scene."""

    outputs: tuple[Output, ...]
    """Maps that are computed, the coarsest last."""

    plan: TilePlan
    """The tiling, in cells of the coarsest map."""

    blend: Blend
    """How tiles that overlap make one map."""

    batch_size: int
    """Tiles a batch."""

    warnings: tuple[str, ...]
    """What a user should know before trusting the result."""

    @property
    def scene(self) -> Scene:
        """What is read."""
        return self.source.scene


@contextmanager
def prepare(
    config: RunConfig, *, task: Task, stages: Sequence[int] = (), watch: Stopwatch
) -> Iterator[Prepared]:
    """Open model and scene, and plan; what is to be known is said.

    Args:
        config: What was asked for.
        task: What the model must be for.
        stages: Which of its outputs; empty for the deepest.
        watch: Counts the time.

    Raises:
        ModelError: If the model is for another task, or cannot be opened.
        SceneError: If the scene cannot be read.
        WindowError: If the tiling does not fit the model.

    """
    with ExitStack() as stack:
        with watch.busy("open"):
            model = _open_model(config, task)
            manifest = model.file.manifest
            outputs = manifest.outputs_of(stages)
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
        yield Prepared(
            model=model,
            source=source,
            outputs=outputs,
            plan=plan,
            blend=blend_for(config.blend, manifest, outputs, halo_px=plan.halo_px),
            batch_size=tiles_per_batch(
                config.batch_size,
                plan,
                manifest,
                free_bytes=model.runtime.free_bytes(),
                lanes=model.runtime.lanes,
            ),
            warnings=warnings,
        )


def drive(  # noqa: PLR0913 -- the parts of a run
    made: Prepared,
    sink: ZarrSink,
    config: RunConfig,
    *,
    panel_px: int,
    watch: Stopwatch,
    progress: Progress | None,
) -> None:
    """Compute what the sink has not got, and finish the store.

    Raises:
        MMEarthError: With a hint. What was written waits for `resume`.

    """
    if sink.is_complete:
        return
    try:
        compute(made, sink, config, panel_px=panel_px, watch=watch, progress=progress)
        refuse_empty(sink.done.valid_cells, made.scene.name)
        with watch.busy("write"):
            sink.finish()
    except MMEarthError as error:
        _say_what_is_kept(error, sink)
        raise


def compute(  # noqa: PLR0913 -- the parts of a run
    made: Prepared,
    sink: Sink,
    config: RunConfig,
    *,
    panel_px: int,
    watch: Stopwatch,
    progress: Progress | None,
) -> int:
    """Compute what a sink has not got, and return how many cells with data that were.

    Raises:
        MMEarthError: With a hint.

    """
    coarsest_px = made.outputs[-1].stride_px
    with watch.busy("open"):
        engine = made.model.engines(
            level=made.scene.level,
            outputs=made.outputs,
            largest=(made.batch_size, *made.plan.tile_px),
        )
    return run(
        made.source,
        engine,
        sink,
        plan=made.plan,
        maps=[
            MapShape(channels=out.channels, factor=coarsest_px // out.stride_px)
            for out in made.outputs
        ],
        batch_size=made.batch_size,
        panel_cells=panel_px // coarsest_px,
        watch=watch,
        progress=progress or NoProgress(),
        blend=made.blend,
        read_ahead_bytes=config.read_ahead_mb * 2**20,
        lanes=made.model.runtime.lanes,
    )


def report_of(
    made: Prepared,
    watch: Stopwatch,
    *,
    store: Where,
    valid_cells: int,
    resumed_cells: int,
) -> Report:
    """Return what was done, in numbers.

    Args:
        made: The model and the scene.
        watch: Counted the time.
        store: What was written.
        valid_cells: Its cells with data.
        resumed_cells: Cells that an earlier run had written.

    """
    model, scene, plan = made.model, made.scene, made.plan
    return Report(
        store=str(store),
        scene=scene.name,
        model=model.file.manifest.name,
        model_digest=model.file.digest,
        engine=model.runtime.name,
        device=model.runtime.device,
        cells=plan.cell_count,
        valid_cells=valid_cells,
        resumed_cells=resumed_cells,
        channels=made.outputs[-1].channels,
        tiles=plan.tile_count,
        window_px=plan.window_px,
        halo_px=plan.halo_px,
        blend=made.blend,
        elapsed_s=watch.elapsed_s,
        stage_s=watch.stage_s,
        waited_s=watch.waited_s,
        bound_by=watch.bound_by,
        megapixels_per_s=scene.geobox.pixels / 1e6 / watch.elapsed_s,
        square_km_per_s=scene.geobox.square_km / watch.elapsed_s,
        peak_rss_bytes=peak_rss_bytes(),
        warnings=made.warnings,
        notes=scene.notes,
        footprint=outline(scene.geobox),
    )


def _open_model(config: RunConfig, task: Task) -> CompiledModel:
    """Open the model, check what it is for, and say what runs it.

    Raises:
        ModelError: If it is for another task.

    """
    model = open_or_keep(
        config.model,
        engine=config.engine,
        device=config.device,
        threads=config.threads,
        trusted=config.trust_model,
    )
    manifest = model.file.manifest
    if manifest.task != task:
        raise ModelError(
            f"model `{manifest.name}` is for {manifest.task}, not for {task}",
            hint=f"`{COMMANDS[manifest.task]}` runs it",
        )
    where = f"engine {model.runtime.name} on {model.runtime.device}"
    log.info("%s: %s", where, model.why)
    return model


def _say_what_is_kept(error: MMEarthError, sink: ZarrSink) -> None:
    """Add to an error's hint how to go on, if anything was written."""
    if sink.done.valid_cells:
        kept = f"the same command with --resume goes on after {sink.done.cells} cells"
        error.hint = f"{error.hint}; {kept}" if error.hint else kept
