"""What a job will do, without reading a pixel: windows, bytes, time, cost.

Sizes of scenes come from the list or the items where those say them. Of the other
scenes a sample is opened, spread evenly, and the rest taken to be like its mean: ten
thousand files cannot be opened in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from affine import Affine
from msgspec import Struct
from rasterio.crs import CRS

from mmearth_infer.engine.open import read_file
from mmearth_infer.errors import JobError, MMEarthError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.read.source import open_sources
from mmearth_infer.run.config import EmbedConfig, SegmentConfig
from mmearth_infer.run.tiling import plan_scene
from mmearth_infer.write.address import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmearth_infer.contract.manifest import Manifest, Output
    from mmearth_infer.jobs.job_file import Job
    from mmearth_infer.jobs.scenes import JobScene, Size
    from mmearth_infer.run.config import RunConfig

SAMPLE: Final = 24
"""Scenes that are opened for their size, at most."""

_VALUE_BYTES: Final = {"float32": 4, "float16": 2, "int8": 1, "int8-pixel": 1}
"""Bytes of a value, by how embeddings are kept."""

_BYTES_READ: Final = np.dtype(np.uint16).itemsize
"""Bytes of a digital number."""


class JobPlan(Struct, frozen=True, kw_only=True):
    """What a job will do."""

    scenes: int
    """Scenes of the job."""

    there: int | None
    """Scenes whose output has its name already; None where that is not asked."""

    sizes_stated: int
    """Scenes to run whose size the list or the items say."""

    sizes_opened: int
    """Scenes to run that were opened for their size."""

    sizes_assumed: int
    """Scenes to run that are taken to be like those that were opened."""

    unreadable: tuple[str, ...]
    """What was wrong with those that could not be opened."""

    windows: int
    """Tiles that the engine will see."""

    megapixels: float
    """Pixels of all scenes to run, in millions."""

    read_bytes: int
    """Pixels that are read, as digital numbers; files are smaller by compression."""

    write_bytes: int
    """Values that are written, before compression."""

    workers: int
    """Processes that run scenes."""

    megapixels_per_s: float | None
    """Rate of one worker; None where none is known."""

    hours: float | None
    """How long it will take; None where no rate is known."""

    cost: float | None
    """What it will cost; None where no rate or no price is known."""

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What scenes of a size take."""

    windows: float = 0
    """Tiles."""

    pixels: float = 0
    """Pixels."""

    written: float = 0
    """Bytes."""

    def plus(self, other: _Work, times: float = 1) -> _Work:
        """Return the sum with so many of another."""
        return _Work(
            windows=self.windows + other.windows * times,
            pixels=self.pixels + other.pixels * times,
            written=self.written + other.written * times,
        )


def plan_job(
    job: Job,
    scenes: Sequence[JobScene],
    *,
    workers: int,
    rate: float | None,
    price_per_hour: float | None,
) -> JobPlan:
    """Plan a job.

    Args:
        job: The job.
        scenes: Those of its scenes that are asked for.
        workers: Processes that will run scenes.
        rate: Millions of pixels that one of them computes in a second.
        price_per_hour: Of one worker.

    Raises:
        MMEarthError: If the model cannot be opened, the tiling does not fit it, or
            none can be read of a sample that stands for others.

    """
    manifest = read_file(job.config.model).manifest
    missing = [scene for scene in scenes if not _is_there(job, scene)]
    sizes, to_open = _stated(missing, job.config)
    sample = _spread(to_open)
    opened, unreadable = _open_sizes(sample, job.config, manifest)
    if len(to_open) > len(sample) and not opened:
        raise JobError(
            f"none of {len(sample)} scenes can be read: {unreadable[0]}",
            hint="`mmearth info SCENE` says more of one",
        )
    works = {size: _work(size, manifest, job.config) for size in {*sizes, *opened}}
    total = _Work()
    for size in sizes:
        total = total.plus(works[size])
    if opened:
        like = len(to_open) - len(unreadable)
        for size in opened:
            total = total.plus(works[size], like / len(opened))
    seconds = None if rate is None else total.pixels / 1e6 / rate
    return JobPlan(
        scenes=len(scenes),
        there=None if isinstance(job.folder, Address) else len(scenes) - len(missing),
        sizes_stated=len(sizes),
        sizes_opened=len(opened),
        sizes_assumed=len(to_open) - len(sample),
        unreadable=tuple(unreadable),
        windows=round(total.windows),
        megapixels=total.pixels / 1e6,
        read_bytes=round(total.pixels) * len(manifest.bands) * _BYTES_READ,
        write_bytes=round(total.written),
        workers=workers,
        megapixels_per_s=rate,
        hours=None
        if seconds is None
        else seconds / 3600 / max(min(workers, len(missing)), 1),
        cost=None
        if seconds is None or price_per_hour is None
        else seconds / 3600 * price_per_hour,
    )


def _is_there(job: Job, scene: JobScene) -> bool:
    """Tell whether the output of a scene has its name; nobody asks object stores."""
    out = job.out_of(scene)
    return isinstance(out, Path) and out.exists()


def _stated(
    scenes: Sequence[JobScene], config: RunConfig
) -> tuple[list[Size], list[JobScene]]:
    """Return the sizes that are said, and the scenes without; of parts none is."""
    if config.options.bbox is not None or config.options.aoi is not None:
        return [], list(scenes)
    return (
        [scene.size_px for scene in scenes if scene.size_px is not None],
        [scene for scene in scenes if scene.size_px is None],
    )


def _spread(scenes: Sequence[JobScene]) -> list[JobScene]:
    """Return a sample, spread evenly, the first and the last in it."""
    if len(scenes) <= SAMPLE:
        return list(scenes)
    return [
        scenes[int(n)] for n in np.linspace(0, len(scenes) - 1, SAMPLE, dtype=np.int64)
    ]


def _open_sizes(
    scenes: Sequence[JobScene], config: RunConfig, manifest: Manifest
) -> tuple[list[Size], list[str]]:
    """Return the sizes of scenes, and what is wrong with those that have none."""
    sizes, wrong = [], []
    for scene in scenes:
        try:
            with open_sources(
                [scene.source], options=config.options, wanted=manifest.bands
            ) as source:
                box = source.scene.geobox
        except MMEarthError as error:
            wrong.append(f"{scene.name}: {error}")
        else:
            sizes.append((box.height, box.width))
    return sizes, wrong


def _work(size: Size, manifest: Manifest, config: RunConfig) -> _Work:
    """Return what a scene of a size takes.

    Raises:
        WindowError: If the tiling does not fit the model.

    """
    stages = config.stages if isinstance(config, EmbedConfig) else ()
    outputs = manifest.outputs_of(stages)
    box = _grid(size)
    plan = plan_scene(
        box,
        manifest,
        outputs,
        window_px=config.window_px,
        halo_px=config.halo_px,
    )
    return _Work(
        windows=plan.tile_count,
        pixels=box.pixels,
        written=sum(
            box.cells(out.stride_px, of_px=outputs[-1].stride_px).pixels
            * _cell_bytes(out, config)
            for out in outputs
        ),
    )


def _grid(size: Size) -> GeoBox:
    """Return a grid of a size; where it lies makes no difference to the work."""
    height, width = size
    return GeoBox(
        crs=CRS.from_epsg(32631),
        transform=Affine.scale(10, -10),
        height=height,
        width=width,
    )


def _cell_bytes(output: Output, config: RunConfig) -> int:
    """Return the bytes that a cell takes, before compression."""
    if isinstance(config, EmbedConfig):
        return output.channels * _VALUE_BYTES[config.dtype]
    assert isinstance(config, SegmentConfig)
    return 1 + 4 * output.channels * config.probabilities
