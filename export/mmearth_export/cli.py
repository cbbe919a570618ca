"""`mmearth export`: a checkpoint in, a verified model file out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from mmearth_export.artifact import ExportConfig, GrnChoice, export_model
from mmearth_export.formats import FORMATS, LARGEST
from mmearth_export.precision import PRECISIONS, STORAGES
from mmearth_infer.cli.options import json_option, scene_options, verbosity
from mmearth_infer.contract.manifest import manifest_to_json
from mmearth_infer.models.cache import find_kept, kept_checkpoint


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Where the model file goes: MODEL.onnx, .xml, .pt2 or .engine, by format.",
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    default="onnx",
    show_default=True,
    help="Kind of model file; pt2 is the fastest, for CPUs like this one alone; trt "
    "is for this GPU alone, and can be made where it is.",
)
@click.option(
    "--stage",
    "stages",
    type=click.IntRange(1, 4),
    multiple=True,
    default=(4,),
    show_default=True,
    help="Stage the model gives; may be given several times.",
)
@click.option(
    "--grn",
    type=click.Choice(get_args(GrnChoice)),
    default="window",
    show_default=True,
    help="What GRN takes its norm over: each window by itself, as published, or scenes "
    "it is measured on once (--calibrate). Frozen is faster and leaves no seams.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="fp32",
    show_default=True,
    help="Arithmetic of the matrix products; int8 is measured on --calibrate scenes.",
)
@click.option(
    "--weights",
    type=click.Choice(STORAGES),
    help="Keep weights that are computed with in fp32 in half precision: an .onnx of "
    "half the size.",
)
@click.option(
    "--calibrate",
    multiple=True,
    metavar="SCENE",
    help="Scene that frozen GRN, and the scale of int8 stores, are measured on; may be "
    "given several times.",
)
@click.option(
    "--grn-eps",
    type=float,
    default=1e-4,
    show_default=True,
    help="Epsilon of GRN; published dense inference has 1e-4, pretraining 1e-6.",
)
@click.option(
    "--window",
    "window_px",
    type=click.IntRange(min=1),
    default=LARGEST[1],
    show_default=True,
    metavar="PX",
    help="Side of the largest tile of a trt model.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=LARGEST[0],
    show_default=True,
    metavar="N",
    help="Tiles of the largest batch of a trt model.",
)
@click.option("--name", help="What the model is called. Default: its size and patch.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="CARD.toml",
    help="What it was trained on and is good for, which `mmearth info` shows.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@scene_options
@json_option
@verbosity
def export(
    *,
    checkpoint: Path,
    out: Path,
    as_json: bool,
    quiet: bool,
    **settings: Any,  # noqa: ANN401 -- fields of ExportConfig
) -> None:
    """Turn a checkpoint into a verified model file.

    CHECKPOINT is a published MMEarth pretraining checkpoint, `checkpoint-199.pth` or
    the name of one that `mmearth models get` brought, or one of your own training: its
    folder, or that of the run, whose last checkpoint is taken. It is read without
    running any code it may hold. The file is compared with eager PyTorch, and kept only
    if they agree.
    """
    checkpoint = find_kept(checkpoint, kept_checkpoint)
    manifest = export_model(ExportConfig(checkpoint=checkpoint, out=out, **settings))
    assert manifest.verification is not None
    if as_json:
        line = manifest_to_json(manifest).replace("\n", "")
        click.echo(line)
    elif not quiet:
        click.echo(
            f"{manifest.name} -> {out}, within "
            f"{manifest.verification.max_relative:.1e} of eager PyTorch",
            err=True,
        )
