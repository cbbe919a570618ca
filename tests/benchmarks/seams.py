"""What window, halo and blending cost and bring, for each scope of GRN.

    python -m tests.benchmarks.seams [--repeats 3]

Decides the defaults in `mmearth_infer.run.tiling` (docs/adr/0015). The model is
atto/16 with golden weights, the scene the Major TOM scene mirrored into 2 x 2, 2112 px.
Every tile is computed; `error` is the RMS difference to the map of the scene in one
window over that map's standard deviation, `near` likewise of the cells a halo or 32 px
from a border of cores. Other processes may slow this one down: seconds are the medians
over repeats of each (window, halo), and include stitching. The last line is JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import numpy as np

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_infer.engine.open import open_model
from mmearth_infer.grid.plan import Blend, TilePlan, plan_tiles
from mmearth_infer.grid.window import Window
from mmearth_infer.run.seams import SeamReport
from mmearth_infer.run.steps import measure_steps
from mmearth_infer.seams import Swath
from mmearth_infer.stitch.mosaic import Mosaic
from tests.benchmarks.tiling_defaults import mirrored_scene
from tests.helpers.data import MAJORTOM
from tests.helpers.golden import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

BLENDS: tuple[Blend, ...] = get_args(Blend)
SETTINGS = (
    *((224, 0), (224, 32), (448, 0), (448, 32), (448, 64), (448, 96)),
    *((672, 0), (672, 32), (672, 64), (672, 96), (672, 128), (672, 192)),
    *((896, 0), (896, 64), (896, 96), (896, 128), (896, 192)),
    *((1056, 64), (1056, 96), (1056, 128), (1056, 192), (1056, 288)),
)
STRIDE_PX = 16
NEAR_PX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    grn: str
    """Scope of GRN."""

    window: int
    """Side of a tile, px."""

    halo: int
    """Halo, px."""

    blend: str
    """How tiles make one map."""

    mpx_per_s: float
    """Pixels of the scene a second, in millions, halos at their expense."""

    index: float
    """Seam index."""

    medians: float
    """Seam index of medians."""

    beside: float
    """Largest mean step 1 to 6 cells from a border over the mean step elsewhere."""

    error: float
    """RMS difference to the untiled map over its standard deviation."""

    near: float
    """Likewise of the cells near borders."""


def features_of_tiles(
    engine: Callable[[np.ndarray], np.ndarray], dn_CHW: np.ndarray, plan: TilePlan
) -> list[np.ndarray]:
    """Return `features_NDhw` of each row of tiles, computed one by one."""
    rows = []
    for row in plan.rows:
        found = []
        for tile in plan.tiles(row):
            down, across = tile.cells.times(STRIDE_PX).slices
            found.append(engine(dn_CHW[None, :, down, across])[0])
        rows.append(np.stack(found))
    return rows


def stitched(rows: list[np.ndarray], plan: TilePlan, blend: Blend) -> np.ndarray:
    """Return the map of a scene from the features of its tiles."""
    mosaic = Mosaic(plan, channels=rows[0].shape[1], strip_rows=8, blend=blend)
    parts = []
    for row, features_NDhw in zip(plan.rows, rows, strict=True):
        mosaic.place(list(plan.tiles(row)), features_NDhw)
        seen = plan.swath_cells(row).times(STRIDE_PX)
        swath = Swath(
            row=row,
            dn_CHW=np.empty((0, 0, 0), np.uint16),
            present_HW=np.ones((seen.height, seen.width), bool),
        )
        parts += [strip.features_DhW for strip in mosaic.finish(swath)]
    return np.concatenate(parts, axis=1)


def near_borders(plan: TilePlan) -> np.ndarray:
    """Return the cells a halo or `NEAR_PX` from a border of cores."""
    reach = max(plan.halo_px, NEAR_PX) / STRIDE_PX
    near = []
    for length, spans in ((plan.height, plan.rows), (plan.width, plan.cols)):
        centres = np.arange(length) + 0.5
        borders = np.array([span.core_start for span in spans[1:]])
        near.append((np.abs(centres[:, None] - borders) <= reach).any(axis=1))
    found: np.ndarray = near[0][:, None] | near[1][None, :]
    return found


def measure(
    model: Path,
    grn: str,
    dn_CHW: np.ndarray,
    settings: tuple[tuple[int, int], ...],
    *,
    repeats: int,
    threads: int = 0,
) -> list[Row]:
    """Return a row of figures for each window, halo and blend."""
    opened = open_model(model, threads=threads)
    engine = opened.engine(level="l2a", output=opened.file.manifest.output(None))
    untiled = engine(dn_CHW[None])[0]
    spread = float(untiled.std())
    found = []
    for window_px, halo_px in settings:
        plan = plan_tiles(
            height_px=dn_CHW.shape[1],
            width_px=dn_CHW.shape[2],
            stride_px=STRIDE_PX,
            multiple_px=16,
            window_px=window_px,
            halo_px=halo_px,
        )
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            rows = features_of_tiles(engine, dn_CHW, plan)
            seconds.append(time.perf_counter() - began)
        for blend in BLENDS if halo_px else BLENDS[:1]:
            began = time.perf_counter()
            features = stitched(rows, plan, blend)
            stitch_s = time.perf_counter() - began
            whole = Window(row=0, col=0, height=plan.height, width=plan.width)
            report = SeamReport(
                **dict(
                    zip(
                        ("rows", "cols"),
                        measure_steps([(whole, features)], plan),
                        strict=True,
                    )
                )
            )
            beside = [
                step / axis.inside_mean
                for axis in (report.rows, report.cols)
                for step in axis.by_distance[1:-1]
                if step is not None and axis.inside_mean
            ]
            square = ((features - untiled) ** 2).mean(axis=0)
            near_hw = near_borders(plan)
            elapsed_s = statistics.median(seconds) + stitch_s
            found.append(
                Row(
                    grn=grn,
                    window=window_px,
                    halo=halo_px,
                    blend=blend,
                    mpx_per_s=dn_CHW[0].size / 1e6 / elapsed_s,
                    index=report.index or 1.0,
                    medians=report.index_of_medians or 1.0,
                    beside=max(beside, default=1.0),
                    error=float(np.sqrt(square.mean())) / spread,
                    near=float(np.sqrt(square[near_hw].mean())) / spread
                    if near_hw.any()
                    else 0.0,
                )
            )
    return found


def build(folder: Path, grn: str) -> Path:
    """Export the golden checkpoint."""
    out = folder / f"{grn}.onnx"
    checkpoint = folder / "golden.pth"
    if not checkpoint.exists():
        write_checkpoint(checkpoint)
    export_model(
        ExportConfig(
            checkpoint=checkpoint,
            out=out,
            grn=grn,  # type: ignore[arg-type]
            calibrate=(str(MAJORTOM),) if grn == "frozen" else (),
        )
    )
    return out


@click.command()
@click.option("--repeats", default=3, show_default=True)
@click.option("--threads", default=0, show_default=True)
def main(*, repeats: int, threads: int) -> None:
    """Print the tables that stand in docs/benchmarks/seams.md."""
    dn_CHW = mirrored_scene()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for grn in ("window", "frozen"):
            model = build(Path(name), grn)
            print(f"\nGRN {grn}\n")
            print("| window | halo | blend | Mpx/s | seam | median | error | near |")
            print("|---|---|---|---|---|---|---|---|")
            for row in measure(
                model, grn, dn_CHW, SETTINGS, repeats=repeats, threads=threads
            ):
                rows.append(row)
                print(
                    f"| {row.window} | {row.halo} | {row.blend} "
                    f"| {row.mpx_per_s:.2f} | {row.index:.3f} | {row.medians:.3f} "
                    f"| {row.error:.3f} | {row.near:.3f} |",
                    flush=True,
                )
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
