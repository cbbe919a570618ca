"""`mmearth cog`: a store as a Cloud Optimized GeoTIFF."""

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
from mmearth_infer.view.cog import write_cog

if TYPE_CHECKING:
    from mmearth_infer.write.address import Where


class _Channels(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """Numbers and ranges with commas between them: `1-16,20`."""

    name = "LIST"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return every channel that is named, in that order."""
        channels: list[int] = []
        try:
            for part in str(value).split(","):
                first, _, last = part.partition("-")
                channels += range(int(first), int(last or first) + 1)
        except ValueError:
            channels = []
        if not channels or len(set(channels)) < len(channels):
            self.fail(f"`{value}` is not a list such as 1-16,20", param, ctx)
        return tuple(channels)


@click.command()
@store_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.tif",
    help="Where the file goes.",
)
@store_stage_option
@click.option(
    "--channels",
    type=_Channels(),
    metavar="LIST",
    help="Channels to write, such as 1-16,20. Default: all.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@json_option
@verbosity
def cog(  # noqa: PLR0913 -- one a flag
    *,
    store: Where,
    out: Path,
    stage: int | None,
    channels: tuple[int, ...] | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a store as a Cloud Optimized GeoTIFF.

    Cells without data are NaN, or -128 where the store is int8 with one scale, which
    the file then states as the scale of its bands.
    """
    done = write_cog(store, out, stage=stage, channels=channels, overwrite=overwrite)
    if as_json:
        click.echo(done.to_json())
    elif not quiet:
        click.echo(
            f"{done.bands} bands of {done.width_px} x {done.height_px} px, "
            f"{done.dtype}, {done.size_bytes / 1e6:.1f} MB -> {done.cog}",
            err=True,
        )
