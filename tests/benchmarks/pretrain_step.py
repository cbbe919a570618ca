"""One pretraining step of ours against one of the published design, in one run.

    python -m tests.benchmarks.pretrain_step [--batch 32] [--repeats 5]

The incumbent is the published design without MinkowskiEngine, which is faster than
with it: masked dense maps, the decoder block computed once a task on all patches,
heads on all patches, errors of all patches with the visible ones multiplied by zero.
Each design runs in a process of its own, so that peak memory is its own; designs take
turns, so that a busy machine slows all alike. The last line is JSON.

Shapes: N samples, C channels, H W pixels, P patches, W width of the decoder.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmearth_training.losses import mean_error, patchify
from mmearth_training.modalities import INPUT, MODALITIES, SETS
from mmearth_training.model.decoder import DecoderConfig
from mmearth_training.model.encoder import SIZES, EncoderConfig
from mmearth_training.model.masking import Mask
from mmearth_training.model.mpmae import MpMae, MpMaeConfig
from mmearth_training.model.sparse import encode_dense, to_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DESIGNS = {
    "published": ("shared", "dense"),
    "dense, separate": ("separate", "dense"),
    "sites, separate": ("separate", "sites"),
    "sites, shared": ("shared", "sites"),
}
"""Name -> decoders and backend; the first is the incumbent."""


def published_losses(
    model: MpMae, x_NCHW: Tensor, targets: Mapping[str, Tensor], mask: Mask
) -> Tensor:
    """Return the loss of each task in the published order of work."""
    decoder, patch_px = model.decoder, model.config.encoder.patch_px
    rows = encode_dense(model.encoder, x_NCHW, mask)
    hidden_NP = 1 - mask.visible_map(1).flatten(1)
    hidden_N1hw = hidden_NP.view(-1, 1, mask.side, mask.side)
    x = decoder.proj(to_map(rows, mask).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    x = x * (1 - hidden_N1hw) + decoder.mask_token[:, None, None] * hidden_N1hw
    losses = []
    for task in model.tasks:
        y_NPW = decoder.blocks["shared"](x).flatten(2).transpose(1, 2)
        target, head = targets[task.name], decoder.heads[task.name]
        if task.level == "image":
            prediction = head(decoder.image_norm(y_NPW).mean(1))
            if task.kind == "categorical":
                losses.append(functional.cross_entropy(prediction, target))
            else:
                losses.append(functional.mse_loss(prediction, target))
            continue
        prediction = head(y_NPW)
        if task.kind == "categorical":
            target_NPQ = patchify(target[:, None], patch_px)
            logits = prediction.unflatten(-1, (patch_px**2, -1))
            seen = (hidden_NP[..., None] == 1) & (target_NPQ != -1)
            losses.append(functional.cross_entropy(logits[seen], target_NPQ[seen]))
            continue
        target_NPQ = patchify(torch.nan_to_num(target), patch_px)
        if task.name == INPUT:
            mean = target_NPQ.mean(-1, keepdim=True)
            variance = target_NPQ.var(-1, keepdim=True)
            target_NPQ = (target_NPQ - mean) / (variance + 1e-6) ** 0.5
        error_NP = ((prediction - target_NPQ) ** 2).mean(-1)
        losses.append((error_NP * hidden_NP).sum() / hidden_NP.sum())
    return torch.stack(losses)


def our_losses(
    model: MpMae, x_NCHW: Tensor, targets: Mapping[str, Tensor], mask: Mask
) -> Tensor:
    """Return the loss of each task, ours."""
    return mean_error(*model(x_NCHW, targets, mask))


def draw_batch(count: int, px: int = 112) -> tuple[Tensor, dict[str, Tensor], Mask]:
    """Return noise in the shape of a batch with every modality."""
    torch.manual_seed(0)
    targets = {}
    for name in SETS["all"]:
        task = MODALITIES[name]
        channels = 12 if name == INPUT else task.width
        shape: tuple[int, ...] = (count, px, px) if task.level == "pixel" else (count,)
        if task.kind == "categorical":
            targets[name] = torch.randint(0, channels, shape)
        else:
            targets[name] = torch.randn(count, channels, *shape[1:])
    order = torch.stack([torch.randperm(49) for _ in range(count)])
    mask = Mask(order[:, :19].sort().values, order[:, 19:].sort().values)
    return targets[INPUT], targets, mask


def build(design: str) -> MpMae:
    """Return the model of a design, atto/16 with every task."""
    decoders, backend = DESIGNS[design]
    published = design == "published"
    config = MpMaeConfig(
        encoder=EncoderConfig(size=SIZES["atto"], grn="batch", grn_eps=1e-6),
        decoder=DecoderConfig(
            decoders=decoders,  # type: ignore[arg-type]
            pooling="all" if published else "hidden",
            image_norm=published,
        ),
        tasks=SETS["all"],
    )
    torch.manual_seed(0)
    return MpMae(config, backend=backend)  # type: ignore[arg-type]


def measure(
    design: str, *, batch: int, repeats: int, amp: bool, compiled: bool
) -> dict[str, float]:
    """Return seconds a step, the median of some, and peak memory."""
    published = design == "published"
    model = build(design)
    losses: Callable[..., Tensor] = published_losses if published else our_losses
    if compiled and not published:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    x, targets, mask = draw_batch(batch)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = model.weights(losses(model, x, targets, mask))
        loss.backward()
        optimizer.step()

    step()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds), "peak_mb": peak}


def measure_apart(design: str, options: list[str]) -> dict[str, float]:
    """Measure in a new process."""
    command = [sys.executable, str(Path(__file__)), "--only", design, *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@click.command()
@click.option("--batch", default=32, show_default=True)
@click.option("--repeats", default=5, show_default=True, help="Steps a turn.")
@click.option("--turns", default=3, show_default=True, help="Turns of each design.")
@click.option("--amp", is_flag=True, help="bf16 autocast, in every design.")
@click.option("--compile", "compiled", is_flag=True, help="torch.compile ours.")
@click.option("--threads", default=2, show_default=True)
@click.option("--only", hidden=True)
def main(
    *,
    batch: int,
    repeats: int,
    turns: int,
    amp: bool,
    compiled: bool,
    threads: int,
    only: str | None,
) -> None:
    """Time a training step of atto/16 on all modalities."""
    torch.set_num_threads(threads)
    if only:
        result = measure(only, batch=batch, repeats=repeats, amp=amp, compiled=compiled)
        print(json.dumps(result))
        return
    options = [f"--batch={batch}", f"--repeats={repeats}", f"--threads={threads}"]
    options += ["--amp"] * amp + ["--compile"] * compiled
    turns_by_design = {
        design: [measure_apart(design, options) for _ in range(1)] for design in DESIGNS
    }
    for _ in range(turns - 1):
        for design in DESIGNS:
            turns_by_design[design].append(measure_apart(design, options))
    base = np.median([t["seconds"] for t in turns_by_design["published"]])
    report = {}
    for design, measured in turns_by_design.items():
        seconds = float(np.median([t["seconds"] for t in measured]))
        peak_mb = float(np.median([t["peak_mb"] for t in measured]))
        report[design] = {
            "img_per_s": round(batch / seconds, 2),
            "ratio": round(float(base) / seconds, 2),
            "peak_mb": round(peak_mb),
        }
        print(
            f"{design:16} {batch / seconds:6.2f} img/s  {base / seconds:5.2f} x  "
            f"{peak_mb:6.0f} MB"
        )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
