"""`mmearth segment`: a scene in, a map of classes out.

A map in a Zarr store is written as stores of embeddings are. A map in a GeoTIFF is
written to a store beside it first, which may be gone on with after a kill, becomes the
GeoTIFF once it is complete, and is removed then.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from mmearth_infer.contract.classes import NODATA_CLASS
from mmearth_infer.disk import check_files, check_suffix, disk_errors
from mmearth_infer.errors import StoreError
from mmearth_infer.run.prepared import drive, prepare, report_of
from mmearth_infer.run.provenance import job, provenance
from mmearth_infer.run.report import Report, Stopwatch
from mmearth_infer.run.tiling import PANEL_PX
from mmearth_infer.write.address import locate
from mmearth_infer.write.cog_file import TIFFS
from mmearth_infer.write.layout import CLASS
from mmearth_infer.write.map_cog import read_classes, read_tag
from mmearth_infer.write.map_store import (
    PROBABILITY,
    MapSink,
    map_layers,
    read_map,
    write_cogs,
)
from mmearth_infer.write.work import work_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.run.config import SegmentConfig
    from mmearth_infer.run.pipeline import Progress
    from mmearth_infer.run.prepared import Prepared
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.layout import Layer

SUFFIX: Final = ".gpkg"
"""Of GeoPackages."""

RUN_TAG: Final = "MMEARTH_RUN"
"""Tag of a GeoTIFF with a digest of everything that made it."""

LOGIT_BYTES: Final = 256 * 2**20
"""Logits that are held at once: maps of many classes go by narrower panels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """What `mmearth segment` made."""

    report: Report
    """What was done, in numbers."""

    files: dict[str, str]
    """What was written, by what it is: `class`, `probability`, `polygons`."""

    cells: dict[str, int]
    """Cells of each class."""

    square_km: dict[str, float]
    """About the area of each class."""

    polygons: int | None = None
    """How many polygons were written; None for none asked for."""

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        said = asdict(self)
        return json.dumps({**said.pop("report"), **said})


def segment(config: SegmentConfig, progress: Progress | None = None) -> MapReport:
    """Map the classes of a scene.

    Args:
        config: What to read, how, and where to write.
        progress: Is told how far it is; None for nobody.

    Returns:
        What was done, in numbers, and the files.

    Raises:
        MMEarthError: With a hint. Nothing is under the map's name, or what was there
            before; what was written waits for `resume`.

    """
    watch = Stopwatch()
    out = locate(config.target)
    tiffs = _tiffs(out, config)
    store = written_to(out)
    _check(config, store, tiffs)
    with prepare(config, task="segmentation", watch=watch) as made:
        digest = _digest(job(_said(made, config), made))
        layers = segment_layers(made, config)
        classes = made.model.file.manifest.classes
        if config.resume and _are_there(tiffs, digest):
            class_HW, resumed = read_classes(tiffs[CLASS]), made.plan.cell_count
        else:
            resumed = _compute(made, config, watch=watch, progress=progress)
            class_HW = _read_classes(store, layers[-1])
            if tiffs:
                with watch.busy("write"), disk_errors(tiffs[CLASS]):
                    write_cogs(store, layers, classes, tiffs, {RUN_TAG: digest})
                    shutil.rmtree(str(store))
        with watch.busy("write"):
            polygons = _write_polygons(made, config, class_HW, layers[-1].box)
        counts = np.bincount(class_HW.ravel(), minlength=NODATA_CLASS + 1)
        report = report_of(
            made,
            watch,
            store=out,
            valid_cells=int(counts[:NODATA_CLASS].sum()),
            resumed_cells=resumed,
        )
    names = [one.name for one in classes]
    areas = counts * layers[-1].box.square_km / class_HW.size
    return MapReport(
        report=report,
        files=_files(out, tiffs, config),
        cells=dict(zip(names, counts.tolist(), strict=False)),
        square_km=dict(zip(names, areas.tolist(), strict=False)),
        polygons=polygons,
    )


def _tiffs(out: Where, config: SegmentConfig) -> dict[str, Path]:
    """Return the GeoTIFFs that are asked for, by their array; none for a store."""
    if not _is_tiff(out):
        return {}
    tiffs = {CLASS: out}
    if config.probabilities:
        tiffs[PROBABILITY] = out.with_name(f"{out.stem}.{PROBABILITY}{out.suffix}")
    return tiffs


def written_to(out: Where) -> Where:
    """Return the store that is written: the map itself, or what becomes a GeoTIFF."""
    return out.with_name(f"{out.name}.zarr") if _is_tiff(out) else out


def _is_tiff(out: Where) -> TypeGuard[Path]:
    """Tell whether a map is a GeoTIFF, by its name."""
    return isinstance(out, Path) and out.suffix.lower() in TIFFS


def _check(config: SegmentConfig, store: Where, tiffs: Mapping[str, Path]) -> None:
    """Refuse early what may not be replaced.

    Raises:
        StoreError: Naming it.

    """
    if config.polygons is not None:
        check_suffix(config.polygons, (SUFFIX,), "a GeoPackage", option="--polygons")
    if config.resume:
        return
    check_files([*tiffs.values(), config.polygons], overwrite=config.overwrite)
    work_at(store, overwrite=config.overwrite).check()


def segment_layers(made: Prepared, config: SegmentConfig) -> list[Layer]:
    """Return the arrays of a map, the classes last."""
    (output,) = made.outputs
    return map_layers(
        made.scene.geobox.cells(output.stride_px),
        made.model.file.manifest.classes,
        stride_px=output.stride_px,
        probabilities=config.probabilities,
    )


def _are_there(tiffs: Mapping[str, Path], digest: str) -> bool:
    """Tell whether GeoTIFFs are all there already.

    Raises:
        StoreError: If one is, and was made from something else.

    """
    there = [path for path in tiffs.values() if path.exists()]
    for path in there:
        if read_tag(path, RUN_TAG) != digest:
            raise StoreError(
                f"`{path}` is there, of another scene, model or settings",
                hint="choose another -o, or replace it with --overwrite",
            )
    return bool(tiffs) and len(there) == len(tiffs)


def _compute(
    made: Prepared,
    config: SegmentConfig,
    *,
    watch: Stopwatch,
    progress: Progress | None,
) -> int:
    """Write the store, and return how many cells an earlier run had written."""
    with map_sink(made, config) as sink:
        resumed = made.plan.cell_count if sink.is_complete else sink.done.cells
        drive(
            made,
            sink,
            config,
            panel_px=panel_px(made, sink.chunk_cells),
            watch=watch,
            progress=progress,
        )
    return resumed


def map_sink(
    made: Prepared, config: SegmentConfig, *, part: range | None = None
) -> MapSink:
    """Return the store of a run, or a part of it that others have begun."""
    said = _said(made, config)
    return MapSink(
        written_to(locate(config.target)),
        layers=segment_layers(made, config),
        provenance=said,
        job=job(said, made),
        overwrite=config.overwrite,
        resume=config.resume,
        part=part,
    )


def _said(made: Prepared, config: SegmentConfig) -> dict[str, Any]:
    """Return what a map says of its origin."""
    return provenance(made, {"probabilities": config.probabilities})


def panel_px(made: Prepared, strip_cells: int) -> int:
    """Return the widest part of a scene whose logits may be held at once."""
    (output,) = made.outputs
    rows = strip_cells + made.plan.tile_px[0] // output.stride_px
    cells = LOGIT_BYTES // (4 * output.channels * rows)
    return min(PANEL_PX, max(cells, strip_cells) * output.stride_px)


def _read_classes(store: Where, layer: Layer) -> NDArray[np.uint8]:
    """Return `class_HW` of a finished store."""
    class_HW = np.empty((layer.box.height, layer.box.width), np.uint8)
    for class_1hw, window in read_map(store, layer):
        class_HW[window.slices] = class_1hw[0]
    return class_HW


def _write_polygons(
    made: Prepared, config: SegmentConfig, class_HW: NDArray[np.uint8], box: GeoBox
) -> int | None:
    """Write the map as polygons, if that is asked for, and return how many."""
    if config.polygons is None:
        return None
    from mmearth_infer.write.polygons import write_polygons  # noqa: PLC0415 -- an extra

    return write_polygons(
        config.polygons,
        class_HW,
        box,
        made.model.file.manifest.classes,
        least_cells=config.least_cells,
    )


def _files(
    out: Where, tiffs: Mapping[str, Path], config: SegmentConfig
) -> dict[str, str]:
    """Return what was written, by what it is."""
    files = {name: str(path) for name, path in tiffs.items()} or {"store": str(out)}
    if config.polygons is not None:
        files["polygons"] = str(config.polygons)
    return files


def _digest(said: dict[str, Any]) -> str:
    """Return a digest of everything that decides what a map holds."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
