"""`mmearth make-dataset` and `mmearth pack`: data to train on."""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003 -- click's callback takes it
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmearth_infer.cli.options import json_option, scene_options, verbosity
from mmearth_training.data.folder import open_folder
from mmearth_training.data.make import MakeConfig
from mmearth_training.data.make import make_dataset as run_make
from mmearth_training.data.pack import pack as run_pack
from mmearth_training.data.splits import Shares

if TYPE_CHECKING:
    from mmearth_training.data.scenes import SceneOptions

_out = click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the data set goes.",
)
_overwrite = click.option(
    "--overwrite", is_flag=True, help="Replace a data set made by mmearth, once done."
)


@click.command(name="make-dataset")
@click.argument("scenes", metavar="SCENE...", nargs=-1, required=True)
@_out
@click.option(
    "--tile",
    "tile_px",
    type=click.Choice(["128", "64"]),
    default="128",
    show_default=True,
    help="Side of a tile in pixels.",
)
@click.option(
    "--stride",
    "stride_px",
    type=click.IntRange(min=1),
    metavar="PX",
    help="Distance of neighbouring tiles. Default: the side of a tile; less gives "
    "more tiles, which overlap.",
)
@click.option("--name", help="What the files are called. Default: as the folder.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed."
)
@click.option(
    "--val-share",
    type=float,
    default=0.1,
    show_default=True,
    help="Share of the ground to validate on.",
)
@click.option(
    "--test-share",
    type=float,
    default=0.1,
    show_default=True,
    help="Share of the ground to test on.",
)
@click.option(
    "--date",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="When the scenes were taken. Default: the date in a product's name, else a "
    "made-up month.",
)
@click.option(
    "--real-only",
    is_flag=True,
    help="Leave out what would be made up, and the month where nothing says it.",
)
@scene_options
@_overwrite
@json_option
@verbosity
def make_dataset(  # noqa: PLR0913 -- one a flag
    *,
    scenes: tuple[str, ...],
    out: Path,
    tile_px: str,
    stride_px: int | None,
    name: str | None,
    seed: int,
    val_share: float,
    test_share: float,
    date: dt.datetime | None,
    real_only: bool,
    options: SceneOptions,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Cut scenes into a small data set to train on.

    SCENE is what `mmearth embed` takes, or a list of scenes: a TOML file of
    [[scenes]], each with a path, and date, product, offset, allow_resolution or
    stride where they differ. The data set has the layout MMEarth is published in.
    Sentinel-2 and the location are real; the other modalities are made up from
    Sentinel-2, and marked so.
    """
    made = run_make(
        MakeConfig(
            scenes=scenes,
            out=out,
            name=name,
            tile_px=int(tile_px),
            stride_px=stride_px,
            shares=Shares(val=val_share, test=test_share),
            seed=seed,
            date=date and date.date(),
            real_only=real_only,
            options=options,
            overwrite=overwrite,
        ),
        quiet=quiet,
    )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made) | {"out": str(made.out)}))
    elif not quiet:
        counts = ", ".join(f"{count} {split}" for split, count in made.tiles.items())
        click.echo(f"{made.out}: {counts} tiles of {tile_px} px", err=True)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_out
@_overwrite
@json_option
@verbosity
def pack(
    *, folder: Path, out: Path, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Rewrite a published data set so that it reads fast.

    FOLDER holds NAME.h5 and its JSON files. The new folder holds NAME.zarr and the
    same JSON files, and is trained on in the same way. No value changes.
    """
    packed = run_pack(open_folder(folder), out, overwrite=overwrite, quiet=quiet)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(packed) | {"out": str(packed.out)}))
    elif not quiet:
        click.echo(
            f"{packed.out}: {packed.tiles} tiles, "
            f"{packed.packed_bytes / packed.published_bytes:.2f} of the size before",
            err=True,
        )
