"""How fast engines are, side by side in one run.

Each engine is measured in a process of its own, so that memory and start-up are its
own; engines take turns, so that a busy machine slows all alike.

Shapes: N tiles, C bands, H W pixels.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.engine.open import open_model, read_file
from mmearth_infer.errors import MMEarthError, ModelError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.demo import DEMO_NAME
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_infer.run.report import peak_rss_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.manifest import Architecture, Manifest
    from mmearth_infer.engine.choice import Choice

PEAK_SIDE: Final = 2048
"""Side of the matrices whose product is the machine's peak."""

EXPANSION: Final = 4
"""Width of a block's inner Linear, in multiples of its channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchConfig:
    """A run of `mmearth bench`."""

    scene: str = DEMO_NAME
    """Whose pixels they run on."""

    window_px: int = 672
    """Side of a tile."""

    batch_size: int = 1
    """Tiles a batch."""

    turns: int = 3
    """Turns of each engine."""

    repeats: int = 5
    """Batches a turn, after one that is not counted."""

    threads: int = 0
    """Threads of the engine; 0 for one a core."""

    trusted: bool = False
    """Run model files that hold machine code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One engine with one model."""

    model: str
    """Name of the file."""

    engine: str
    """The library, and its version."""

    device: str
    """What it computed on."""

    grn: str
    """Scope of GRN."""

    precision: str
    """Arithmetic of the model."""

    mpx_per_s: float
    """Millions of pixels a second, the median of all turns."""

    peak_share: float
    """Share of the processor's fp32 matrix product that this is."""

    memory_mb: float
    """Peak resident memory of its process, MB of 2**20 bytes."""

    start_s: float
    """Seconds to open the model and run it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """What one process measured."""

    engine: str
    """The library, and its version."""

    device: str
    """What it computed on."""

    seconds: float
    """Seconds a batch, the median of some."""

    memory_mb: float
    """Peak resident memory, MB of 2**20 bytes."""

    start_s: float
    """Seconds to open the model and run it once."""


def bench(
    pairs: Sequence[tuple[Path, Choice]],
    config: BenchConfig,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[Measured], float]:
    """Measure engines.

    Args:
        pairs: Model files, each with an engine and a device that run it.
        config: How.
        tell: Is told what is being measured.

    Returns:
        A row for each pair, and the peak of the machine in GFLOP/s: the median of an
        fp32 matrix product, measured between the engines.

    Raises:
        MMEarthError: If a model cannot be run.

    """
    manifests = [read_file(path).manifest for path, _ in pairs]
    for manifest, (path, _) in zip(manifests, pairs, strict=True):
        if config.window_px % manifest.multiple_px:
            raise ModelError(
                f"a window of {config.window_px} px is no multiple of "
                f"{manifest.multiple_px} px, as `{path}` needs",
                hint="choose another --window",
            )
    turns: list[list[_Turn]] = [[] for _ in pairs]
    peaks = []
    for number in range(config.turns):
        for (path, choice), done in zip(pairs, turns, strict=True):
            tell(f"turn {number + 1} of {config.turns}: {path.name} by {choice.engine}")
            done.append(_apart(path, choice, config))
        peaks.append(peak_gflops())
    peak = statistics.median(peaks)
    pixels = config.batch_size * config.window_px**2
    rows = []
    for (path, _), manifest, done in zip(pairs, manifests, turns, strict=True):
        seconds = statistics.median(turn.seconds for turn in done)
        flops = flops_per_px(manifest) * pixels / seconds
        rows.append(
            Measured(
                model=path.name,
                engine=done[0].engine,
                device=done[0].device,
                grn=manifest.grn.scope,
                precision=manifest.precision,
                mpx_per_s=pixels / seconds / 1e6,
                peak_share=flops / 1e9 / peak,
                memory_mb=statistics.median(turn.memory_mb for turn in done),
                start_s=statistics.median(turn.start_s for turn in done),
            )
        )
    return rows, peak


def flops_per_px(manifest: Manifest) -> float:
    """Return the operations of convolutions and Linear layers for each pixel.

    A product and a sum are two. Norms, GELU and GRN are left out, as in most counts.
    """
    made = manifest.architecture
    deepest = max(out.stage for out in manifest.outputs)
    bands, stem_px = len(manifest.bands), made.patch_px // 8
    total = _stem_flops(made, bands)
    for stage in range(deepest):
        dim, cell_px = made.dims[stage], (stem_px * 2**stage) ** 2
        block = 2 * dim * 49 + 2 * 2 * EXPANSION * dim**2
        total += made.depths[stage] * block / cell_px
    for stage, (narrow, wide) in enumerate(pairwise(made.dims[:deepest]), start=1):
        total += 2 * 4 * narrow * wide / (stem_px * 2**stage) ** 2
    return total


def _stem_flops(made: Architecture, bands: int) -> float:
    """Return the operations of the stem for each pixel."""
    if made.original_stem:
        return 2.0 * bands * made.dims[0]
    return 2.0 * 9 * bands * made.dims[0] + 2.0 * made.dims[0]


def _apart(path: Path, choice: Choice, config: BenchConfig) -> _Turn:
    """Measure one engine in a process of its own."""
    context = get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        found = pool.submit(_measure, path, choice, config).result()
    if isinstance(found, MMEarthError):
        raise found
    return found


def _measure(path: Path, choice: Choice, config: BenchConfig) -> _Turn | MMEarthError:
    """Measure one engine in this process; an error is returned, hint and all."""
    started = time.perf_counter()
    try:
        model = open_model(
            path,
            engine=choice.engine,
            device=choice.device,
            threads=config.threads,
            trusted=config.trusted,
        )
        manifest = model.file.manifest
        dn_NCHW, level = read_tiles(manifest, config)
        run = model.engine(level=level, output=manifest.output(None))
        run(dn_NCHW)
        start_s = time.perf_counter() - started
        seconds = []
        for _ in range(config.repeats):
            began = time.perf_counter()
            run(dn_NCHW)
            seconds.append(time.perf_counter() - began)
    except MMEarthError as error:
        return error
    return _Turn(
        engine=f"{model.runtime.name} {model.runtime.version}",
        device=model.runtime.device,
        seconds=statistics.median(seconds),
        memory_mb=(peak_rss_bytes() or 0) / 2**20,
        start_s=start_s,
    )


def read_tiles(
    manifest: Manifest, config: BenchConfig
) -> tuple[NDArray[np.uint16], ProductLevel]:
    """Return `dn_NCHW` of a scene's corner, and the scene's product level.

    A scene that is smaller than the window is repeated, and a batch is one tile again
    and again: the speed does not depend on what is in it.

    Raises:
        SceneError: If the scene cannot be read.

    """
    side = config.window_px
    with open_source(
        config.scene, options=SceneOptions(), wanted=manifest.bands
    ) as source:
        box = source.scene.geobox
        height, width = min(side, box.height), min(side, box.width)
        found = source.read(Window(row=0, col=0, height=height, width=width))
        level = source.scene.level
    repeated = np.tile(found, (1, -(-side // height), -(-side // width)))
    tile_CHW = repeated[:, :side, :side]
    shape = (config.batch_size, *tile_CHW.shape)
    return np.ascontiguousarray(np.broadcast_to(tile_CHW, shape)), level


def peak_gflops() -> float:
    """Return the speed of an fp32 matrix product by numpy, the best of a few."""
    one = np.random.default_rng(0).random((PEAK_SIDE, PEAK_SIDE), dtype=np.float32)
    best = np.inf
    for _ in range(5):
        began = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - began)
    return float(2 * PEAK_SIDE**3 / best / 1e9)
