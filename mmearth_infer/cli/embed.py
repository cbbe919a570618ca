"""`mmearth embed`: a scene in, a georeferenced store of embeddings out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth_infer.cli.options import (
    device_option,
    engine_option,
    json_option,
    model_option,
    scene_options,
    stage_option,
    threads_option,
    tiling_options,
    trust_option,
    verbosity,
)
from mmearth_infer.cli.progress import BarProgress
from mmearth_infer.engine.model import BUILTIN_MODEL
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.run.pipeline import embed as run_embed

if TYPE_CHECKING:
    from mmearth_infer.engine.choice import EngineChoice
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.run.report import Report


@click.command()
@click.argument("scene")
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.zarr",
    help="Where the store goes.",
)
@model_option
@engine_option
@device_option
@trust_option
@stage_option
@tiling_options[0]
@tiling_options[1]
@scene_options
@click.option(
    "--batch-size",
    type=int,
    metavar="N",
    help="Tiles a batch. Default: as many as make about 0.05 Mpx, on a GPU 3.6 Mpx.",
)
@threads_option
@click.option("--overwrite", is_flag=True, help="Replace a store, once done.")
@json_option
@verbosity
def embed(  # noqa: PLR0913 -- one a flag
    *,
    scene: str,
    out: Path,
    model: str | None,
    engine: EngineChoice,
    device: str,
    trust_model: bool,
    stage: int | None,
    window_px: int | None,
    halo_px: int | None,
    options: SceneOptions,
    batch_size: int | None,
    threads: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Embed a Sentinel-2 scene into a georeferenced Zarr store.

    SCENE is a GeoTIFF with all bands on one 10 m grid, or `demo` for the built-in
    scene. Bands are found by their descriptions, in any order; extra ones are
    ignored.
    """
    config = EmbedConfig(
        scene=scene,
        out=out,
        model=Path(model) if model else BUILTIN_MODEL,
        engine=engine,
        device=device,
        trust_model=trust_model,
        stage=stage,
        window_px=window_px,
        halo_px=halo_px,
        batch_size=batch_size,
        threads=threads,
        overwrite=overwrite,
        options=options,
    )
    with BarProgress(quiet=quiet) as progress:
        report = run_embed(config, progress)
    if as_json:
        click.echo(report.to_json())
    elif not quiet:
        click.echo(_summary(report), err=True)


def _summary(report: Report) -> str:
    """Return what a person wants to know at the end."""
    stages = ", ".join(f"{name} {s:.1f} s" for name, s in report.stage_s.items())
    memory = report.peak_rss_bytes
    peak = f", peak memory {memory / 2**20:.0f} MiB" if memory else ""
    return (
        f"{report.valid_cells} of {report.cells} cells x {report.channels} values "
        f"-> {report.store}, by {report.engine}\n"
        f"{report.elapsed_s:.1f} s ({report.megapixels_per_s:.2f} Mpx/s): "
        f"{stages}{peak}"
    )
