"""What window and halo cost and bring, for a model with window GRN.

Decides the defaults in `mmearth_infer.run.tiling`. The scene is the Major TOM scene
mirrored into 2 x 2, the reference its map in one window. `kept` is the share of the
computed pixels that is not halo, `net` the throughput that is left; `seam` compares
the steps across core borders with the steps inside (1: no seam to be seen).

    python -m tests.benchmarks.tiling_defaults MODEL.onnx
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from mmearth_infer.engine.open import open_model
from mmearth_infer.grid.plan import TilePlan, plan_tiles
from tests.helpers.data import MAJORTOM

if TYPE_CHECKING:
    from mmearth_infer.seams import Engine

SETTINGS = (
    *((112, 0), (224, 0), (224, 32)),
    *((448, 0), (448, 16), (448, 32), (448, 48), (448, 64), (448, 96)),
    *((672, 0), (672, 32), (672, 64), (672, 96)),
    *((896, 0), (896, 64), (896, 96), (1056, 64), (1056, 128)),
)
BATCH_PX = 224 * 224


def mirrored_scene(side_px: int = 1056) -> np.ndarray:
    """Return the Major TOM scene beside its mirror images, `(12, 2 side, 2 side)`."""
    with rasterio.open(MAJORTOM) as file:
        dn = file.read()[:, :side_px, :side_px]
    dn = np.concatenate([dn, dn[:, ::-1]], axis=1)
    return np.ascontiguousarray(np.concatenate([dn, dn[:, :, ::-1]], axis=2))


def tiled_map(engine: Engine, dn_CHW: np.ndarray, plan: TilePlan) -> np.ndarray:
    """Return the map of a scene, tile by tile."""
    tiles = [tile for row in plan.rows for tile in plan.tiles(row)]
    size = max(BATCH_PX // (plan.tile_height * plan.tile_width * 256), 1)
    result: np.ndarray | None = None
    for first in range(0, len(tiles), size):
        batch = tiles[first : first + size]
        places = [tile.cells.times(16).slices for tile in batch]
        features = engine(np.stack([dn_CHW[:, rows, cols] for rows, cols in places]))
        for tile, whole in zip(batch, features, strict=True):
            if result is None:
                result = np.empty((len(whole), plan.height, plan.width), np.float32)
            inside = tile.core.seen_from(tile.cells).slices
            result[(slice(None), *tile.core.slices)] = whole[(slice(None), *inside)]
    assert result is not None
    return result


def seam_index(features: np.ndarray, plan: TilePlan) -> float:
    """Return the mean step across core borders over the mean step inside."""
    ratios = []
    for axis, spans in ((1, plan.rows), (2, plan.cols)):
        steps = np.abs(np.diff(features, axis=axis)).mean(axis=(0, 3 - axis))
        border = np.isin(np.arange(len(steps)) + 1, [s.core_start for s in spans[1:]])
        if border.any():
            ratios.append(steps[border].mean() / steps[~border].mean())
    return float(np.mean(ratios)) if ratios else 1.0


def measure(
    model: Path, dn_CHW: np.ndarray, settings: tuple[tuple[int, int], ...]
) -> list[tuple[float, ...]]:
    """Return a row of figures for each window and halo."""
    opened = open_model(model)
    engine = opened.engine(level="l2a", output=opened.file.manifest.output(None))
    reference = engine(dn_CHW[None])[0]
    rows = []
    for window_px, halo_px in settings:
        plan = plan_tiles(
            height_px=dn_CHW.shape[1],
            width_px=dn_CHW.shape[2],
            stride_px=16,
            multiple_px=16,
            window_px=window_px,
            halo_px=halo_px,
        )
        began = time.perf_counter()
        features = tiled_map(engine, dn_CHW, plan)
        elapsed_s = time.perf_counter() - began
        computed = plan.tile_count * plan.tile_height * plan.tile_width * 256
        kept = ((window_px - 2 * halo_px) / window_px) ** 2
        gross = computed / 1e6 / elapsed_s
        error = np.sqrt(((features - reference) ** 2).mean()) / reference.std()
        rows.append(
            (
                *(window_px, halo_px, gross, kept, gross * kept),
                *(float(error), seam_index(features, plan)),
            )
        )
    return rows


def main() -> None:
    """Print the table that stands in docs/benchmarks/defaults.md."""
    print("| window | halo | Mpx/s | kept | net Mpx/s | error | seam |")
    print("|---|---|---|---|---|---|---|")
    for row in measure(Path(sys.argv[1]), mirrored_scene(), SETTINGS):
        window, halo, *figures = row
        print(f"| {window} | {halo} | {' | '.join(f'{f:.2f}' for f in figures)} |")


if __name__ == "__main__":
    main()
