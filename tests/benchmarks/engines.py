"""Engines against eager PyTorch in the published style, in one run.

    python -m tests.benchmarks.engines [--size atto] [--turns 5]

The incumbent is the published encoder as it stands: LayerNorm, GELU and GRN as they
are written there, standardised float32 in. Weights are random, which changes no
speed. Every design runs in a process of its own, and they take turns. The last line
is JSON.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click
import torch

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_infer.engine.choice import Choice, choose, installed, this_machine
from mmearth_infer.engine.open import read_file
from mmearth_infer.run.bench import BenchConfig, bench, read_tiles
from mmearth_training.load import load_encoder
from tests.helpers.data import MAJORTOM
from tests.helpers.random_checkpoint import write_random

EAGER = "eager, published style"


KINDS = [
    ("onnx", "window", "fp32", ".onnx"),
    ("onnx", "frozen", "fp32", ".onnx"),
    ("pt2", "window", "fp32", ".pt2"),
    ("pt2", "frozen", "fp32", ".pt2"),
    ("onnx", "frozen", "int8", ".onnx"),
    ("openvino", "frozen", "bf16", ".xml"),
    ("pt2", "frozen", "bf16", ".pt2"),
]
"""Format, GRN, precision and suffix of what is compared."""


def measure_eager(checkpoint: Path, model: Path, config: BenchConfig) -> float:
    """Return seconds a batch of the published encoder, the median of some."""
    torch.set_num_threads(config.threads or 2)
    encoder = load_encoder(checkpoint).encoder()
    dn_NCHW, _ = read_tiles(read_file(model).manifest, config)
    x_NCHW = (torch.from_numpy(dn_NCHW.astype("float32")) - 2000) / 1500
    seconds = []
    with torch.inference_mode():
        for _ in range(config.repeats + 1):
            began = time.perf_counter()
            encoder(x_NCHW)
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def apart(checkpoint: Path, model: Path, config: BenchConfig) -> float:
    """Measure eager PyTorch in a process of its own."""
    context = get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(measure_eager, checkpoint, model, config).result()


def build(
    folder: Path, size: str, patch_px: int, scene: Path, *, fp32: bool
) -> tuple[Path, list[Path]]:
    """Write a checkpoint of random weights, and every model of it that is compared."""
    checkpoint = write_random(folder / "step-0000001", size, patch_px)
    kinds = [kind for kind in KINDS if kind[2] == "fp32" or not fp32]
    models = []
    for kind, grn, precision, suffix in kinds:
        out = folder / f"{grn}-{precision}{suffix}"
        export_model(
            ExportConfig(
                checkpoint=checkpoint,
                out=out,
                format=kind,  # type: ignore[arg-type]
                grn=grn,  # type: ignore[arg-type]
                precision=precision,  # type: ignore[arg-type]
                calibrate=(str(scene),) if grn == "frozen" else (),
            )
        )
        models.append(out)
    return checkpoint, models


@click.command()
@click.option("--size", default="atto", show_default=True)
@click.option("--patch", "patch_px", default=16, show_default=True)
@click.option("--window", "window_px", default=672, show_default=True)
@click.option("--turns", default=5, show_default=True)
@click.option("--repeats", default=3, show_default=True)
@click.option("--fp32", is_flag=True, help="Leave the other precisions out.")
@click.option("--scene", default=MAJORTOM, type=click.Path(path_type=Path))
def main(
    *,
    size: str,
    patch_px: int,
    window_px: int,
    turns: int,
    repeats: int,
    scene: Path,
    fp32: bool,
) -> None:
    """Compare engines with eager PyTorch."""
    config = BenchConfig(
        scene=str(scene), window_px=window_px, turns=1, repeats=repeats, trusted=True
    )
    with tempfile.TemporaryDirectory() as name:
        checkpoint, models = build(Path(name), size, patch_px, scene, fp32=fp32)
        machine = this_machine()
        pairs: list[tuple[Path, Choice]] = []
        for model in models:
            for engine in installed(model.suffix, "cpu", machine):
                if engine == "openvino" and model.name.endswith(
                    ("fp16.onnx", "int8.onnx")
                ):
                    continue  # it has a form of its own
                pairs.append((model, choose(model.suffix, engine, "cpu", machine)))
        speeds: dict[str, list[float]] = {EAGER: []}
        shares: dict[str, list[float]] = {}
        for _ in range(turns):
            seconds = apart(checkpoint, models[0], config)
            speeds[EAGER].append(window_px**2 / 1e6 / seconds)
            rows, _ = bench(pairs, config)
            for row in rows:
                key = f"{row.model} by {row.engine.split()[0]}"
                speeds.setdefault(key, []).append(row.mpx_per_s)
                shares.setdefault(key, []).append(row.peak_share)
    report = {}
    base = statistics.median(speeds[EAGER])
    for key, values in speeds.items():
        speed = statistics.median(values)
        share = statistics.median(shares.get(key, [0.0]))
        report[key] = {
            "mpx_per_s": round(speed, 3),
            "ratio": round(speed / base, 2),
            "of_peak": round(share, 2),
        }
        print(f"{key:36} {speed:6.3f} Mpx/s  {speed / base:5.2f} x  {share:4.0%}")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
