"""Options that mean the same in every command."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from mmearth_infer.engine.choice import ENGINES, check_device
from mmearth_infer.read.masked import parse_masks
from mmearth_infer.read.options import (
    OffsetChoice,
    SceneOptions,
    parse_bands,
    parse_bbox,
)
from mmearth_infer.write.address import locate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmearth_infer.write.address import Where

F = TypeVar("F", bound="Callable[..., Any]")

_SCENE_OPTIONS = (
    click.option(
        "--bands",
        metavar="NAMES",
        help="Names of the file's bands in its order, comma-separated, `-` to skip "
        "one. Default: the descriptions in the file.",
    ),
    click.option(
        "--product",
        type=click.Choice(["auto", "l1c", "l2a"]),
        default="auto",
        show_default=True,
        help="Product level, which chooses the statistics.",
    ),
    click.option(
        "--offset",
        type=click.Choice(get_args(OffsetChoice)),
        default="auto",
        show_default=True,
        help="The +1000 of processing baseline 04.00: decide by evidence, leave it, "
        "or remove it.",
    ),
    click.option(
        "--scale",
        type=float,
        metavar="FACTOR",
        help="Factor from the file's values to digital numbers; 10000 for "
        "reflectance from 0 to 1.",
    ),
    click.option(
        "--allow-resolution",
        is_flag=True,
        help="Accept pixels that are not 10 m.",
    ),
    click.option(
        "--granule",
        metavar="T32TQM",
        help="Granule of a .SAFE that holds several, as those before December 2016.",
    ),
    click.option(
        "--mask",
        metavar="NAMES",
        help="Scene classes (SCL) that count as nodata, comma-separated: cloud, "
        "cirrus, shadow, snow, water, dark, defective and others.",
    ),
    click.option(
        "--bbox",
        metavar="W,S,E,N",
        help="Read this part of each scene only: degrees where they can be, else in "
        "the scene's CRS.",
    ),
    click.option(
        "--aoi",
        metavar="FILE",
        help="Read the part of each scene that these polygons span only, GeoJSON or "
        "another vector file. `embed` leaves cells outside them empty.",
    ),
)


def scene_options(command: F) -> F:
    """Add the options about a scene; the command gets them as `options`."""

    @functools.wraps(command)
    def with_options(  # noqa: PLR0913 -- one a flag
        *args: Any,  # noqa: ANN401
        bands: str | None,
        product: Any,  # noqa: ANN401
        offset: Any,  # noqa: ANN401
        scale: float | None,
        allow_resolution: bool,
        granule: str | None,
        mask: str | None,
        bbox: str | None,
        aoi: str | None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        options = SceneOptions(
            bands=parse_bands(bands) if bands else (),
            product=product,
            offset=offset,
            scale=scale,
            allow_resolution=allow_resolution,
            granule=granule,
            mask=parse_masks(mask) if mask is not None else (),
            bbox=parse_bbox(bbox) if bbox is not None else None,
            aoi=aoi,
        )
        return command(*args, options=options, **kwargs)

    for option in reversed(_SCENE_OPTIONS):
        with_options = option(with_options)
    return with_options  # type: ignore[return-value]  # wraps keeps the command's type


tiling_options = (
    click.option(
        "--window",
        "window_px",
        type=int,
        metavar="PX",
        help="Side of the tiles the engine sees, halo included. Default: 672.",
    ),
    click.option(
        "--halo",
        "halo_px",
        type=int,
        metavar="PX",
        help="Margin of a tile that is dropped or blended. Default: 64, with frozen "
        "GRN 96, at most a seventh of the window.",
    ),
)
"""Options about the tiling."""

model_option = click.option(
    "--model",
    type=click.Path(),
    metavar="MODEL",
    help="Model file, or the name of one. Default: `builtin`, the one in the box.",
)

engine_option = click.option(
    "--engine",
    type=click.Choice(["auto", *ENGINES]),
    default="auto",
    show_default=True,
    help="Library that runs the model; auto: the fastest that is installed.",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    callback=lambda _context, _parameter, value: check_device(value),
    help="What it computes on: cpu, cuda, cuda:1, or several GPUs: cuda:0,1 or "
    "cuda:all; auto: a GPU if there is one.",
)

trust_option = click.option(
    "--trust-model",
    is_flag=True,
    help="Run a .pt2 or .engine, which hold machine code: only if you made them.",
)

threads_option = click.option(
    "--threads",
    type=int,
    default=0,
    metavar="N",
    help="Threads of the engine. Default: one a core.",
)

stage_option = click.option(
    "--stage",
    type=click.IntRange(1, 4),
    help="Stage of the encoder. Default: the deepest the model gives.",
)

stages_option = click.option(
    "--stage",
    "stages",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Stage of the encoder; may be given several times. Default: the deepest the "
    "model gives.",
)


def locate_store(
    _context: click.Context, _parameter: click.Parameter, value: Path
) -> Where:
    """Return the path or address of a store that was typed."""
    return locate(value)


store_argument = click.argument(
    "store", type=click.Path(path_type=Path), callback=locate_store
)

store_stage_option = click.option(
    "--stage",
    type=click.IntRange(1, 4),
    help="Stage of the encoder. Default: the deepest the store holds.",
)

store_stages_option = click.option(
    "--stage",
    "stages",
    type=click.IntRange(1, 4),
    multiple=True,
    help="Stage of the encoder; may be given several times: the deepest decides the "
    "cells, finer ones are read by mean and deviation inside them. Default: the "
    "deepest the store holds.",
)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="End stdout with one line of JSON."
)


def verbosity(command: F) -> F:
    """Add -v and -q; the command gets `quiet`."""

    @functools.wraps(command)
    def with_verbosity(*args: Any, verbose: bool, quiet: bool, **kwargs: Any) -> Any:  # noqa: ANN401
        log = logging.getLogger("mmearth")
        log.setLevel(
            logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
        )
        return command(*args, quiet=quiet, **kwargs)

    flags = (
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
        click.option("-q", "--quiet", is_flag=True, help="Say errors only."),
    )
    for flag in reversed(flags):
        with_verbosity = flag(with_verbosity)
    return with_verbosity  # type: ignore[return-value]  # likewise
