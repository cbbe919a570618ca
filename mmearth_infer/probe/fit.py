"""`mmearth probe fit`: from stores and labels to a probe that was validated.

Shapes: S cells, D channels, K classes.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import msgspec
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from mmearth_infer.contract.probe import ProbeManifest
from mmearth_infer.disk import check_files, check_suffix, file_beside
from mmearth_infer.probe.cells import open_cells
from mmearth_infer.probe.colours import coloured
from mmearth_infer.probe.estimators import chosen, converged, fit
from mmearth_infer.probe.export import compare, probe_content
from mmearth_infer.probe.folds import choose_blocks, with_data
from mmearth_infer.probe.labels import LabelOptions, open_labels
from mmearth_infer.probe.picture import save_picture
from mmearth_infer.probe.sample import (
    check_alike,
    draw_places,
    find_places,
    read_features,
)
from mmearth_infer.probe.table import save_table
from mmearth_infer.probe.validate import cross_validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mmearth_infer.contract.probe import ProbeKind
    from mmearth_infer.probe.labels import Labels
    from mmearth_infer.write.address import Where

    Tell = Callable[[str, int, int], None]

log = logging.getLogger("mmearth")

MOST_CELLS: Final[dict[ProbeKind, int]] = {
    "logistic": 20_000,
    "ridge": 20_000,
    "knn": 5_000,
}
"""Cells a probe is fitted on at the most; those of neighbours are in its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """A run of `mmearth probe fit`."""

    stores: tuple[str | Where, ...]
    """Finished stores of one model: paths, or addresses."""

    labels: tuple[Path, ...]
    """Files of labels."""

    out: Path
    """Where the probe goes."""

    options: LabelOptions = field(default_factory=LabelOptions)
    """What the user says about labels."""

    kind: ProbeKind = "logistic"
    """How classes are told apart."""

    stages: tuple[int, ...] = ()
    """Stages of the encoder; none for the deepest the stores hold."""

    min_share: float = 0.5
    """Least share of a cell that is of its class."""

    max_cells: int | None = None
    """Cells that are drawn at the most; None for `MOST_CELLS`."""

    folds: int = 5
    """Parts of the cross-validation."""

    block_cells: int | None = None
    """Side of a block in cells; None for the largest that leaves enough blocks."""

    block_m: float | None = None
    """Side of a block in metres, in place of cells."""

    balanced: bool = False
    """Weigh classes alike, however many cells they have."""

    seed: int = 0
    """Decides what is drawn by chance."""

    picture: Path | None = None
    """Where a picture of the confusion matrix goes."""

    table: Path | None = None
    """Where it goes as a table."""

    overwrite: bool = False
    """Replace files that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What was fitted, and how well it does."""

    probe: str
    """The file."""

    manifest: ProbeManifest
    """What it promises, with its validation."""

    labelled: int
    """Cells that labels gave a class."""

    without_data: int
    """Cells drawn from these that hold no data."""

    file_difference: float
    """Of the file's logits to scikit-learn's, relative; share of cells for knn."""

    warnings: tuple[str, ...]
    """What a user should know before trusting the probe."""

    def to_json(self) -> str:
        """Return it as one line."""
        said = asdict(self) | {"manifest": msgspec.to_builtins(self.manifest)}
        return json.dumps(said)


def fit_probe(config: FitConfig, tell: Tell) -> Fitted:
    """Fit a probe on labelled cells of stores, and validate it over blocks.

    Args:
        config: What to read, how, and where to write.
        tell: Is told what is done, how far it is, and how far it goes.

    Raises:
        MMEarthError: With a hint. Nothing is under the probe's name, or what was there
            before.

    """
    check_suffix(config.out, (".onnx",), "a .onnx")
    if config.picture is not None:
        check_suffix(config.picture, (".png",), "a .png", option="--picture")
    outputs = [config.out, config.picture, config.table]
    check_files(outputs, overwrite=config.overwrite)
    embeddings = [open_cells(path, config.stages) for path in config.stores]
    check_alike(embeddings)
    labels = [open_labels(path, config.options) for path in config.labels]
    found = find_places(
        embeddings,
        labels,
        min_share=config.min_share,
        tell=lambda done, of: tell("labels", done, of),
    )
    warnings = _outside(labels)
    most = config.max_cells or MOST_CELLS[config.kind]
    drawn = draw_places(found, most, config.seed)
    places, features_SD = read_features(
        embeddings, drawn, lambda done, of: tell("cells", done, of)
    )
    without_data = len(drawn.class_S) - len(places.class_S)
    if without_data:
        warnings.append(
            f"{without_data} of {len(drawn.class_S)} labelled cells hold no data (NaN) "
            "and are left out"
        )
    places = with_data(places, config.folds, warnings)
    boxes = [one.geobox for one in embeddings]
    side, block_S = choose_blocks(
        places,
        boxes,
        folds=config.folds,
        block_cells=config.block_cells,
        block_m=config.block_m,
        warnings=warnings,
    )
    high_m, _ = boxes[0].pixel_m()
    with threadpool_limits(1):  # where cores are shared, more wait for each other
        validation = cross_validate(
            config.kind,
            features_SD,
            places.class_S,
            block_S,
            names=places.names,
            folds=config.folds,
            block_cells=side,
            block_m=round(side * high_m, 1),
            balanced=config.balanced,
            seed=config.seed,
            tell=lambda done, of: tell("folds", done, of),
        )
        fitted = fit(
            config.kind,
            features_SD,
            places.class_S,
            block_S,
            balanced=config.balanced,
            seed=config.seed,
        )
    if not converged(fitted):
        warnings.append("the solver did not come to an end: figures may still improve")
    first = embeddings[0]
    colours = {name: rgb for one in labels for name, rgb in one.colours.items()}
    manifest = ProbeManifest(
        kind=config.kind,
        classes=coloured(places.names, colours),
        cells=tuple(places.counts.values()),
        model_name=first.model_name,
        model_digest=first.model_digest,
        stage=first.stage,
        finer_stages=first.finer_stages,
        stride_px=first.stride_px,
        channels=first.channels,
        settings={
            **chosen(config.kind, fitted),
            "min_share": config.min_share,
            "balanced": config.balanced,
            "seed": config.seed,
        },
        labels=tuple(path.name for path in config.labels),
        stores=tuple(one.path.name for one in embeddings),
        code_version=version("mmearth-infer"),
        validation=validation,
    )
    for warning in warnings:
        log.warning(warning)
    content = probe_content(manifest, fitted, features_SD, places.class_S)
    apart = compare(content, config.out, fitted, features_SD)
    with file_beside(config.out) as aside:
        aside.write_bytes(content)
        if config.table is not None:
            save_table(manifest, config.table)
        if config.picture is not None:
            save_picture(manifest, config.picture)
    return Fitted(
        probe=str(config.out),
        manifest=manifest,
        labelled=len(found.class_S),
        without_data=without_data,
        file_difference=apart,
        warnings=tuple(warnings),
    )


def _outside(labels: Sequence[Labels]) -> list[str]:
    """Return warnings about labels that no store has met."""
    return [
        f"{outside} of {count} labels of `{one.name}` lie outside the stores"
        for one in labels
        for outside, count in [one.outside()]
        if outside
    ]
