"""What could make the encoder in the box better: continued in seven ways, then judged.

    python -W ignore -m tests.benchmarks.builtin_continue train --data FOLDER --out RUNS
    python -W ignore -m tests.benchmarks.builtin_continue judge RUNS [--json FOUND.json]

Each variant of the recipe `builtin-atto` starts from the encoder in the box and takes
the same number of images, on processors, with one decoder of 192 channels for both
tasks. `distilled` rebuilds, instead of pixels, what the encoder in the box says of each
hidden patch when it sees all of them. Judged by the tasks, folds and draws of
`builtin_proof`, read as `builtin_stages` named it before any was looked at.

Shapes: N samples, P patches, U hidden ones, D features of a patch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from mmearth_training.checkpoint import write_checkpoint
from mmearth_training.config import changed, load_recipe
from mmearth_training.data.folder import open_folder
from mmearth_training.distributed import World
from mmearth_training.facts import describe
from mmearth_training.load import load_encoder
from mmearth_training.loop import open_samples, plan_steps
from mmearth_training.model.decoder import Decoder
from mmearth_training.model.masking import Mask, pick
from mmearth_training.model.mpmae import MpMae
from mmearth_training.optim import build_optimizer, build_scheduler
from mmearth_training.run import RunConfig
from mmearth_training.step import Trainer
from tests.benchmarks import builtin_proof, builtin_sweep
from tests.benchmarks.builtin_proof import judge, mean_of
from tests.benchmarks.builtin_stages import (
    PROTOCOL,
    READINGS,
    TASKS,
    columns_of,
    judged_by,
    minus,
    samples_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_training.config import Recipe
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from tests.benchmarks.builtin_proof import Judged, Verdict

START: Final = Path("training/encoders/builtin-atto-44s")
"""The encoder in the box."""

VARIANTS: Final[Mapping[str, dict[str, Any]]] = {
    "more": {},
    "pixels": {"loss": {"normalise_patches": False}},
    "lr3": {"optim": {"base_lr": 3e-3}},
    "masked75": {"model": {"mask_ratio": 0.75}},
    "crop": builtin_sweep.VARIANTS["crop"],
    "patch8": {"model": {"patch_px": 8}, "data": {"crop_px": 56}},
    "distilled": {"model": {"tasks": ("sentinel2",)}},
}
"""What each changes in the recipe. All rebuild normalised patches but `pixels`, which
rebuilds their colour too, and `distilled`."""

READ: Final = (PROTOCOL, "stage 4, means")
_EPOCHS = 5
_BATCH = 64


class Distilling(MpMae):
    """Rebuilds what a teacher that sees everything says of the hidden patches."""

    def __init__(self, recipe: Recipe, start: EncoderCheckpoint, looks: Tensor) -> None:
        """Build, with targets standardised by what some crops give."""
        super().__init__(recipe.network())
        self.teacher: nn.Module = start.encoder().requires_grad_(requires_grad=False)
        said_NPD = self.say(looks)
        self.mean_D = said_NPD.mean((0, 1))
        self.std_D = said_NPD.std((0, 1)).clamp(min=1e-6)
        self.decoder = Decoder(
            self.config.decoder,
            tasks=self.tasks,
            channels={self.tasks[0].name: len(self.mean_D)},
            encoder_width=self.config.encoder.size.dims[-1],
            patch_px=1,
        )
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    def say(self, x_NBHW: Tensor) -> Tensor:
        """Return mean and deviation of bands and stages in every patch, `(N, P, D)`."""
        side = x_NBHW.shape[-1] // self.config.encoder.patch_px
        said = []
        for map_NDhw in (x_NBHW, *self.teacher.forward_stages(x_NBHW)):
            count, width, height, _ = map_NDhw.shape
            px = height // side
            fine = map_NDhw.reshape(count, width, side, px, side, px)
            values = [fine.mean((3, 5))]
            if px > 1:
                values.append(fine.std((3, 5)))
            said += [one.flatten(2).mT for one in values]
        return torch.cat(said, dim=-1)

    @torch.no_grad()
    def target(self, name: str, target: Tensor, mask: Mask) -> Tensor:
        """Return what the teacher says of the hidden patches, `(N, U, D)`."""
        del name
        said_NPD = (self.say(torch.nan_to_num(target)) - self.mean_D) / self.std_D
        return pick(said_NPD, mask.hidden_NU)


def recipe_of(name: str, images: int, tiles: int) -> Recipe:
    """Return the recipe of a variant."""
    base = changed(
        load_recipe("builtin-atto"),
        data={"looks": max(1, round(images / _EPOCHS / tiles))},
        model={"decoders": "shared", "decoder_width": 192},
        optim={
            "epochs": _EPOCHS,
            "warmup_epochs": _EPOCHS / 20,
            "batch": _BATCH,
            "micro_batch": _BATCH,
        },
    )
    return changed(base, name=name, **VARIANTS[name])


def network(recipe: Recipe, start: EncoderCheckpoint, looks: Tensor) -> MpMae:
    """Return what is trained, with every weight of the start that has its shape."""
    torch.manual_seed(recipe.seed)
    if recipe.name == "distilled":
        model: MpMae = Distilling(recipe, start, looks)
    else:
        model = MpMae(recipe.network())
    own = model.encoder.state_dict()
    fitting = {k: v for k, v in start.state.items() if own[k].shape == v.shape}
    model.encoder.load_state_dict(own | fitting)
    return model


def train(name: str, data: Path, out: Path, *, images: int) -> None:
    """Continue the encoder in one way."""
    folder = open_folder(data)
    recipe = recipe_of(name, images, len(folder.splits["train"]))
    config = RunConfig(recipe=recipe, data=data, out=out / name, init=START)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    schedule = plan_steps(config, folder, world)
    samples = open_samples(config, folder)
    batches = samples.batches(schedule.micro_batches(0), workers=0)
    first = next(batches)
    model = network(recipe, load_encoder(START), first.x_NBhw)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = build_optimizer(model, recipe.optim)
    scheduler = build_scheduler(
        optimizer, recipe.optim, steps_an_epoch=schedule.steps_an_epoch, done=0
    )
    trainer = Trainer(model, optimizer, world, precision="fp32")
    start_s, step = time.monotonic(), 0
    print(f"{name}: {schedule.steps} steps, {sum(map(torch.numel, weights))} weights")
    for step, batch in enumerate(batches, 1):
        losses = trainer.step([batch], step)
        scheduler.step()
        if step % 20 == 0:
            rate = step * _BATCH / (time.monotonic() - start_s)
            print(f"{name} {step} {losses.tasks} {rate:.1f} img/s", flush=True)
    facts = describe(config, samples, step, _EPOCHS, None)
    facts["facts"]["wall_s"] = time.monotonic() - start_s
    with tempfile.TemporaryDirectory() as aside:
        checkpoints = Path(aside)
        write_checkpoint(checkpoints, model, optimizer, facts)
        (whole,) = checkpoints.iterdir()
        builtin_sweep.keep(whole, out / name, half=True)


def read(judged: Judged, name: str) -> dict[tuple[str, str], Verdict]:
    """Print and return what readings of an encoder, and bands, are worth."""
    columns, found = columns_of(judged), {}
    for task, (*_, components) in TASKS.items():
        samples = samples_of(judged, task)
        for label in READ if name != "bands" else ("bands",):
            verdict = judged_by(samples, columns, READINGS[label], components)
            found[task, label] = verdict
            print(f"{name}: {task}: {label}: {verdict}", flush=True)
    return found


def compare(runs: Sequence[Path]) -> dict[str, list[str]]:
    """Judge runs beside the start, untrained encoders of their shapes, and bands."""
    checkpoints = {run.name: load_encoder(run) for run in (START, *runs)}
    first = checkpoints[START.name]
    bands = read(judge(first), "bands")
    untrained: dict[int, dict[tuple[str, str], Verdict]] = {}
    found, rows = {}, {}
    for name, checkpoint in checkpoints.items():
        shape = checkpoint.config.patch_px
        if shape not in untrained:
            seeds = [
                read(judge(checkpoint, untrained=seed), f"untrained/{shape} {seed}")
                for seed in builtin_proof.UNTRAINED
            ]
            keys = seeds[0].keys()
            untrained[shape] = {key: mean_of([s[key] for s in seeds]) for key in keys}
        found[name] = read(judge(checkpoint), name)
        for (task, label), verdict in found[name].items():
            against = (
                bands[task, "bands"],
                untrained[shape][task, label],
                found[START.name][task, label],
            )
            row = [str(verdict), *(minus(verdict, other) for other in against)]
            rows[f"{task} | {label} | {name}"] = row
            print("|", " | ".join([task, label, name, *row]), "|", flush=True)
    return rows


def main(words: Sequence[str]) -> None:
    """Train variants, or judge them."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("--data", type=Path, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--images", type=int, default=24_000)
    one.add_argument("--only", choices=VARIANTS, action="append")
    two = commands.add_parser("judge")
    two.add_argument("runs", type=Path)
    two.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    if "data" in options:
        for name in options.only or VARIANTS:
            train(name, options.data, options.out, images=options.images)
        return
    runs = [options.runs / name for name in VARIANTS if (options.runs / name).is_dir()]
    rows = compare(runs)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
