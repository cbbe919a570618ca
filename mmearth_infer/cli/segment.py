"""`mmearth segment`: a scene in, a map of classes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmearth_infer.cli.options import json_option, locate_store, verbosity
from mmearth_infer.cli.progress import BarProgress
from mmearth_infer.cli.run_options import run_options, scenes_argument
from mmearth_infer.cli.stop import stopping
from mmearth_infer.run.config import SegmentConfig
from mmearth_infer.run.segment import segment, written_to

if TYPE_CHECKING:
    from mmearth_infer.run.segment import MapReport
    from mmearth_infer.write.address import Where


@click.command()
@scenes_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    callback=locate_store,
    metavar="MAP.tif",
    help="Where the map goes: a Cloud Optimized GeoTIFF if its name says so, else a "
    "Zarr store, also at s3://BUCKET/MAP.zarr, gs://, az:// (needs the `cloud` extra).",
)
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Segmentation model, as `mmearth export` makes it of a fine-tuned U-Net, or "
    "`mmearth probe fuse` of an encoder and a probe.",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="Keep the probability of each class too: in MAP.probability.tif, or as an "
    "array of the store.",
)
@click.option(
    "--polygons",
    type=click.Path(path_type=Path),
    metavar="OUT.gpkg",
    help="Write the map as polygons too, a GeoPackage (needs the `probe` extra).",
)
@click.option(
    "--least-cells",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Smallest polygon; smaller patches join their largest neighbour.",
)
@run_options
@json_option
@verbosity
def segment_command(
    *,
    scenes: tuple[str, ...],
    out: Where,
    quiet: bool,
    as_json: bool,
    **settings: Any,  # noqa: ANN401 -- fields of SegmentConfig
) -> None:
    """Map the classes of a Sentinel-2 scene.

    SCENE is what `mmearth embed` takes. The map lies on the scene's pixels, or on cells
    of several pixels, as the model says; classes count from 0, 255 is nodata. A
    GeoTIFF has the names of the classes, and their colours in its palette.
    """
    config = SegmentConfig(scene=scenes, out=out, **settings)
    kept = written_to(out)
    with BarProgress(quiet=quiet) as progress, stopping(kept, tidy=progress.close):
        made = segment(config, progress)
    if as_json:
        click.echo(made.to_json())
    elif not quiet:
        click.echo(_summary(made), err=True)


def _summary(made: MapReport) -> str:
    """Return what a person wants to know at the end."""
    report = made.report
    if report.resumed_cells == report.cells:
        return f"{report.store} is complete already"
    lines = [
        f"{name}: {made.square_km[name]:.4g} km2, {cells / report.valid_cells:.1%}"
        for name, cells in made.cells.items()
    ]
    written = [f"{what}: {path}" for what, path in made.files.items()]
    done = (
        f"{report.valid_cells} of {report.cells} cells, by {report.engine}, in "
        f"{report.elapsed_s:.1f} s ({report.megapixels_per_s:.2f} Mpx/s)"
    )
    return "\n".join([done, *lines, *written])
