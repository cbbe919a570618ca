"""What a precision costs: cosine a cell, and accuracy of a linear probe.

    python -m tests.benchmarks.precision_cost CHECKPOINT

Every pair of format and precision is exported from a checkpoint with frozen GRN,
measured on a scene of the level of the chips, and run on the EuroSAT chips (100 of
them, 10 classes, L1C). Features are the mean over a chip; the probe is a logistic
regression, cross-validated with 5 folds drawn 20 times. The last line is JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_export.formats import FORMATS, SUFFIXES
from mmearth_export.precision import SUPPORTED
from mmearth_infer.engine.open import open_model
from mmearth_infer.grid.window import Window
from mmearth_infer.read.options import SceneOptions, parse_bands
from mmearth_infer.read.source import open_source
from tests.helpers.data import DATA, SEN1FLOODS

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHIP_BANDS = "B1,B2,B3,B4,B5,B6,B7,B8,B9,B10,B11,B12,B8A"
"""Order of the bands in a EuroSAT chip."""


def read_chips(bands: tuple[str, ...]) -> tuple[NDArray[np.uint16], list[str]]:
    """Return all chips, `(N, C, 64, 64)`, and the class of each."""
    options = SceneOptions(
        bands=parse_bands(CHIP_BANDS),
        product="l1c",
        offset="none",
        allow_resolution=True,
    )
    chips, classes = [], []
    for path in sorted((DATA / "eurosat").glob("*/*.tif")):
        with open_source(str(path), options=options, wanted=bands) as source:
            chips.append(source.read(Window(row=0, col=0, height=64, width=64)))
        classes.append(path.parent.name)
    return np.stack(chips), classes


def accuracy(features_ND: NDArray[np.float32], classes: list[str]) -> float:
    """Return the cross-validated accuracy of a linear probe."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=20, random_state=0)
    return float(cross_val_score(probe, features_ND, classes, cv=folds).mean())


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--scene", default=SEN1FLOODS, type=click.Path(path_type=Path))
def main(*, checkpoint: Path, scene: Path) -> None:
    """Compare precisions."""
    report = {}
    reference = None
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            for precision in SUPPORTED[kind]:
                out = Path(folder) / f"{kind}-{precision}{SUFFIXES[kind][0]}"
                manifest = export_model(
                    ExportConfig(
                        checkpoint=checkpoint,
                        out=out,
                        format=kind,
                        precision=precision,
                        grn="frozen",
                        calibrate=(str(scene),),
                        options=SceneOptions(allow_resolution=True),
                    )
                )
                model = open_model(out, trusted=True)
                engine = model.engine(level="l1c", output=manifest.output(None))
                chips, classes = read_chips(manifest.bands)
                maps = np.concatenate([engine(chip[None]) for chip in chips])
                reference = maps if reference is None else reference
                dot = (maps * reference).sum(1)
                norms = np.linalg.norm(maps, axis=1) * np.linalg.norm(reference, axis=1)
                row = {
                    "p1_cosine": round(float(np.percentile(dot / norms, 1)), 6),
                    "accuracy": round(accuracy(maps.mean((2, 3)), classes), 4),
                }
                report[f"{kind} {precision}"] = row
                print(
                    f"{kind:9} {precision:5} {row['p1_cosine']:9.6f} "
                    f"{row['accuracy']:7.2%}",
                    flush=True,
                )
    print(json.dumps(report))


if __name__ == "__main__":
    main()
