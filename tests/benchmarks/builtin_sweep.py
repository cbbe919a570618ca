"""Pretraining of the built-in encoder on one GPU: checks, rates, recipes side by side.

    python -m tests.benchmarks.builtin_sweep --data FOLDER --out FOLDER --minutes 9

Runs the tests for CUDA, times a step with both layouts of depthwise convolutions, then
trains variants of the recipe `builtin-atto`, each for its share of the time that is
left: two long runs, and short ones to compare with `short`, the recipe itself. Each
leaves its encoder, history and curves; one that fails, those of its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmearth_infer.disk import sha256_of
from mmearth_training.checkpoint import FACTS, MODEL
from mmearth_training.config import Recipe, changed, load_recipe
from mmearth_training.data.folder import open_folder
from mmearth_training.distributed import World
from mmearth_training.loop import (
    build,
    last_checkpoint,
    open_samples,
    plan_steps,
    pretrain,
)
from mmearth_training.model import decoder, sparse
from mmearth_training.run import RunConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "base": {},
    "short": {},
    "s2": {"model": {"tasks": ("sentinel2",)}},
    "plain": {"loss": {"normalise_patches": False}},
    "place": {"model": {"tasks": ("sentinel2", "lat", "lon", "month", "indices")}},
    "crop": {
        "augment": {
            "turn": False,
            "zoom": (1.0, 1.0),
            "gain": 0.0,
            "band_gain": 0.0,
            "band_offset": 0.0,
        }
    },
    "geometry": {"augment": {"gain": 0.0, "band_gain": 0.0, "band_offset": 0.0}},
    "masked75": {"model": {"mask_ratio": 0.75}},
    "lr2": {"optim": {"base_lr": 2e-3}},
}
"""What each changes in the recipe."""

SHARES: Final = {"base": 4, "plain": 3, "short": 1, "s2": 1, "crop": 1, "place": 1}
"""What is run, in this order, and for which share of the time."""

LONG: Final = 2
"""Share from which an encoder is kept in float32, with pictures."""

_WARM_UP, _TIMED = 10, 40  # steps
_RESERVE_S = 25  # to pack up
_START_S = 12  # of a run: data read, first validation


def config_of(recipe: Recipe, data: Path, out: Path, **fields: Any) -> RunConfig:  # noqa: ANN401
    """Return a run."""
    return RunConfig(
        recipe=recipe,
        data=data,
        out=out,
        precision="bf16",
        overwrite=True,
        keep=1,
        log_every=20,
        **fields,
    )


def contiguous(conv: nn.Conv2d, x_NChw: Tensor) -> Tensor:
    """Run a depthwise convolution with channels in front of pixels."""
    result: Tensor = conv(x_NChw.contiguous())
    return result


def images_per_s(recipe: Recipe, data: Path, out: Path) -> float:
    """Return how fast the steps of a recipe are."""
    config = config_of(recipe, data, out)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    world = World(rank=0, size=1, device=torch.device(kind))
    folder = open_folder(data)
    samples = open_samples(config, folder, world.device)
    trainer = build(config, world)
    keys = plan_steps(config, folder, world).micro_batches(0)
    batches = samples.batches(keys, workers=0)
    for number, batch in enumerate(batches, 1):
        trainer.step([batch], number)  # ends with a look at the loss
        if number == _WARM_UP:
            start_s = time.perf_counter()
        if number == _WARM_UP + _TIMED:
            break
    return _TIMED * recipe.optim.batch / (time.perf_counter() - start_s)


def choose_layout(recipe: Recipe, data: Path, out: Path) -> dict[str, float]:
    """Time both layouts of depthwise convolutions, and keep the faster."""
    own = sparse.depthwise
    rates = {}
    for name, function in (("channels last", own), ("contiguous", contiguous)):
        sparse.depthwise = decoder.depthwise = function
        rates[name] = images_per_s(recipe, data, out)
        print(f"depthwise {name}: {rates[name]:.0f} img/s", flush=True)
    if rates["channels last"] > rates["contiguous"]:
        sparse.depthwise = decoder.depthwise = own
    return rates


def fitted(recipe: Recipe, data: Path, *, rate: float, seconds: float) -> Recipe:
    """Return the recipe with as many epochs as fit into some time."""
    tiles = len(open_folder(data).splits["train"])
    epochs = max(2, int(0.93 * rate * seconds / (tiles * recipe.data.looks)))
    return changed(
        recipe,
        optim={"epochs": epochs, "warmup_epochs": epochs / 20},
        save_every_epochs=float(epochs),
        validate_every_epochs=epochs / 4,
    )


def keep(checkpoint: Path, folder: Path, *, half: bool) -> None:
    """Copy the encoder of a checkpoint, in float16 if asked, as a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.half() if half else value
        for name, value in load_file(checkpoint / MODEL).items()
        if name.startswith("encoder.")
    }
    save_file(tensors, folder / MODEL)
    facts = json.loads((checkpoint / FACTS).read_text())
    facts["sha256"] = {MODEL: sha256_of(folder / MODEL)}
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def pack(runs: Path, out: Path, names: Sequence[str]) -> None:
    """Put long runs' encoders into files of their own, others in twos, and the rest."""
    groups = {name: [name] for name in names if SHARES.get(name, LONG) >= LONG}
    short = [name for name in names if name not in groups]
    groups |= {"short-0": short[:2], "short-1": short[2:4]}
    for label, group in groups.items():
        if group:
            with tarfile.open(out / f"{label}.tar", "w") as file:
                for name in group:
                    file.add(runs / name / "kept", arcname=name)
    with tarfile.open(out / "small.tar.gz", "w:gz") as file:
        for name in names:
            run = runs / name
            for part in ("history.jsonl", "run.json", "plots"):
                with suppress(FileNotFoundError):
                    file.add(run / part, arcname=f"{name}/{part}")


def main(words: Sequence[str]) -> None:
    """Check, time, train, pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--recipe", default="builtin-atto")
    parser.add_argument("--only", choices=VARIANTS, action="append")
    parser.add_argument("--no-check", action="store_true")
    options = parser.parse_args(words)
    ends_s = time.monotonic() + 60 * options.minutes - _RESERVE_S
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"torch": torch.__version__, "minutes": options.minutes}
    if torch.cuda.is_available():
        report["device"] = torch.cuda.get_device_name()
    if not options.no_check:
        check = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        check += ["tests/mmearth_training/model/test_cuda.py"]
        with suppress(subprocess.TimeoutExpired):
            report["check"] = subprocess.run(check, timeout=75, check=False).returncode
    base = load_recipe(options.recipe)
    runs = Path(tempfile.mkdtemp())
    rates = choose_layout(base, options.data, runs / "rate")
    report["rates"] = rates
    done: list[str] = []
    shares = {name: SHARES.get(name, LONG) for name in options.only or SHARES}
    for number, (name, share) in enumerate(shares.items()):
        left = sum(list(shares.values())[number:])
        left_s = (ends_s - time.monotonic()) * share / left
        long = share >= LONG
        run = runs / name
        recipe = fitted(
            changed(base, **VARIANTS[name]),
            options.data,
            rate=max(rates.values()),
            seconds=left_s - _START_S,
        )
        config = config_of(
            recipe, options.data, run, minutes=(left_s - 4) / 60, plots=long
        )
        start_s = time.monotonic()
        facts = {"changed": VARIANTS[name], "epochs": recipe.optim.epochs}
        try:
            result = pretrain(config)
        except Exception as error:  # noqa: BLE001 -- the other variants go on
            traceback.print_exc()
            report[name] = {**facts, "failed": str(error)}
        else:
            report[name] = {
                **facts,
                "steps": result.step,
                "wall_s": time.monotonic() - start_s,
                "img_per_s": result.img_per_s,
                "peak_memory_mb": result.peak_memory_mb,
                "losses": dict(result.losses),
                "trivial": dict(result.trivial),
            }
        if checkpoint := last_checkpoint(config):
            keep(checkpoint, run / "kept", half=not long)
            done.append(name)
        print(name, json.dumps(report[name]), flush=True)
        (out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
        pack(runs, out, done)
    shutil.rmtree(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
