"""`mmearth evaluate`: encoders on a benchmark, as one table beside the paper's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mmearth_infer.cli.options import json_option, verbosity
from mmearth_infer.errors import TrainingError
from mmearth_training.cli import resume_command
from mmearth_training.data.geobench.folder import DEFAULT_PARTITION
from mmearth_training.data.geobench.tasks import TASKS
from mmearth_training.evaluate.config import EvaluateConfig
from mmearth_training.evaluate.loop import CHART, TABLE
from mmearth_training.evaluate.loop import evaluate as run_evaluate
from mmearth_training.evaluate.settings import MODES

if TYPE_CHECKING:
    from mmearth_training.evaluate.case import InputStatistics
    from mmearth_training.evaluate.settings import Mode
    from mmearth_training.model.encoder import Geometry

_SHARE = click.FloatRange(min=0, max=1, max_open=True)
_ABOVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("suite", type=click.Choice(["geobench"]))
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="GEO-Bench v1.0, unpacked: holds classification_v1.0 and segmentation_v1.0.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of table.md, results.json and fewshot.png.",
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="ENCODER",
    help="What `mmearth export` takes; may be repeated.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="NAME",
    help="timm:NAME, as timm:convnextv2_atto.fcmae, or untrained:atto; may be "
    "repeated.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    type=click.Choice(list(TASKS)),
    help="May be repeated. Default: all that are there.",
)
@click.option(
    "--mode",
    "modes",
    multiple=True,
    type=click.Choice(MODES),
    help="Fine-tuning, linear probe, linear probe with the first convolution, U-Net; "
    "may be repeated. Default: the paper's, ft and lp or seg.",
)
@click.option(
    "--partition",
    "partitions",
    multiple=True,
    default=(DEFAULT_PARTITION,),
    show_default=True,
    metavar="NAME",
    help="Which samples are trained on, as 0.01x_train; may be repeated.",
)
@click.option(
    "--statistics",
    type=click.Choice(["dataset", "l2a", "l1c"]),
    default="dataset",
    show_default=True,
    help="What standardises the input: the data set's numbers, or pretraining's.",
)
@click.option(
    "--geometry",
    type=click.Choice(["published", "padded"]),
    default="published",
    show_default=True,
    help="Borders of images that are pooled: as the published code has them, or as "
    "`mmearth embed` does.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Instead of the paper's.")
@click.option(
    "--decoder-epochs",
    type=click.IntRange(min=0),
    help="Of the U-Net's first phase, likewise.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Images a step, likewise.")
@click.option("--base-lr", type=_ABOVE, help="For 256 images a step, likewise.")
@click.option("--layer-decay", type=_ABOVE, help="Likewise.")
@click.option("--weight-decay", type=click.FloatRange(min=0), help="Likewise.")
@click.option("--smoothing", type=_SHARE, help="Of labels, likewise.")
@click.option("--drop-path", type=_SHARE, help="In ft and seg, likewise.")
@click.option(
    "--micro-batch",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Images computed at once; changes memory, not results.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu or cuda:N."
)
@click.option("--resume", is_flag=True, help="Keep what is finished, go on behind it.")
@click.option("--overwrite", is_flag=True, help="Remove results that are there.")
@json_option
@verbosity
def evaluate(  # noqa: PLR0913 -- one a flag
    *,
    suite: str,  # noqa: ARG001 -- there is one
    data: Path,
    out: Path,
    checkpoints: tuple[Path, ...],
    baselines: tuple[str, ...],
    tasks: tuple[str, ...],
    modes: tuple[Mode, ...],
    partitions: tuple[str, ...],
    statistics: InputStatistics,
    geometry: Geometry,
    smoothing: float | None,
    drop_path: float | None,
    micro_batch: int,
    seed: int,
    device: str,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **optim: float | None,
) -> None:
    """Evaluate encoders on a benchmark, as the MMEarth paper does.

    Writes a table with the paper's figures beside ours, everything as JSON, and a
    chart of few samples where several partitions were tried. Settings are the
    paper's unless said otherwise.
    """
    config = EvaluateConfig(
        data=data,
        out=out,
        checkpoints=checkpoints,
        baselines=baselines,
        tasks=tasks,
        modes=modes,
        partitions=partitions,
        statistics=statistics,
        geometry=geometry,
        optim={name: value for name, value in optim.items() if value is not None},
        smoothing=smoothing,
        drop_path=drop_path,
        micro_batch=micro_batch,
        seed=seed,
        device=device,
        resume=resume,
        overwrite=overwrite,
    )
    try:
        results = run_evaluate(config, quiet=quiet)
    except KeyboardInterrupt as error:
        raise TrainingError(
            f"stopped; `{out}` holds what is finished",
            hint=f"`{resume_command(click.get_current_context())}` goes on",
        ) from error
    if not quiet:
        click.echo((out / TABLE).read_text(), err=True)
    if as_json:
        chart = out / CHART
        report = {
            "table": str(out / TABLE),
            "chart": str(chart) if chart.exists() else None,
            "results": msgspec.to_builtins(results),
        }
        click.echo(json.dumps(report))
