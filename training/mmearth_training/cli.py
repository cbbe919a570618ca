"""`mmearth pretrain`: a recipe and a data set in, checkpoints out."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from click.core import ParameterSource

from mmearth_infer.cli.options import json_option, verbosity
from mmearth_infer.errors import RecipeError, TrainingError
from mmearth_training.config import changed, load_recipe, recipe_names
from mmearth_training.loop import pretrain as run_pretrain
from mmearth_training.model.sparse import BACKENDS
from mmearth_training.run import Precision, RunConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mmearth_training.config import Recipe
    from mmearth_training.loop import Pretrained

F = TypeVar("F", bound="Callable[..., Any]")


def list_option(
    about: Callable[[], Mapping[str, str]], *, width: int
) -> Callable[[F], F]:
    """Return `--list`, which prints the recipes that come with the package.

    Args:
        about: Gives what each recipe says of itself, by its name.
        width: Columns of the names.

    """

    def show(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:  # noqa: FBT001 -- click's own
        if not asked:
            return
        for name, text in about().items():
            click.echo(f"{name:{width}} {text}")
        ctx.exit()

    return click.option(
        "--list",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="List the recipes and exit.",
    )


@click.command()
@click.argument("recipe")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Data set: a published MMEarth folder, or one that `mmearth pack` or "
    "`mmearth make-dataset` wrote.",
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
    "--init",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Start from the encoder of a checkpoint, published or our own, with a new "
    "decoder.  [default: weights drawn by the seed]",
)
@click.option(
    "--epochs", type=int, help="Replaces optim.epochs; the warm-up keeps its share."
)
@click.option("--batch", type=int, help="Replaces optim.batch, samples a step.")
@click.option(
    "--batch-size",
    "micro_batch",
    type=int,
    help="Replaces optim.micro_batch, samples at once.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Replaces seed.")
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="sites",
    show_default=True,
    help="How the encoder is computed; all give the same numbers.",
)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu or cuda:N."
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="Arithmetic of the matrix products.",
)
@click.option("--compile", "compiled", is_flag=True, help="Use torch.compile.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Processes that read the data.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Checkpoints that stay, besides the best.",
)
@click.option(
    "--log-every",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Steps between records of the training loss.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after this time, with a checkpoint; --resume goes on.",
)
@click.option("--plots", is_flag=True, help="Draw pictures at every validation.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the last checkpoint; start where there is none.",
)
@click.option("--overwrite", is_flag=True, help="Remove a run that is there.")
@list_option(
    lambda: {name: load_recipe(name).about for name in recipe_names()}, width=32
)
@json_option
@verbosity
def pretrain(  # noqa: PLR0913 -- one a flag
    *,
    recipe: str,
    data: Path,
    out: Path,
    epochs: int | None,
    batch: int | None,
    micro_batch: int | None,
    seed: int | None,
    as_json: bool,
    quiet: bool,
    **options: Any,  # noqa: ANN401 -- fields of RunConfig
) -> None:
    """Pretrain an encoder as a multi-pretext masked autoencoder.

    RECIPE is a TOML file, or the name of one that comes with the package (--list).
    Several processes: `torchrun --nproc-per-node 8 -m mmearth_infer.cli pretrain ...`.
    The run ends with a checkpoint that `mmearth export` takes.
    """
    config = RunConfig(
        recipe=_chosen(
            recipe, epochs=epochs, batch=batch, micro_batch=micro_batch, seed=seed
        ),
        data=data,
        out=out,
        **options,
    )
    try:
        done = run_pretrain(config, quiet=quiet)
    except KeyboardInterrupt as error:
        raise TrainingError(
            f"stopped; `{out}` holds what its last checkpoint holds",
            hint=f"`{resume_command(click.get_current_context())}` goes on",
        ) from error
    _report(done, as_json=as_json, quiet=quiet)


def resume_command(ctx: click.Context) -> str:
    """Return the command that goes on with a run, from how it was called."""
    words = ["mmearth", str(ctx.info_name)]
    for parameter in ctx.command.params:
        name = str(parameter.name)
        said = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not said or name in {"overwrite", "resume"}:
            continue
        value = ctx.params[name]
        for one in value if parameter.multiple else (value,):
            if isinstance(parameter, click.Option):
                words.append(max(parameter.opts, key=len))
            if not (isinstance(parameter, click.Option) and parameter.is_flag):
                words.append(str(one))
    return shlex.join([*words, "--resume"])


def _chosen(name: str, *, seed: int | None, **optim: int | None) -> Recipe:
    """Return the recipe with what the command line replaces."""
    recipe = load_recipe(name)
    values: dict[str, Any] = {k: v for k, v in optim.items() if v is not None}
    if values.get("epochs", 1) < 1:
        raise RecipeError(
            f"--epochs {values['epochs']} is not above 0",
            hint="give a whole number of passes over the training data",
        )
    if "epochs" in values:
        share = recipe.optim.warmup_epochs / recipe.optim.epochs
        values["warmup_epochs"] = share * values["epochs"]
    if "batch" in values and "micro_batch" not in values:
        values["micro_batch"] = min(recipe.optim.micro_batch, values["batch"])
    recipe = changed(recipe, optim=values)
    return recipe if seed is None else changed(recipe, seed=seed)


def _report(done: Pretrained, *, as_json: bool, quiet: bool) -> None:
    """Say what the run came to."""
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done), default=str))
    elif not quiet:
        figures = f"{done.img_per_s:.1f} img/s, {done.peak_memory_mb:.0f} MB"
        said = figures if done.img_per_s else "complete already"
        click.echo(f"{done.checkpoint}: step {done.step}, {said}", err=True)
        click.echo(f"mmearth export {done.checkpoint} -o encoder.onnx", err=True)
