"""`mmearth models`: which models there are by name, and how one comes here."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.table import Table

from mmearth_infer.cli.options import json_option, verbosity
from mmearth_infer.cli.steps import steps_progress
from mmearth_infer.engine.model import BUILTIN, BUILTIN_MODEL
from mmearth_infer.errors import MissingExtraError
from mmearth_infer.models.cache import kept_checkpoint, kept_model
from mmearth_infer.models.published import PAGE, PUBLISHED, SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MIRROR: Final = "MMEARTH_MODELS_URL"
"""Environment variable with the address of a folder like the authors'."""

_NEEDED: Final = ("torch", "safetensors", "onnx", "onnxruntime", "onnxscript")

Row = dict[str, Any]
"""What is said of a model."""


@click.group(name="models", invoke_without_command=True)
@json_option
@click.pass_context
def models(context: click.Context, *, as_json: bool) -> None:
    """List models that have a name, and get published ones.

    `--model` of other commands takes such a name, `mmearth export` that of a published
    checkpoint. Without a command: `list`.
    """
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@models.command(name="list")
@json_option
def list_command(*, as_json: bool) -> None:
    """List the model in the box and those that the authors of MMEarth publish."""
    _list(as_json=as_json)


@models.command(name="get")
@click.argument("name", type=click.Choice(list(PUBLISHED)), metavar="NAME")
@click.option(
    "--url",
    metavar="ADDRESS",
    help="Address of the checkpoint, where it is not the authors'. Default: below "
    f"${MIRROR}, if that is set.",
)
@json_option
@verbosity
def get_command(*, name: str, url: str | None, as_json: bool, quiet: bool) -> None:
    """Get a published checkpoint, verify it and make a model of it.

    It goes into the cache; what is there already is not done again. A download that
    was interrupted goes on.
    """
    if not all(map(find_spec, _NEEDED)):
        raise MissingExtraError("mmearth models get", extra="export")
    from mmearth_export.get_model import get_model  # noqa: PLC0415 -- an extra

    wanted = PUBLISHED[name]
    address = url or wanted.address(os.environ.get(MIRROR) or SHARE)
    with steps_progress(quiet=quiet) as tell:
        got = get_model(wanted, address, tell=tell)
    if as_json:
        said = {key: str(value) for key, value in asdict(got).items()}
        click.echo(json.dumps(said | {"name": name, "new": got.new}))
    elif not quiet:
        done = "made" if got.new else "here already"
        click.echo(
            f"{done}: {got.model}\nof {got.checkpoint}, sha256:{got.sha256}\n"
            f"use it with --model {name}",
            err=True,
        )


def _list(*, as_json: bool) -> None:
    """Say which models there are."""
    rows = [_builtin_row(), *_published_rows()]
    if as_json:
        click.echo(json.dumps({"models": rows}))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("here")
    table.add_column("what")
    for row in rows:
        table.add_row(row["name"], "yes" if row["model"] else "-", row["about"])
    Console(highlight=False, markup=False).print(table)
    click.echo(f"\nmmearth models get NAME brings a published one here, from {PAGE}")


def _builtin_row() -> Row:
    """Return what is said of the model in the box."""
    return {
        "name": BUILTIN,
        "kind": "built-in",
        "about": f"in the box: `mmearth info {BUILTIN}`",
        "model": str(BUILTIN_MODEL),
        "checkpoint": None,
        "address": None,
    }


def _published_rows() -> Sequence[Row]:
    """Return what is said of published checkpoints."""
    return [
        {
            "name": name,
            "kind": "published",
            "about": one.about,
            **asdict(one),
            "model": _if_there(kept_model(name)),
            "checkpoint": _if_there(kept_checkpoint(name)),
            "address": one.address(),
            "page": PAGE,
        }
        for name, one in PUBLISHED.items()
    ]


def _if_there(path: Path) -> str | None:
    """Return a path if something is there."""
    return str(path) if path.is_file() else None
