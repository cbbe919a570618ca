"""`mmearth embed`: a scene in, a georeferenced store of embeddings out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmearth_infer.cli.beside import beside, beside_options
from mmearth_infer.cli.options import (
    json_option,
    locate_store,
    model_option,
    stages_option,
    verbosity,
)
from mmearth_infer.cli.progress import BarProgress
from mmearth_infer.cli.run_options import run_options, scenes_argument
from mmearth_infer.cli.stop import stopping
from mmearth_infer.engine.model import BUILTIN
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.run.embed import embed as run_embed
from mmearth_infer.write.encode import DTYPES
from mmearth_infer.write.layout import LAYOUTS

if TYPE_CHECKING:
    from mmearth_infer.run.report import Report
    from mmearth_infer.write.address import Where


@click.command()
@scenes_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    callback=locate_store,
    metavar="OUT.zarr",
    help="Where the store goes: a folder, or s3://BUCKET/OUT.zarr, gs://, az:// "
    "(needs the `cloud` extra).",
)
@model_option
@stages_option
@run_options
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default="float32",
    show_default=True,
    help="How embeddings are kept; int8 with the model's scale, or one for each cell.",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="plain",
    show_default=True,
    help="Chunks as files, or sharded: fewer files, which GDAL cannot read.",
)
@click.option(
    "--report",
    is_flag=True,
    help="Measure how far tiles show: a seam index, and larger windows for a sample.",
)
@click.option(
    "--report-picture",
    type=click.Path(path_type=Path),
    metavar="PICTURE.png",
    help="Draw what --report finds (needs the `train` extra).",
)
@beside_options
@json_option
@verbosity
def embed(  # noqa: PLR0913 -- one a flag
    *,
    scenes: tuple[str, ...],
    out: Where,
    model: str | None,
    pool_px: int | None,
    pool_to: Path | None,
    stac: bool,
    quiet: bool,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 -- fields of EmbedConfig
) -> None:
    """Embed a Sentinel-2 scene into a georeferenced Zarr store.

    SCENE is a raster with all bands on one 10 m grid, a folder with a file for each
    band, a .SAFE folder or a .zip of one, a STAC item, an address of one of them, or
    `demo` for the built-in scene. Several on one grid are one mosaic, in which the
    first has precedence. Bands are found by their names, in any order; extra ones
    are ignored.
    """
    config = EmbedConfig(
        scene=scenes,
        out=out,
        model=model or BUILTIN,
        **settings,
    )
    asked = beside(out, pool_px=pool_px, pool_to=pool_to, stac=stac)
    asked.check(config)
    with BarProgress(quiet=quiet) as progress, stopping(out, tidy=progress.close):
        report = run_embed(config, progress)
    files = asked.write(out, window_px=report.window_px)
    if as_json:
        click.echo(json.dumps(json.loads(report.to_json()) | files))
    elif not quiet:
        written = [f"\nbeside it: {path}" for path in files.values() if path]
        click.echo(_summary(report) + "".join(written), err=True)


def _summary(report: Report) -> str:
    """Return what a person wants to know at the end."""
    if report.resumed_cells == report.cells:
        return f"{report.store} is complete already"
    stages = ", ".join(
        f"{name} {s:.1f} s ({s / report.elapsed_s:.0%})"
        for name, s in report.stage_s.items()
    )
    memory = report.peak_rss_bytes
    peak = f", peak memory {memory / 2**20:.0f} MiB" if memory else ""
    before = (
        f", {report.resumed_cells} of an earlier run" if report.resumed_cells else ""
    )
    return (
        f"{report.valid_cells} of {report.cells} cells x {report.channels} values"
        f"{before} -> {report.store}, by {report.engine}\n"
        f"{report.elapsed_s:.1f} s ({report.megapixels_per_s:.2f} Mpx/s, "
        f"{report.square_km_per_s:.2f} km2/s), bound by {report.bound_by}{peak}\n"
        f"busy, side by side: {stages}{_seams(report)}"
    )


def _seams(report: Report) -> str:
    """Return a line about seams, if they were measured."""
    if report.seams is None:
        return ""
    index, apart = report.seams["seam_index"], report.seams["apart_from_larger_window"]
    said = "no borders of tiles" if index is None else f"seam index {index:.3f}"
    beside = "" if apart is None else f", {apart:.2%} from larger windows"
    return f"\n{said}{beside}"
