"""Options of every command that runs a model over a scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from mmearth_infer.cli.options import (
    device_option,
    engine_option,
    scene_options,
    threads_option,
    tiling_options,
    trust_option,
)
from mmearth_infer.grid.plan import Blend

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

scenes_argument = click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
"""The scene, or several that are one mosaic."""

_BLEND = click.option(
    "--blend",
    type=click.Choice(get_args(Blend)),
    help="What becomes of halos: dropped, or blended with the neighbours' tiles. "
    "Default: linear with window GRN, cosine with frozen GRN, none where the halo is "
    "all that a cell sees.",
)

_PACE = (
    click.option(
        "--batch-size",
        type=int,
        metavar="N",
        help="Tiles a batch. Default: about 0.05 Mpx, on a GPU 1.8 Mpx if its memory "
        "has the room.",
    ),
    click.option(
        "--read-ahead",
        "read_ahead_mb",
        type=int,
        default=512,
        show_default=True,
        metavar="MB",
        help="Memory for pixels that are in use or wait.",
    ),
)

_AGAIN = (
    click.option(
        "--overwrite",
        is_flag=True,
        help="Replace what is there, once done; behind an address it is removed first.",
    ),
    click.option(
        "--resume",
        is_flag=True,
        help="Go on with what an earlier run began, start where nothing is.",
    ),
)


def run_options(command: F) -> F:
    """Add everything that `RunConfig` holds, but for scene, output and model."""
    for option in reversed(
        (
            engine_option,
            device_option,
            trust_option,
            *tiling_options,
            _BLEND,
            scene_options,
            *_PACE,
            threads_option,
            *_AGAIN,
        )
    ):
        command = option(command)
    return command
