"""What of an encoder a linear probe should read, and what it holds beside colour.

    python -W ignore -m tests.benchmarks.builtin_stages RUN [--json FOUND.json]

The tasks, folds, draws and probe of `builtin_proof`. Every stage is brought to the
cells of the task by mean and deviation, as bands are there. Then: which stages, beside
the bands or without them, with which penalties, and with how much of the surroundings;
and what share of a band's variance is in the features of a stage.

Shapes: N samples, C bands, H W pixels, D features, h w cells.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from mmearth_training.load import load_encoder
from tests.benchmarks import builtin_proof
from tests.benchmarks.builtin_labels import bands_of_cells, chips, polygons, water
from tests.benchmarks.builtin_proof import folds, judge, mean_of, probe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.builtin_labels import Floats, Samples
    from tests.benchmarks.builtin_proof import Judged, Verdict

    Columns = Mapping[tuple[int, str], slice]
    """Where in the features a statistic of a stage stands; stage 0 are the bands."""

BANDS, DEEPEST = 0, 4
CHIP_PX = 64
WIDE = (1e-5, 1e-4, *builtin_proof.STRENGTHS, 10.0, 100.0)
MARGINS_PX = (0, 16, 48)
"""What the encoder sees around a cell of water; 48 px make the window of training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a probe reads, and how."""

    stages: tuple[int, ...]
    """Stages side by side; 0 are the bands, always with their deviation."""

    deviation: bool = True
    """Whether the deviation inside a cell is read as well as the mean."""

    how: Literal["", "wide", "components", "even"] = ""
    """More penalties to choose from, principal components, or bands and stages scaled
    to weigh the same under the penalty."""

    untrained: bool = True
    """Whether untrained encoders are read likewise."""


PROTOCOL = "all stages"
"""The one reading that was named before any was looked at."""

EVERY = (1, 2, 3, DEEPEST)
READINGS: Mapping[str, Reading] = {
    "bands": Reading(stages=(BANDS,), untrained=False),
    "bands, wide penalties": Reading(stages=(BANDS,), how="wide", untrained=False),
    PROTOCOL: Reading(stages=EVERY),
    "all stages, means": Reading(stages=EVERY, deviation=False),
    **{f"stage {n}, means": Reading(stages=(n,), deviation=False) for n in EVERY},
    "stage 1": Reading(stages=(1,)),
    "stages 1 and 2": Reading(stages=(1, 2)),
    "all stages, wide penalties": Reading(stages=EVERY, how="wide", untrained=False),
    "all stages, components": Reading(stages=EVERY, how="components", untrained=False),
    "bands and stage 1": Reading(stages=(BANDS, 1)),
    "bands and stage 4": Reading(stages=(BANDS, DEEPEST)),
    "bands and all stages": Reading(stages=(BANDS, *EVERY)),
    "bands and all stages, even": Reading(stages=(BANDS, *EVERY), how="even"),
}

WATER = "water, cells of 16 px"
TASKS = {
    "eurosat": (chips, CHIP_PX, 16),
    "amazon, cells of 8 px": (polygons, 8, 16),
    "amazon, cells of 16 px": (polygons, 16, 16),
    WATER: (water, 16, 64),
}
"""Samples, the side of their cells, and principal components: fewer than an inner
training part has samples."""


def columns_of(judged: Judged) -> Columns:
    """Return where the features of `cells` stand."""
    widths = (len(judged.bands), *judged.encoder.config.size.dims)
    found, start = {}, 0
    for stage, width in enumerate(widths):
        for statistic in ("mean", "std"):
            found[stage, statistic] = slice(start, start + width)
            start += width
    return found


def cells(judged: Judged, side_px: int, x_CHW: Floats) -> Floats:
    """Return mean and deviation of bands and stages in cells of some side, `(D, h, w)`.

    A stage that is coarser than the cells gives each of them what covers it.
    """
    count = x_CHW.shape[1] // side_px
    found = []
    for one in (x_CHW, *judged.maps(x_CHW)):
        coarser = max(1, count // one.shape[1])
        fine = one.repeat(coarser, 1).repeat(coarser, 2)
        found.append(bands_of_cells(fine.shape[1] // count)(fine))
    return np.concatenate(found)


def chip(judged: Judged, x_CHW: Floats) -> Floats:
    """Return mean and deviation of bands and stages over a chip, `(D,)`."""
    return cells(judged, x_CHW.shape[1], x_CHW)[:, 0, 0]


def samples_of(judged: Judged, task: str) -> Samples:
    """Return the samples of a task, with mean and deviation of bands and stages."""
    make, side_px, _ = TASKS[task]
    pooled = partial(chip, judged) if make is chips else partial(cells, judged, side_px)
    return make(judged.standardise, pooled)


def cells_alone(judged: Judged, side_px: int, margin_px: int, x_CHW: Floats) -> Floats:
    """Return what `cells` does if only a margin around each cell is seen."""
    rows, cols = (length // side_px for length in x_CHW.shape[1:])
    found: list[list[Floats]] = []
    for row in range(rows):
        found.append([])
        for col in range(cols):
            top, left = (max(0, n * side_px - margin_px) for n in (row, col))
            bottom, right = ((n + 1) * side_px + margin_px for n in (row, col))
            seen = cells(judged, side_px, x_CHW[:, top:bottom, left:right])
            found[-1].append(seen[:, row - top // side_px, col - left // side_px])
    return np.array(found, np.float32).transpose(2, 0, 1)


def read(samples: Samples, columns: Columns, reading: Reading) -> Samples:
    """Return samples with the features that a probe reads."""
    chosen = [
        samples.features_ND[:, columns[stage, statistic]]
        for stage in reading.stages
        for statistic in ("mean", "std")
        if statistic == "mean" or reading.deviation or stage == BANDS
    ]
    features_ND = np.concatenate(chosen, axis=1)
    return replace(samples, features_ND=features_ND[:, features_ND.std(0) > 0])


def judged_by(
    samples: Samples, columns: Columns, reading: Reading, components: int
) -> Verdict:
    """Return what a probe makes of a reading."""
    seen = read(samples, columns, reading)
    if reading.how == "wide":
        return probe(seen, strengths=WIDE)
    if reading.how == "components":
        return probe(seen, then=[PCA(components, random_state=0)])
    if reading.how == "even":
        bands = 2 * columns[BANDS, "mean"].stop
        weights_D = np.ones(seen.features_ND.shape[1])
        weights_D[bands:] = np.sqrt(bands / len(weights_D[bands:]))
        return probe(
            seen, then=[FunctionTransformer(_times, kw_args={"by": weights_D})]
        )
    return probe(seen)


def _times(x_ND: Floats, by: Floats) -> Floats:
    """Return features weighed."""
    return x_ND * by


def colour(samples: Samples, columns: Columns, stages: Sequence[int]) -> float:
    """Return the share of the bands' variance that a ridge finds in means of stages.

    The mean over bands, of samples whose group was held out.
    """
    seen = read(samples, columns, Reading(stages=tuple(stages), deviation=False))
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15)))
    bands_NC = samples.features_ND[:, columns[BANDS, "mean"]]
    with threadpool_limits(1):
        told_NC = cross_val_predict(
            model,
            seen.features_ND,
            bands_NC,
            groups=samples.groups_N,
            cv=[*folds(samples, 0).split(bands_NC, samples.labels_N, samples.groups_N)],
        )
    return float(r2_score(bands_NC, told_NC))


def compare(
    judged: Judged, name: str, *, trained: bool
) -> dict[tuple[str, str], Verdict]:
    """Print and return what every reading of an encoder is worth on every task.

    Args:
        judged: An encoder.
        name: What it is called.
        trained: Whether to take the readings that untrained ones are left out of.

    """
    columns = columns_of(judged)
    found: dict[tuple[str, str], Verdict] = {}
    for task, (*_, components) in TASKS.items():
        samples = samples_of(judged, task)
        for label, reading in READINGS.items():
            if trained or reading.untrained:
                verdict = judged_by(samples, columns, reading, components)
                found[task, label] = verdict
                print(f"{name}: {task}: {label}: {verdict}", flush=True)
        for stages in (*((n,) for n in EVERY), EVERY):
            share = colour(samples, columns, stages)
            print(f"{name}: {task}: bands from {stages}: {share:.3f}", flush=True)
    for margin_px in MARGINS_PX if trained else ():
        alone = partial(cells_alone, judged, 16, margin_px)
        samples = water(judged.standardise, alone)
        for label in (PROTOCOL, "stage 4, means"):
            verdict = judged_by(samples, columns, READINGS[label], 0)
            found[WATER, f"{label}, {margin_px} px around a cell"] = verdict
            share = colour(samples, columns, READINGS[label].stages)
            around = f"{label}, {margin_px} px around"
            print(f"{name}: {around}: {verdict}, bands {share:.3f}", flush=True)
    return found


def minus(one: Verdict, other: Verdict) -> str:
    """Return a difference on the same draws, bold where its interval leaves 0 out."""
    low, high = np.quantile(one.draws_R - other.draws_R, [0.025, 0.975])
    text = f"{one.accuracy - other.accuracy:+.3f} ({low:+.3f} to {high:+.3f})"
    return text if low <= 0 <= high else f"**{text}**"


def main(words: Sequence[str]) -> None:
    """Compare what may be read of an encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    checkpoint = load_encoder(options.run)
    trained = compare(judge(checkpoint), "trained", trained=True)
    several = [
        compare(judge(checkpoint, untrained=seed), f"untrained {seed}", trained=False)
        for seed in builtin_proof.UNTRAINED
    ]
    rows = {}
    for (task, label), verdict in trained.items():
        cols = [str(verdict), minus(verdict, trained[task, "bands"])]
        if (task, label) in several[0]:
            untrained = mean_of([one[task, label] for one in several])
            cols += [str(untrained), minus(verdict, untrained)]
        rows[f"{task}: {label}"] = cols
        print("|", " | ".join([task, label, *cols]), "|")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
