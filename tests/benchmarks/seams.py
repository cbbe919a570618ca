"""What window, halo and blending cost and bring, for each scope of GRN.

    python -m tests.benchmarks.seams [--turns 3]

Decides the defaults in `mmearth_infer.run.tiling` (docs/adr/0015). The model is
atto/16 with golden weights, the scene the Major TOM scene mirrored into 2 x 2, 2112 px.
`seam` is the seam index over that of the untiled map at the same borders: 1 is no seam,
whatever the scene has there. `error` is the RMS difference to the untiled map over that
map's standard deviation, `near` likewise of the cells within a halo, or 32 px, of a
border. Seconds are of the fastest turn; all models and tilings take turns, as the
machine may be busy with other things, which only ever slow. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
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
    from collections.abc import Callable, Iterator

BLENDS: tuple[Blend, ...] = get_args(Blend)
SETTINGS = (
    *((224, 32), (448, 0), (448, 32), (448, 64)),
    *((672, 0), (672, 32), (672, 64), (672, 96), (672, 128)),
    *((896, 64), (896, 96), (896, 128), (1056, 128), (1344, 128), (1056, 288)),
)
SCENE_PX = 2112
STRIDE_PX = 16
NEAR_PX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How a map that was made of tiles compares with the untiled one."""

    blend: str
    """How tiles make one map."""

    stitch_s: float
    """Seconds that putting the tiles together took."""

    seam: float
    """Seam index over that of the untiled map at the same borders."""

    medians: float
    """Likewise of medians."""

    error: float
    """RMS difference to the untiled map over its standard deviation."""

    near: float
    """Likewise of the cells near borders."""


@dataclass(slots=True, kw_only=True)
class Row:
    """What was measured for one scope of GRN, window and halo."""

    grn: str
    """Scope of GRN."""

    window: int
    """Side of a tile, px."""

    halo: int
    """Halo, px."""

    kept: float
    """Share of the computed pixels that are no halo, on a large scene."""

    seconds: list[float] = field(default_factory=list)
    """Of computing all tiles, each turn."""

    figures: list[Figures] = field(default_factory=list)
    """For each way of blending."""


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


def seam_report(features: np.ndarray, plan: TilePlan) -> SeamReport:
    """Return the steps of a whole map."""
    whole = Window(row=0, col=0, height=plan.height, width=plan.width)
    rows, cols = measure_steps([(whole, features)], plan)
    return SeamReport(rows=rows, cols=cols)


def compare(
    rows: list[np.ndarray], untiled: np.ndarray, plan: TilePlan, blend: Blend
) -> Figures:
    """Put tiles together and hold the map against the untiled one."""
    began = time.perf_counter()
    features = stitched(rows, plan, blend)
    stitch_s = time.perf_counter() - began
    report, without = seam_report(features, plan), seam_report(untiled, plan)
    square = ((features - untiled) ** 2).mean(axis=0)
    near_hw = near_borders(plan)
    near = square[near_hw].mean() if near_hw.any() else 0.0
    spread = float(untiled.std())
    return Figures(
        blend=blend,
        stitch_s=stitch_s,
        seam=(report.index or 1) / (without.index or 1),
        medians=(report.index_of_medians or 1) / (without.index_of_medians or 1),
        error=float(np.sqrt(square.mean())) / spread,
        near=float(np.sqrt(near)) / spread,
    )


def measure(
    models: dict[str, Path],
    dn_CHW: np.ndarray,
    settings: tuple[tuple[int, int], ...],
    *,
    turns: int,
) -> Iterator[list[Row]]:
    """Yield the figures of each model, window and halo so far, after each turn."""
    rows: dict[tuple[str, int, int], Row] = {}
    for turn in range(turns):
        for grn, model in models.items():
            opened = open_model(model)
            output = opened.file.manifest.output(None)
            engine = opened.engine(level="l2a", output=output)
            untiled = engine(dn_CHW[None])[0] if turn == 0 else None
            for window_px, halo_px in settings:
                plan = plan_tiles(
                    height_px=dn_CHW.shape[1],
                    width_px=dn_CHW.shape[2],
                    stride_px=STRIDE_PX,
                    multiple_px=STRIDE_PX,
                    window_px=window_px,
                    halo_px=halo_px,
                )
                kept = ((window_px - 2 * halo_px) / window_px) ** 2
                row = rows.setdefault(
                    (grn, window_px, halo_px),
                    Row(grn=grn, window=window_px, halo=halo_px, kept=kept),
                )
                began = time.perf_counter()
                tiles = features_of_tiles(engine, dn_CHW, plan)
                row.seconds.append(time.perf_counter() - began)
                if untiled is not None:
                    row.figures = [
                        compare(tiles, untiled, plan, blend)
                        for blend in (BLENDS if halo_px else BLENDS[:1])
                    ]
                print(
                    f"turn {turn}: {row.grn} {row.window} {row.halo}", file=sys.stderr
                )
        yield list(rows.values())


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


def show(row: Row) -> None:
    """Print the lines of a row."""
    computed = tile_pixels(row) / 1e6 / min(row.seconds)
    for figures in row.figures:
        print(
            f"| {row.window} | {row.halo} | {figures.blend} | {computed:.2f} "
            f"| {row.kept:.2f} | {computed * row.kept:.2f} | {figures.seam:.3f} "
            f"| {figures.medians:.3f} | {figures.error:.4f} | {figures.near:.4f} |"
        )


def tile_pixels(row: Row) -> int:
    """Return the pixels of all tiles of a row, halos included."""
    plan = plan_tiles(
        height_px=SCENE_PX,
        width_px=SCENE_PX,
        stride_px=STRIDE_PX,
        multiple_px=STRIDE_PX,
        window_px=row.window,
        halo_px=row.halo,
    )
    height, width = plan.tile_px
    return plan.tile_count * height * width


@click.command()
@click.option("--turns", default=3, show_default=True)
def main(*, turns: int) -> None:
    """Print the tables that stand in docs/benchmarks/seams.md."""
    with tempfile.TemporaryDirectory() as name:
        models = {grn: build(Path(name), grn) for grn in ("window", "frozen")}
        for rows in measure(models, mirrored_scene(), SETTINGS, turns=turns):
            print(f"\nafter {len(rows[0].seconds)} of {turns} turns")
            show_tables(rows)
    print(json.dumps([asdict(row) for row in rows]))


def show_tables(rows: list[Row]) -> None:
    """Print a table for each scope of GRN."""
    for grn in dict.fromkeys(row.grn for row in rows):
        print(f"\nGRN {grn}\n")
        print(
            "| window | halo | blend | Mpx/s | kept | net Mpx/s | seam | median "
            "| error | near |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for row in rows:
            if row.grn == grn:
                show(row)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
