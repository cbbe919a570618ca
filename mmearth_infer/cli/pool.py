"""`mmearth pool`: one vector a square, as GeoParquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth_infer.cli.options import (
    json_option,
    store_argument,
    store_stage_option,
    verbosity,
)
from mmearth_infer.view.pool import pool

if TYPE_CHECKING:
    from mmearth_infer.write.address import Where


@click.command(name="pool")
@store_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="VECTORS.parquet",
    help="Where the table goes.",
)
@click.option(
    "--window",
    "window_px",
    type=click.IntRange(min=1),
    required=True,
    metavar="PX",
    help="Side of a square in pixels of the scene, a multiple of a cell.",
)
@store_stage_option
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@json_option
@verbosity
def pool_command(  # noqa: PLR0913 -- one a flag
    *,
    store: Where,
    out: Path,
    window_px: int,
    stage: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write one mean vector for each square of a store.

    A GeoParquet table with a polygon, the share of cells that hold data, and the mean
    of these cells for each square; squares start at the scene's corner. Squares
    without data have no row.
    """
    done = pool(store, out, window_px=window_px, stage=stage, overwrite=overwrite)
    if as_json:
        click.echo(done.to_json())
    elif not quiet:
        left_out = f", {done.empty} without data left out" if done.empty else ""
        click.echo(
            f"{done.rows} squares of {done.window_px} px x {done.channels} values"
            f"{left_out} -> {done.table}",
            err=True,
        )
