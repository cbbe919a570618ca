"""`mmearth finetune`: a recipe, images and labels in, a segmentation model out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mmearth_infer.cli.options import json_option, scene_options, verbosity
from mmearth_infer.errors import RecipeError, TrainingError
from mmearth_training.cli import list_option, resume_command
from mmearth_training.finetune.loop import finetune as run_finetune
from mmearth_training.finetune.recipe import checked, load_recipe, recipe_names
from mmearth_training.finetune.run import FinetuneConfig

if TYPE_CHECKING:
    from mmearth_training.data.scenes import SceneOptions
    from mmearth_training.finetune.loop import Finetuned


@click.command()
@click.argument("recipe")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FOLDER",
    help="Folder that the recipe's images and labels are below. Default: this one.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Folder of the run.",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="ENCODER",
    help="What `mmearth export` takes. Default: an encoder that has learned nothing, "
    "of the recipe's size.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Replaces seed.")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu or cuda:N."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the last checkpoint; start where there is none.",
)
@click.option("--overwrite", is_flag=True, help="Remove a run that is there.")
@list_option(
    lambda: {name: load_recipe(name).about for name in recipe_names()}, width=16
)
@scene_options
@json_option
@verbosity
def finetune(  # noqa: PLR0913 -- one a flag
    *,
    recipe: str,
    data: Path,
    out: Path,
    checkpoint: Path | None,
    seed: int | None,
    device: str,
    resume: bool,
    overwrite: bool,
    options: SceneOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fine-tune a segmentation model on images with labels.

    RECIPE is a TOML file, or the name of one that comes with the package (--list).
    Blocks of ground are held out; the table at the end is of those to test on. The
    run ends with a checkpoint that `mmearth export` takes.
    """
    if not data.is_dir():
        raise RecipeError(f"there is no folder `{data}`", hint="check --data")
    chosen = load_recipe(recipe)
    if seed is not None:
        chosen = checked(msgspec.structs.replace(chosen, seed=seed))
    config = FinetuneConfig(
        recipe=chosen,
        data=data,
        out=out,
        options=options,
        checkpoint=checkpoint,
        device=device,
        resume=resume,
        overwrite=overwrite,
    )
    try:
        done = run_finetune(config, quiet=quiet)
    except KeyboardInterrupt as error:
        raise TrainingError(
            f"stopped; `{out}` holds what its last checkpoint holds",
            hint=f"`{resume_command(click.get_current_context())}` goes on",
        ) from error
    _report(done, as_json=as_json, quiet=quiet)


def _report(done: Finetuned, *, as_json: bool, quiet: bool) -> None:
    """Say what the run came to."""
    if not quiet:
        if done.scores is not None:
            table = Table(title="test tiles")
            table.add_column("")
            table.add_column("Jaccard", justify="right")
            for name, share in done.scores.iou.items():
                table.add_row(name, "-" if share is None else f"{share:.3f}")
            table.add_section()
            table.add_row("mean", f"{done.scores.mean_iou:.3f}")
            table.add_row("accuracy", f"{done.scores.accuracy:.3f}")
            Console(stderr=True).print(table)
        click.echo(f"{done.checkpoint}: step {done.step}", err=True)
        click.echo(f"mmearth export {done.checkpoint} -o model.onnx", err=True)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done), default=str))
