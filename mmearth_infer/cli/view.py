"""`mmearth view`: a store as a picture."""

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
from mmearth_infer.view.draw import MAX_PX, ViewConfig, Viewed, view
from mmearth_infer.view.sample import SAMPLE_CELLS
from mmearth_infer.view.similarity import Place

if TYPE_CHECKING:
    from mmearth_infer.write.address import Where


class _Pair(click.ParamType):  # type: ignore[type-arg]  # no type of its own before click 8.4
    """Two numbers with a comma between them."""

    name = "X,Y"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Return the two numbers."""
        try:
            x, y = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"`{value}` is not X,Y", param, ctx)
        return x, y


@click.command(name="view")
@store_argument
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PICTURE",
    help="Where the picture goes: .png with a world file, or .tif, a Cloud Optimized "
    "GeoTIFF.",
)
@store_stage_option
@click.option(
    "--similar-to",
    type=_Pair(),
    metavar="X,Y",
    help="Draw how much each cell resembles the one there, in the store's CRS.",
)
@click.option("--lonlat", is_flag=True, help="X,Y are longitude and latitude.")
@click.option(
    "--click",
    "clicking",
    is_flag=True,
    help="Show the store in a window, and draw what resembles the place that is "
    "clicked last (needs the `view` extra).",
)
@click.option(
    "--basis",
    type=click.Path(path_type=Path),
    metavar="BASIS.json",
    help="Draw with the colours of another picture, so that they match.",
)
@click.option(
    "--save-basis",
    type=click.Path(path_type=Path),
    metavar="BASIS.json",
    help="Keep the colours for other pictures.",
)
@click.option(
    "--max-px",
    type=click.IntRange(min=1),
    default=MAX_PX,
    show_default=True,
    help="Most pixels on the longer side; each is the mean of a block of cells.",
)
@click.option(
    "--zoom",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="Pixels a side of each of them, for small stores.",
)
@click.option(
    "--sample-cells",
    type=click.IntRange(min=3),
    default=SAMPLE_CELLS,
    show_default=True,
    metavar="N",
    help="About how many cells the colours are computed from.",
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@json_option
@verbosity
def view_command(  # noqa: PLR0913 -- one a flag
    *,
    store: Where,
    out: Path,
    stage: int | None,
    similar_to: tuple[float, float] | None,
    lonlat: bool,
    clicking: bool,
    basis: Path | None,
    save_basis: Path | None,
    max_px: int,
    zoom: int,
    sample_cells: int,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw a store as a picture.

    Red, green and blue are the three directions in which its embeddings differ most.
    With --similar-to or --click, colours say how much each cell resembles one of
    them. Cells without data are transparent.
    """
    if similar_to is None and lonlat:
        raise click.UsageError("--lonlat goes with --similar-to")
    if similar_to is not None and (basis or save_basis):
        raise click.UsageError("--similar-to takes no basis")
    if clicking and (similar_to is not None or save_basis):
        raise click.UsageError("--click takes neither --similar-to nor --save-basis")
    if basis is not None and save_basis is not None:
        raise click.UsageError("--basis and --save-basis exclude each other")
    config = ViewConfig(
        store=store,
        out=out,
        stage=stage,
        similar_to=similar_to
        and Place(x=similar_to[0], y=similar_to[1], lonlat=lonlat),
        click=clicking,
        basis=basis,
        save_basis=save_basis,
        max_px=max_px,
        zoom=zoom,
        sample_cells=sample_cells,
        overwrite=overwrite,
    )
    viewed = view(config)
    if as_json:
        click.echo(viewed.to_json())
    elif not quiet:
        click.echo(_summary(viewed), err=True)


def _summary(viewed: Viewed) -> str:
    """Return what a person wants to know at the end."""
    size = f"{viewed.width_px} x {viewed.height_px} px of {viewed.cells_per_px:g} cells"
    if viewed.shown == "components":
        shares = ", ".join(f"{share:.0%}" for share in viewed.explained)
        held = f"hold {shares} of the variance" if shares else f"as in {viewed.basis}"
        meaning = f"red, green and blue {held}"
    else:
        meaning = (
            f"cosine similarity to {viewed.similar_to} from {viewed.low:.3f} to "
            f"{viewed.high:.3f}"
        )
    return f"{size} -> {viewed.picture}\n{meaning}"
