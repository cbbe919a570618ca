"""`mmearth probe fit`: a probe from stores and labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
from rich.console import Console
from rich.table import Table

from mmearth_infer.cli.options import json_option, store_stages_option, verbosity
from mmearth_infer.cli.steps import steps_progress
from mmearth_infer.contract.probe import ProbeKind
from mmearth_infer.errors import MissingExtraError
from mmearth_infer.write.address import locate

if TYPE_CHECKING:
    from mmearth_infer.probe.fit import Fitted

MOST_PRINTED: Final = 12
"""Classes up to which a confusion matrix is printed."""


class _Names(click.ParamType):  # type: ignore[type-arg]  # no type of its own before click 8.4
    """Names of values: `1=forest,2=water`."""

    name = "VALUE=NAME,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[int, str]:
        """Return names by value."""
        if isinstance(value, dict):
            return value
        names = {}
        for part in str(value).split(","):
            number, _, name = part.partition("=")
            try:
                names[int(number)] = name.strip()
            except ValueError:
                self.fail(f"`{part}` is not VALUE=NAME", param, ctx)
            if not name.strip():
                self.fail(f"`{part}` is not VALUE=NAME", param, ctx)
        return names


@click.command(name="fit")
@click.argument(
    "stores",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    callback=lambda _context, _parameter, paths: tuple(map(locate, paths)),
    metavar="STORE...",
)
@click.option(
    "--labels",
    required=True,
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Polygons or points of a vector file, or a raster of classes, in any CRS; may "
    "be given several times.",
)
@click.option(
    "--field",
    metavar="NAME",
    help="Field of a vector file that names the class. Default: its only one.",
)
@click.option(
    "--names",
    type=_Names(),
    default={},
    help="Names of a raster's values. Default: the numbers.",
)
@click.option(
    "--ignore",
    type=int,
    multiple=True,
    metavar="VALUE",
    help="Value of a raster that is no class, beside its nodata; may be given several "
    "times.",
)
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PROBE.onnx",
    help="Where the probe goes.",
)
@click.option(
    "--kind",
    type=click.Choice(get_args(ProbeKind)),
    default="logistic",
    show_default=True,
    help="Logistic regression, ridge, or the nearest labelled cells.",
)
@store_stages_option
@click.option(
    "--min-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    metavar="SHARE",
    help="Least share of a cell that a class covers; points need none.",
)
@click.option(
    "--max-cells",
    type=click.IntRange(min=2),
    metavar="N",
    help="Cells that are drawn at the most. Default: 20000, for knn 5000.",
)
@click.option(
    "--folds",
    type=click.IntRange(2, 100),
    default=5,
    show_default=True,
    metavar="N",
    help="Parts of the cross-validation.",
)
@click.option(
    "--block-cells",
    type=click.IntRange(min=1),
    metavar="N",
    help="Side of the blocks that are held out as a whole. Default: the largest, up to "
    "64, at which each class is in as many blocks as there are folds.",
)
@click.option(
    "--block-m",
    type=click.FloatRange(0, min_open=True),
    metavar="METRES",
    help="The same in metres.",
)
@click.option(
    "--balanced", is_flag=True, help="Weigh classes alike, however rare they are."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="PICTURE.png",
    help="Draw the confusion matrix.",
)
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    metavar="TABLE.csv",
    help="Write it as a table.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@json_option
@verbosity
def fit_command(
    *,
    field: str | None,
    names: dict[int, str],
    ignore: tuple[int, ...],
    as_json: bool,
    quiet: bool,
    **settings: Any,  # noqa: ANN401 -- fields of FitConfig
) -> None:
    """Fit a probe on labelled cells of stores.

    Blocks of cells are held out in turn, so that no figure comes from neighbours of
    what was learnt; intervals come from drawing blocks with replacement.
    """
    if settings["block_cells"] and settings["block_m"]:
        raise click.UsageError("--block-cells and --block-m exclude each other")
    if settings["balanced"] and settings["kind"] == "knn":
        raise click.UsageError("--balanced does not go with --kind knn")
    try:
        from mmearth_infer.probe.fit import FitConfig, fit_probe  # noqa: PLC0415 -- extra
        from mmearth_infer.probe.labels import LabelOptions  # noqa: PLC0415 -- likewise
    except ModuleNotFoundError as error:
        raise MissingExtraError("mmearth probe fit", extra="probe") from error
    config = FitConfig(
        options=LabelOptions(class_field=field, names=names, ignore=ignore), **settings
    )
    with steps_progress(quiet=quiet) as tell:
        fitted = fit_probe(config, tell)
    if as_json:
        click.echo(fitted.to_json())
    elif not quiet:
        _print(fitted)


def _print(fitted: Fitted) -> None:
    """Print what a person wants to know at the end."""
    manifest, console = fitted.manifest, Console(stderr=True, highlight=False)
    validation = manifest.validation
    assert validation is not None
    if len(manifest.names) <= MOST_PRINTED:
        table = Table("true", *manifest.names, "IoU", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for name, row, iou in zip(
            manifest.names, validation.confusion, validation.iou, strict=True
        ):
            table.add_row(name, *map(str, row), f"{iou:.3f}")
        console.print(table)
    scores = ", ".join(
        f"{name.replace('_', ' ')} {score.value:.3f} ({score.low:.3f} to "
        f"{score.high:.3f})"
        for name, score in validation.scores.items()
    )
    cells = sum(manifest.cells)
    stages = ", ".join(map(str, manifest.stages))
    read = f" on stage {stages}" if stages else ""
    console.print(
        f"{scores}\n{validation.folds} folds of {validation.blocks} blocks of "
        f"{validation.block_cells} cells ({validation.block_m:g} m)\n"
        f"{manifest.kind} probe of {cells} cells{read} -> {fitted.probe}",
        soft_wrap=True,
        markup=False,
    )
