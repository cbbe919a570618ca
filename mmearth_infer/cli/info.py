"""`mmearth info`: explains a model, a probe, a scene or a store."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from mmearth_infer.cli.options import (
    json_option,
    model_option,
    scene_options,
    stage_option,
    tiling_options,
    verbosity,
)
from mmearth_infer.engine.choice import ABLE, describe_engines, this_machine
from mmearth_infer.engine.model import BUILTIN, find_model
from mmearth_infer.engine.open import read_file
from mmearth_infer.errors import ManifestError, MMEarthError, StoreError
from mmearth_infer.probe.probe_file import open_probe
from mmearth_infer.read.source import open_source
from mmearth_infer.run.tiling import plan_scene
from mmearth_infer.write.address import locate
from mmearth_infer.write.layout import COMPLETE, PROVENANCE
from mmearth_infer.write.metadata import read_store_metadata

if TYPE_CHECKING:
    from mmearth_infer.contract.card import Card
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.seams import Scene
    from mmearth_infer.write.address import Where

Facts = dict[str, Any]
"""What is said about a file, in order."""


@click.command()
@click.argument("file")
@model_option
@stage_option
@tiling_options[0]
@tiling_options[1]
@scene_options
@json_option
@verbosity
def info(  # noqa: PLR0913 -- one a flag
    *,
    file: str,
    model: str | None,
    stage: int | None,
    window_px: int | None,
    halo_px: int | None,
    options: SceneOptions,
    as_json: bool,
    quiet: bool,
) -> None:
    """Explain a model, a probe, a scene or a store.

    FILE is a model file (.onnx, .xml, .pt2, .engine) or the name of a model, a probe, a
    store, or a scene. For a model it tells what could run it here; for a scene the
    bands, level and offset that were found, on what evidence, and the windows that
    `mmearth embed` would need with the same options.
    """
    del quiet  # what is asked for is always said
    path = find_model(file)
    if path.suffix in ABLE:
        facts = model_or_probe_facts(path)
    elif _is_store(file):
        facts = store_facts(locate(file))
    else:
        facts = scene_facts(
            file,
            model or BUILTIN,
            options,
            stage=stage,
            window_px=window_px,
            halo_px=halo_px,
        )
    if as_json:
        click.echo(json.dumps(facts))
    else:
        _print(facts)


def _is_store(file: str) -> bool:
    """Tell whether a file is a store; behind an address, by its name alone."""
    if "://" in file:
        return file.rstrip("/").endswith(".zarr")
    return os.path.exists(Path(file) / "zarr.json")  # noqa: PTH110 -- never raises


def model_facts(path: Path) -> Facts:
    """Return what a model file promises."""
    file = read_file(path)
    manifest = file.manifest
    made = manifest.architecture
    checked = manifest.verification
    return {
        "kind": "model",
        "name": manifest.name,
        "digest": f"sha256:{file.digest}",
        "task": manifest.task,
        "trained": manifest.provenance.trained,
        "architecture": f"{made.family} {made.size}, patch {made.patch_px} px",
        "bands": list(manifest.bands),
        "product levels": list(manifest.statistics),
        "classes": [one.name for one in manifest.classes],
        "outputs": [msgspec.to_builtins(out) for out in manifest.outputs],
        "training crop": f"{manifest.training_crop_px} px",
        "GRN": f"{manifest.grn.scope}, eps {manifest.grn.eps:g}",
        "GRN measured on": manifest.grn.source,
        "precision": manifest.precision,
        "weights kept in": manifest.weights,
        "run by": describe_engines(path.suffix, this_machine()),
        "checkpoint": manifest.provenance.checkpoint,
        "checkpoint sha256": manifest.provenance.checkpoint_sha256,
        "statistics from": manifest.provenance.statistics,
        "verified": checked
        and f"within {checked.max_relative:.1e} of {checked.reference}",
        **_card_facts(manifest.provenance.card),
        "warnings": list(file.warnings),
    }


def _card_facts(card: Card | None) -> Facts:
    """Return what a model's card says, if it has one."""
    said = asdict(card) if card else {}
    return {name.replace("_", " "): text for name, text in said.items()}


def model_or_probe_facts(path: Path) -> Facts:
    """Return what a model file promises, or a probe, which is a `.onnx` file too."""
    try:
        return model_facts(path)
    except ManifestError:
        with suppress(MMEarthError):
            return probe_facts(path)
        raise


def probe_facts(path: Path) -> Facts:
    """Return what a probe promises."""
    probe = open_probe(path)
    made = probe.manifest
    tested = made.validation
    scores = tested.scores if tested else {}
    return {
        "kind": f"probe, {made.kind}",
        "digest": f"sha256:{probe.digest}",
        "classes": [
            f"{one.name}, of {cells} cells"
            for one, cells in zip(made.classes, made.cells, strict=True)
        ],
        "model": f"{made.model_name} ({made.model_digest})",
        "stage": made.stage,
        "finer stages": list(made.finer_stages),
        "stride": made.stride_px and f"{made.stride_px} px",
        "channels": made.channels,
        "settings": [f"{key} {value}" for key, value in made.settings.items()],
        "validation": tested
        and f"{tested.folds} folds of {tested.blocks} blocks of {tested.block_m:.0f} m",
        "scores": [
            f"{name} {score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
            for name, score in scores.items()
        ],
        "labels": list(made.labels),
        "stores": list(made.stores),
        "made by": f"mmearth-infer {made.code_version}",
    }


def store_facts(path: Where) -> Facts:
    """Return what a store says about itself."""
    attributes, shape, chunks = read_store_metadata(path)
    try:
        return _stated_facts(attributes, shape, chunks)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"the attributes of `{path}` are not those of a store: {error}",
            hint="embed the scene again",
        ) from error


def _stated_facts(
    attributes: Facts, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> Facts:
    """Return what the attributes of a store say."""
    made = attributes[PROVENANCE]
    scene, model, tiling = made["scene"], made["model"], made["tiling"]
    return {
        "kind": "store",
        "complete": made[COMPLETE],
        "shape": list(shape),
        "chunks": list(chunks),
        "CRS": attributes.get("proj:code") or attributes.get("proj:wkt2"),
        "transform": attributes["spatial:transform"],
        "bounds": attributes["spatial:bbox"],
        "model": f"{model['name']} ({model['digest']})",
        "stages": model["stages"],
        "trained": model["trained"],
        "scene": scene["name"],
        "product level": f"{scene['product_level']}: {scene['product_level_evidence']}",
        "offset": f"{scene['offset_dn']}: {scene['offset_evidence']}",
        "tiling": ", ".join(f"{key} {value}" for key, value in tiling.items()),
        "kept as": ", ".join(f"{key} {kept}" for key, kept in made["output"].items()),
        "engine": " ".join(str(value) for value in made["engine"].values()),
        "made by": f"mmearth-infer {made['version']}",
    }


def scene_facts(  # noqa: PLR0913 -- what `embed` is asked for
    file: str,
    model: str,
    options: SceneOptions,
    *,
    stage: int | None,
    window_px: int | None,
    halo_px: int | None,
) -> Facts:
    """Return what was found out about a scene, and what embedding it would take."""
    opened = read_file(model)
    manifest = opened.manifest
    output = manifest.output(stage)
    with open_source(file, options=options, wanted=None) as source:
        scene = source.scene
    found = scene.bands
    missing = [band for band in manifest.bands if band not in found]
    if not missing:  # then decide as `embed` does, by the bands the model reads
        with open_source(file, options=options, wanted=manifest.bands) as source:
            scene = source.scene
    taken = scene.acquired
    plan = plan_scene(
        scene.geobox, manifest, [output], window_px=window_px, halo_px=halo_px
    )
    return {
        "kind": "scene",
        **_place(scene),
        "acquired": taken and f"{taken}: {taken.evidence}",
        "bands": list(found),
        "bands recognised": scene.bands_evidence,
        "product level": f"{scene.level}: {scene.level_evidence}",
        "offset": f"{scene.offset_dn}: {scene.offset_evidence}",
        "scale": scene.scale,
        "for model": manifest.name,
        "bands missing": missing,
        "windows": f"{plan.tile_count} of {plan.window_px} px, halo {plan.halo_px} px",
        "cells": f"{plan.height} x {plan.width} of {output.stride_px} px",
        "chosen of it": list(scene.notes),
        "warnings": [*opened.warnings, *scene.warnings],
    }


def _place(scene: Scene) -> Facts:
    """Return where a scene lies."""
    box = scene.geobox
    high_m, wide_m = box.pixel_m()
    return {
        "name": scene.name,
        "size": f"{box.height} x {box.width} px",
        "CRS": box.crs.to_string(),
        "pixel": f"{high_m:.4g} x {wide_m:.4g} m",
        "bounds": list(box.bounds),
    }


def _print(facts: Facts) -> None:
    """Print facts as two columns."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        for n, line in enumerate(_lines(value)):
            table.add_row("" if n else key, line)
    Console(highlight=False, markup=False).print(table)


def _lines(value: object) -> list[str]:
    """Return a value as lines of text."""
    if value is None or value == []:
        return ["-"]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, list) and isinstance(value[0], dict):
        return [", ".join(f"{k} {v}" for k, v in row.items()) for row in value]
    if isinstance(value, list) and isinstance(value[0], str) and " " in value[0]:
        return value
    if isinstance(value, list):
        return [" ".join(str(part) for part in value)]
    return [str(value)]
