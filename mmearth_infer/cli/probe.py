"""`mmearth probe`: classes told apart in finished stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mmearth_infer.cli.options import json_option, store_argument, verbosity
from mmearth_infer.cli.probe_fit import fit_command
from mmearth_infer.cli.steps import steps_progress
from mmearth_infer.errors import MissingExtraError
from mmearth_infer.probe.apply import ApplyConfig, apply_probe

probe_option = click.option(
    "--probe",
    "probe_path",
    required=True,
    type=click.Path(path_type=Path),
    metavar="PROBE.onnx",
    help="The probe, as `mmearth probe fit` makes it.",
)

other_model_option = click.option(
    "--allow-other-model",
    is_flag=True,
    help="Accept another model file than the probe was fitted on: the same weights in "
    "another precision.",
)

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that are there."
)


@click.group(name="probe")
def probe() -> None:
    """Tell classes apart in the embeddings of stores.

    `fit` learns from labelled cells and says how well it does, `apply` makes a map of
    a store, `fuse` joins encoder and probe into one segmentation model.
    """


probe.add_command(fit_command)


@probe.command(name="apply")
@store_argument
@probe_option
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="MAP.tif",
    help="Where the map goes, a COG.",
)
@click.option(
    "--probabilities",
    type=click.Path(path_type=Path),
    metavar="SHARES.tif",
    help="Write a band a class with its probability, too; of ridge and knn they are no "
    "more than an order.",
)
@other_model_option
@overwrite_option
@json_option
@verbosity
def apply_command(
    *,
    probe_path: Path,
    as_json: bool,
    quiet: bool,
    **settings: Any,  # noqa: ANN401 -- fields of ApplyConfig
) -> None:
    """Map the classes of a probe over a store.

    A pixel is a cell, on the grid of the store; classes count from 0, 255 is nodata.
    """
    config = ApplyConfig(probe=probe_path, **settings)
    with steps_progress(quiet=quiet) as tell:
        mapped = apply_probe(config, tell)
    if as_json:
        click.echo(mapped.to_json())
    elif not quiet:
        said = ", ".join(
            f"{name} {km2:g} km2" for name, km2 in mapped.square_km.items()
        )
        click.echo(
            f"{mapped.width} x {mapped.height} cells -> {mapped.map}\n{said}, "
            f"{mapped.without_data} cells without data",
            err=True,
        )


@probe.command(name="fuse")
@click.option(
    "--model",
    required=True,
    type=click.Path(path_type=Path),
    metavar="ENCODER.onnx",
    help="The encoder whose embeddings the probe was fitted on.",
)
@probe_option
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="SEG.onnx",
    help="Where the segmentation model goes.",
)
@click.option("--name", help="What people call it. Default: made from the encoder's.")
@other_model_option
@overwrite_option
@json_option
@verbosity
def fuse_command(
    *,
    probe_path: Path,
    as_json: bool,
    quiet: bool,
    **settings: Any,  # noqa: ANN401 -- fields of FuseConfig
) -> None:
    """Join an encoder and a probe into one segmentation model.

    It is compared with the two before it is written. `mmearth segment` runs it.
    """
    try:
        from mmearth_infer.probe.fuse import FuseConfig, fuse  # noqa: PLC0415 -- an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("mmearth probe fuse", extra="probe") from error
    fused = fuse(FuseConfig(probe=probe_path, **settings))
    if as_json:
        click.echo(fused.to_json())
    elif not quiet:
        click.echo(
            f"`{fused.name}`, {len(fused.classes)} classes, cells of "
            f"{fused.stride_px} px -> {fused.model}\n"
            f"within {fused.max_relative:.1e} of encoder and probe",
            err=True,
        )
