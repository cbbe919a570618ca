"""`mmearth stac`: a STAC item beside a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from mmearth_infer.cli.options import json_option, store_argument, verbosity
from mmearth_infer.view.stac_item import write_item

if TYPE_CHECKING:
    from mmearth_infer.write.address import Where


@click.command(name="stac")
@store_argument
@click.option(
    "--datetime",
    "taken",
    metavar="TIME",
    help="When the scene was taken, or START/END. Default: by its name, else from "
    "the launch of Sentinel-2A until the store was made.",
)
@click.option("--overwrite", is_flag=True, help="Replace an item that is there.")
@json_option
@verbosity
def stac_command(
    *, store: Where, taken: str | None, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Write a STAC item beside a store.

    OUT.json describes OUT.zarr: where it lies, when its scene was taken, and what
    made it.
    """
    out = write_item(store, taken=taken, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps({"item": str(out)}))
    elif not quiet:
        click.echo(str(out), err=True)
