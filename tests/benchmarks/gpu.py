"""Models on a GPU against eager PyTorch on the same GPU, and against the processor.

    python -m tests.benchmarks.gpu [--size atto] [--turns 3]

The incumbent is the published encoder as it stands, in eager PyTorch, float32 without
TF32, standardised pixels already on the GPU. Models are run as `mmearth embed` runs
them: digital numbers from the memory of the host, features back to it, with one to four
batches at once. Their outputs are compared with those of the same file on the
processor. Weights are random, which changes no speed. The last line is JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_export.verify import sample_dn
from mmearth_infer.engine import ort
from mmearth_infer.engine.cuda import gpu_count
from mmearth_infer.engine.open import open_model
from mmearth_infer.feed.lanes import in_lanes
from mmearth_infer.run.bench import BenchConfig, read_tiles
from mmearth_training.load import load_encoder
from tests.helpers.data import MAJORTOM
from tests.helpers.random_checkpoint import write_random

if TYPE_CHECKING:
    from numpy.typing import NDArray

KINDS = [
    ("window", "fp32"),
    ("frozen", "fp32"),
    ("window", "fp16"),
    ("frozen", "fp16"),
    ("frozen", "int8"),
]
"""GRN and precision of the models."""

BATCHES = 24
"""Batches of a turn."""


def eager_mpx(checkpoint: Path, dn_NCHW: NDArray[np.uint16], turns: int) -> float:
    """Return the speed of the published encoder in Mpx/s, the median of some turns."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    encoder = load_encoder(checkpoint).encoder().cuda()
    x_NCHW = (torch.from_numpy(dn_NCHW.astype("float32")).cuda() - 2000) / 1500
    seconds = []
    with torch.inference_mode():
        for _ in range(turns + 1):
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(BATCHES):
                encoder(x_NCHW)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
    torch.cuda.empty_cache()
    return mpx(dn_NCHW) * BATCHES / statistics.median(seconds[1:])


def mpx(dn_NCHW: NDArray[np.uint16]) -> float:
    """Return the pixels of a batch in millions."""
    tiles, _, height, width = dn_NCHW.shape
    return tiles * height * width / 1e6


def engine_mpx(model: Path, dn_NCHW: NDArray[np.uint16], lanes: int) -> float:
    """Return the speed of a model with so many lanes in Mpx/s."""
    ort.GPU_LANES = lanes  # type: ignore[misc]  # what is measured
    compiled = open_model(model, device="cuda")
    engine = compiled.engines(
        level="l2a", outputs=[compiled.file.manifest.output(None)]
    )
    with in_lanes(iter([dn_NCHW] * 2 * lanes), engine, lanes=lanes) as done:
        list(done)
    began = time.perf_counter()
    with in_lanes(iter([dn_NCHW] * BATCHES), engine, lanes=lanes) as done:
        for _ in done:
            pass
    return mpx(dn_NCHW) * BATCHES / (time.perf_counter() - began)


def apart(model: Path) -> dict[str, float]:
    """Return how far outputs on the GPU are from those on the processor."""
    maps = []
    for device in ("cpu", "cuda"):
        compiled = open_model(model, engine="onnxruntime", device=device)
        manifest = compiled.file.manifest
        engine = compiled.engine(level="l2a", output=manifest.output(None))
        maps.append(engine(sample_dn(manifest, (2, 14, 14))))
    here, there = maps
    cosine = (here * there).sum(1) / (
        np.linalg.norm(here, axis=1) * np.linalg.norm(there, axis=1)
    )
    return {
        "largest difference": float(np.abs(here - there).max() / np.abs(here).max()),
        "cosine, 1st percentile": float(np.percentile(cosine, 1)),
    }


@click.command()
@click.option("--size", "sizes", multiple=True, default=("atto", "tiny"))
@click.option("--patch", "patch_px", default=16, show_default=True)
@click.option("--batch", "batch_size", default=4, show_default=True)
@click.option("--turns", default=3, show_default=True)
@click.option("--scene", default=MAJORTOM, type=click.Path(path_type=Path))
def main(
    *, sizes: tuple[str, ...], patch_px: int, batch_size: int, turns: int, scene: Path
) -> None:
    """Compare models with eager PyTorch, on a GPU."""
    if not gpu_count():
        raise click.ClickException("CUDA finds no GPU here")
    report: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            checkpoint = write_random(
                Path(name) / size / "step-0000001", size, patch_px
            )
            models = {}
            for grn, precision in KINDS:
                model = Path(name) / size / f"{grn}-{precision}.onnx"
                export_model(
                    ExportConfig(
                        checkpoint=checkpoint,
                        out=model,
                        grn=grn,  # type: ignore[arg-type]
                        precision=precision,  # type: ignore[arg-type]
                        calibrate=(str(scene),) if grn == "frozen" else (),
                    )
                )
                models[f"{size}/{patch_px} {grn} {precision}"] = model
            compiled = open_model(next(iter(models.values())), device="cpu")
            dn_NCHW, _ = read_tiles(
                compiled.file.manifest,
                BenchConfig(scene=str(scene), batch_size=batch_size),
            )
            eager = eager_mpx(checkpoint, dn_NCHW, turns)
            print(f"{size}/{patch_px} eager, window: {eager:.1f} Mpx/s", flush=True)
            for label, model in models.items():
                row = apart(model)
                for lanes in (1, 2, 3, 4):
                    found = [engine_mpx(model, dn_NCHW, lanes) for _ in range(turns)]
                    row[f"{lanes} at once, Mpx/s"] = statistics.median(found)
                row["ratio"] = row["3 at once, Mpx/s"] / eager
                report[label] = row
                print(label, {k: round(v, 6) for k, v in row.items()}, flush=True)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
