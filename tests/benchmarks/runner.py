"""The runner against its own parts: is it as fast as the slowest, and how much memory?

    python -m tests.benchmarks.runner [--side 10980] [--engine-side 4096]

1. Reading alone, against the runner with an engine that costs nothing (block mean, 12
   values a cell): a scene of `--side` px, 12 bands, zstd and deflate, in turns.
2. The engine alone on the batches of a scene of `--engine-side` px, against the runner
   from file to store with the same engine, in turns: atto/16, frozen GRN.
3. Peak memory of `mmearth embed` in a process of its own: a scene of `--side` px, and
   one a quarter as large.
4. On a GPU: the large scene from file to store with atto/16, the share of the time in
   which the engine was at work, and that in which NVIDIA's driver saw the GPU at work.

The scene is the Major TOM scene over and over, mirrored, with a little noise in each
copy, so that it is as hard to decode as real ones. The last line is JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import rasterio
from rasterio.windows import Window as RasterWindow

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_infer.engine.cuda import gpu_count
from mmearth_infer.engine.open import open_model
from mmearth_infer.feed.batches import cut_batches, read_swaths
from mmearth_infer.feed.lanes import in_lanes
from mmearth_infer.grid.plan import plan_tiles
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.run.embed import embed
from mmearth_infer.run.pipeline import MapShape, NoProgress, run
from mmearth_infer.run.report import Stopwatch
from mmearth_infer.run.tiling import (
    DEFAULT_HALO_PX,
    DEFAULT_WINDOW_PX,
    PANEL_PX,
    tiles_per_batch,
)
from mmearth_infer.write.encode import Encoding
from mmearth_infer.write.layout import Layer
from mmearth_infer.write.zarr_store import ZarrSink
from tests.helpers.data import MAJORTOM
from tests.helpers.killing import command
from tests.helpers.random_checkpoint import write_random

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from mmearth_infer.grid.plan import TilePlan
    from mmearth_infer.run.report import Report
    from mmearth_infer.seams import Source

STRIDE = 16
BLOCK = 512


@dataclass(frozen=True)
class Figures:
    """What was measured, in one run."""

    rows: dict[str, dict[str, float]]

    def show(self) -> None:
        """Print them."""
        for name, row in self.rows.items():
            print(name, {key: round(value, 3) for key, value in row.items()})


def write_large(path: Path, side: int, compress: str) -> Path:
    """Write a scene out of mirrored copies of the Major TOM scene, block by block."""
    with rasterio.open(MAJORTOM) as file:
        once = file.read()[:, :1024, :1024]
        profile = {**file.profile, "height": side, "width": side}
        names = file.descriptions
    flips = [once, once[:, ::-1], once[:, :, ::-1], once[:, ::-1, ::-1]]
    rng = np.random.default_rng(0)
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    profile |= {"compress": compress, "interleave": "band", "predictor": 2}
    with rasterio.open(path, "w", **profile, num_threads="all_cpus") as out:
        out.descriptions = names
        for row in range(0, side, 1024):
            for col in range(0, side, 1024):
                height, width = min(1024, side - row), min(1024, side - col)
                dn = flips[int(rng.integers(4))][:, :height, :width]
                noisy = dn + rng.integers(0, 8, dn.shape, dtype=np.uint16)
                out.write(noisy, window=RasterWindow(col, row, width, height))
    return path


def block_mean(dn_NCHW: NDArray[np.uint16]) -> tuple[NDArray[np.float32]]:
    """Return the mean of each cell's pixels: an engine that costs next to nothing."""
    n, c, height, width = dn_NCHW.shape
    cells = dn_NCHW.reshape(n, c, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    thin = cells[:, :, :, :: STRIDE // 2, :, :: STRIDE // 2]
    return (thin.mean(axis=(3, 5), dtype=np.float32),)


def plan_of(source: Source) -> TilePlan:
    """Return the default tiling of a scene."""
    box = source.scene.geobox
    return plan_tiles(
        height_px=box.height,
        width_px=box.width,
        stride_px=STRIDE,
        multiple_px=STRIDE,
        window_px=DEFAULT_WINDOW_PX,
        halo_px=DEFAULT_HALO_PX["frozen"],
    )


def opened(scene: Path) -> AbstractContextManager[Source]:
    """Open a scene as `mmearth embed` does."""
    threads = os.cpu_count() or 1
    return open_source(str(scene), options=SceneOptions(), wanted=None, threads=threads)


def read_alone(scene: Path) -> float:
    """Return the seconds it takes to read a scene as the runner reads it."""
    with opened(scene) as source:
        plan = plan_of(source)
        began = time.perf_counter()
        for _ in read_swaths(source, plan, plan.rows):
            pass
        return time.perf_counter() - began


def run_for_nothing(scene: Path, out: Path) -> float:
    """Return the seconds of the whole way with an engine that costs nothing."""
    with opened(scene) as source:
        plan = plan_of(source)
        layer = Layer(
            group="",
            box=source.scene.geobox.cells(STRIDE),
            stride_px=STRIDE,
            channels=12,
            encoding=Encoding(name="float32"),
            geoemb={},
        )
        began = time.perf_counter()
        with ZarrSink(
            out, layers=[layer], provenance={}, job={}, overwrite=True
        ) as sink:
            run(
                source,
                block_mean,
                sink,
                plan=plan,
                maps=[MapShape(channels=12)],
                batch_size=1,
                panel_cells=PANEL_PX // STRIDE,
                watch=Stopwatch(),
                progress=NoProgress(),
                read_ahead_bytes=512 * 2**20,
            )
            sink.finish()
        return time.perf_counter() - began


def engine_alone(scene: Path, model: Path) -> float:
    """Return the seconds of the engine on every batch of a scene, read before."""
    compiled = open_model(model)
    runtime, manifest = compiled.runtime, compiled.file.manifest
    watch = Stopwatch()
    with opened(scene) as source:
        plan = plan_of(source)
        size = tiles_per_batch(
            None,
            plan,
            manifest,
            free_bytes=runtime.free_bytes(),
            lanes=runtime.lanes,
        )
        engine = compiled.engines(level="l2a", outputs=[manifest.output(None)])
        swaths = list(read_swaths(source, plan, plan.rows))
        batches = [
            batch
            for swath in swaths
            for batch in cut_batches(swath, plan, size=size, blend="cosine")
        ]
        engine(batches[0].dn_NCHW)
        with (
            watch.busy("compute"),
            in_lanes(
                iter(batches), lambda batch: engine(batch.dn_NCHW), lanes=runtime.lanes
            ) as computed,
        ):
            for _ in computed:
                pass
    return watch.stage_s["compute"]


def whole_way(scene: Path, model: Path, out: Path) -> Report:
    """Return what the whole way from file to store took."""
    return embed(
        EmbedConfig(
            scene=str(scene),
            out=out,
            model=model,
            overwrite=True,
        )
    )


def seconds_of(report: Report) -> float:
    """Return the seconds of a run, opening the model not counted."""
    return report.elapsed_s - report.stage_s["open"]


@contextmanager
def gpu_share() -> Iterator[list[float]]:
    """Sample, ten times a second, how busy NVIDIA's driver says the GPU is."""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "-lms", "100"]
    found: list[float] = []
    with subprocess.Popen(
        [*command, "--format=csv,noheader,nounits"], stdout=subprocess.PIPE, text=True
    ) as sampled:
        try:
            yield found
        finally:
            sampled.terminate()
            said, _ = sampled.communicate()
            found += [float(line) / 100 for line in said.splitlines()]


def on_a_gpu(scene: Path, model: Path, out: Path) -> dict[str, float]:
    """Return how long the large scene takes on a GPU, the second of two runs."""
    whole_way(scene, model, out)
    with gpu_share() as shares:
        report = whole_way(scene, model, out)
    return {
        "s": report.elapsed_s,
        "Mpx/s": report.megapixels_per_s,
        "share of the time that the engine was at work": report.stage_s["compute"]
        / report.elapsed_s,
        "busy, says the driver": statistics.mean(shares),
        **{f"{stage}, s": spent for stage, spent in report.stage_s.items()},
    }


def peak_mb(scene: Path, model: Path, out: Path) -> float:
    """Return the peak memory of `mmearth embed` in a process of its own."""
    args = ["embed", scene, "-o", out, "--model", model, "--overwrite", "--json", "-q"]
    done = subprocess.run(command(*args), check=True, capture_output=True, text=True)
    peak: int = json.loads(done.stdout.splitlines()[-1])["peak_rss_bytes"]
    return peak / 2**20


def in_turns(turns: int, *measured: Callable[[], float]) -> list[float]:
    """Return the median of each, measured one after the other again and again."""
    seconds = [[one() for one in measured] for _ in range(turns)]
    return [statistics.median(column) for column in zip(*seconds, strict=True)]


@click.command()
@click.option("--side", default=10980, show_default=True)
@click.option("--engine-side", default=4096, show_default=True)
@click.option("--turns", default=3, show_default=True)
@click.option("--memory/--no-memory", default=True, show_default=True)
def main(*, side: int, engine_side: int, turns: int, memory: bool) -> None:
    """Measure the runner."""
    where = "GPU" if gpu_count() else "CPU"
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for compress in ("zstd", "deflate"):
            scene = write_large(folder / "s.tif", side, compress)
            alone, whole = in_turns(
                turns,
                lambda scene=scene: read_alone(scene),
                lambda scene=scene: run_for_nothing(scene, folder / "n.zarr"),
            )
            mpx = side**2 / 1e6
            rows[f"block mean, {compress}"] = {
                "reading alone, Mpx/s": mpx / alone,
                "runner, Mpx/s": mpx / whole,
                "share": alone / whole,
            }
            Figures(rows).show()
        checkpoint = write_random(folder / "atto", "atto", 16)
        model = folder / "atto.onnx"
        export_model(
            ExportConfig(
                checkpoint=checkpoint,
                out=model,
                grn="frozen",
                calibrate=(str(MAJORTOM),),
            )
        )
        small = write_large(folder / "e.tif", engine_side, "deflate")
        alone, whole = in_turns(
            turns,
            lambda: engine_alone(small, model),
            lambda: seconds_of(whole_way(small, model, folder / "e.zarr")),
        )
        rows[f"atto/16 on a {where}"] = {
            "engine alone, Mpx/s": engine_side**2 / 1e6 / alone,
            "runner, Mpx/s": engine_side**2 / 1e6 / whole,
            "share": alone / whole,
        }
        Figures(rows).show()
        if gpu_count():
            rows["the large scene on a GPU"] = on_a_gpu(scene, model, folder / "g.zarr")
            Figures(rows).show()
        if memory:
            quarter = write_large(folder / "q.tif", side // 2, "deflate")
            large = peak_mb(scene, model, folder / "m.zarr")
            less = peak_mb(quarter, model, folder / "m.zarr")
            rows["peak memory"] = {
                "MiB": large,
                "a quarter of the scene, MiB": less,
                "more": large / less - 1,
            }
            Figures(rows).show()
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
