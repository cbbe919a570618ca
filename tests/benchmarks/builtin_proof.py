"""What an encoder's features are worth, beside raw bands and untrained encoders.

    python -m tests.benchmarks.builtin_proof RUN [RUN ...]

Linear probes on real labels that pretraining never saw: scene classes of EuroSAT chips,
polygons of the Amazon (folds hold whole polygons), water of Sen1Floods11 (folds hold
whole blocks). The penalty is chosen on folds inside each training part. GRN is frozen,
measured over training scenes, as in the model that ships. A figure is the balanced
accuracy over folds and seeds, with the interval that holds 95 % of what 2000 draws of
chips, polygons or blocks give; a difference is of the same draws.

Shapes: N samples, C bands, H W pixels, D features, S seeds, R draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mmearth_export.calibrate import freeze, read_windows
from mmearth_infer.contract.bands import BANDS
from mmearth_infer.read.options import SceneOptions
from mmearth_training.load import load_encoder
from mmearth_training.model.encoder import Encoder
from mmearth_training.model.mpmae import _initialise
from tests.benchmarks.builtin_labels import (
    bands_of_cells,
    bands_of_image,
    chips,
    polygons,
    water,
)
from tests.helpers.data import MAJORTOM, SEN1FLOODS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from sklearn.base import TransformerMixin
    from sklearn.pipeline import Pipeline

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from tests.benchmarks.builtin_labels import Floats, Ints, Samples

    Floats64 = NDArray[np.float64]

SEEDS = range(3)
UNTRAINED = range(3)
DRAWS = 2000
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""Inverse strengths of the L2 penalty, to choose from."""

STAGES: Mapping[str, tuple[int, ...]] = {
    "stage 3": (3,),
    "stage 4": (4,),
    "stages 3, 4": (3, 4),
    "all stages": (1, 2, 3, 4),
}
"""What is averaged over a chip and put side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Balanced accuracy of a probe."""

    accuracy: float
    """Over all samples."""

    draws_R: Floats64  # noqa: N815 -- an array's name carries its axes
    """Over each draw of the samples."""

    def __str__(self) -> str:
        """Accuracy and interval."""
        return f"{self.accuracy:.3f} {interval(self.draws_R)}"


class Judged:
    """An encoder with frozen GRN, and how its input is standardised."""

    def __init__(self, checkpoint: EncoderCheckpoint, encoder: Encoder) -> None:
        """Keep both."""
        self.encoder, self.bands = encoder, checkpoint.bands
        self.statistics = checkpoint.statistics

    def standardise(
        self, dn_CHW: Floats, names: Sequence[str], level: ProductLevel
    ) -> Floats:
        """Return the model's bands standardised; missing pixels are 0."""
        numbers = self.statistics[level]
        chosen = dn_CHW[[list(names).index(band) for band in self.bands]]
        mean = np.array(numbers.mean, np.float32)[:, None, None]
        std = np.array(numbers.std, np.float32)[:, None, None]
        values: Floats = np.where(chosen == 0, 0, (chosen - mean) / std)
        return values.astype(np.float32)

    @torch.inference_mode()
    def maps(self, x_CHW: Floats) -> tuple[Floats, ...]:
        """Return the maps of the four stages, each `(D, h, w)`."""
        every = self.encoder.forward_stages(torch.from_numpy(x_CHW)[None])
        return tuple(one[0].numpy() for one in every)

    def stage(self, number: int, x_CHW: Floats) -> Floats:
        """Return the map of one stage."""
        return self.maps(x_CHW)[number - 1]

    def pooled(self, stages: Sequence[int], x_CHW: Floats) -> Floats:
        """Return the means of maps side by side."""
        maps = self.maps(x_CHW)
        return np.concatenate([maps[number - 1].mean((1, 2)) for number in stages])


def judge(checkpoint: EncoderCheckpoint, *, untrained: int | None = None) -> Judged:
    """Return the encoder of a checkpoint with GRN frozen over training scenes.

    Args:
        checkpoint: Trained encoder.
        untrained: Seed of initial weights that replace the trained ones.

    """
    config = replace(checkpoint.config, grn="frozen")
    if untrained is None:
        encoder = checkpoint.encoder(config)
    else:
        torch.manual_seed(untrained)
        encoder = Encoder(config).eval()
        encoder.apply(_initialise)
    windows = read_windows(
        [str(MAJORTOM), str(SEN1FLOODS)],  # of both levels
        bands=checkpoint.bands,
        statistics=checkpoint.statistics,
        options=SceneOptions(allow_resolution=True),
        most=16,
    )
    freeze(encoder, [tile.standardised() for tile in windows.tiles])
    return Judged(checkpoint, encoder)


def probe(
    samples: Samples,
    *,
    strengths: Sequence[float] | None = None,
    then: Sequence[TransformerMixin] = (),
) -> Verdict:
    """Return what a linear probe on features tells right where it did not learn.

    Args:
        samples: Features and classes.
        strengths: Inverse strengths of the penalty to choose from; None for the usual.
        then: What is done to features once they are standardised.

    """
    model = make_pipeline(
        StandardScaler(),
        *then,
        LogisticRegression(max_iter=400, class_weight="balanced"),
    )
    tried = {"logisticregression__C": strengths or STRENGTHS}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inner folds without a class
        right_N = np.stack(
            [_cross_validate(samples, model, tried, seed) for seed in SEEDS]
        ).mean(0)
    ones = np.ones(len(right_N))
    rng = np.random.default_rng(0)
    units, place_N = np.unique(samples.units_N, return_inverse=True)
    draws = []
    for _ in range(DRAWS):
        drawn = rng.integers(len(units), size=len(units))
        weight_N = np.bincount(drawn, minlength=len(units))[place_N]
        draws.append(_balanced(right_N, samples.labels_N, weight_N))
    return Verdict(
        accuracy=_balanced(right_N, samples.labels_N, ones), draws_R=np.array(draws)
    )


def _balanced(right_N: Floats, labels_N: Ints, weight_N: Floats64 | Ints) -> float:
    """Return the mean over classes of the share that is right."""
    shares = []
    for one in np.unique(labels_N):
        inside = labels_N == one
        total = weight_N[inside].sum()
        if total:
            shares.append((right_N[inside] * weight_N[inside]).sum() / total)
    return float(np.mean(shares))


def folds(samples: Samples, seed: int, *, inner: bool = False) -> StratifiedKFold:
    """Return what cuts samples into folds that keep groups together.

    Args:
        samples: Features and classes.
        seed: What they are shuffled by.
        inner: Whether they are those that the penalty is chosen on.

    """
    if samples.groups_N is None:
        return StratifiedKFold(3 if inner else 5, shuffle=True, random_state=seed)
    return StratifiedGroupKFold(3 if inner else 4, shuffle=True, random_state=seed)


def _cross_validate(
    samples: Samples, model: Pipeline, tried: Mapping[str, Sequence[float]], seed: int
) -> Floats:
    """Return whether each sample was told right when it was held out."""
    x_ND, labels_N, groups_N = samples.features_ND, samples.labels_N, samples.groups_N
    right_N = np.zeros(len(labels_N), np.float32)
    for train, test in folds(samples, seed).split(x_ND, labels_N, groups_N):
        search = GridSearchCV(
            model,
            tried,
            scoring="balanced_accuracy",
            cv=folds(samples, seed, inner=True),
        )
        inside = None if groups_N is None else groups_N[train]
        search.fit(x_ND[train], labels_N[train], groups=inside)
        right_N[test] = search.predict(x_ND[test]) == labels_N[test]
    return right_N


def interval(draws_R: Floats64) -> str:
    """Return what 95 % of draws lie in."""
    low, high = np.quantile(draws_R, [0.025, 0.975])
    return f"({low:.3f} to {high:.3f})"


def compare(
    judged: Judged, name: str, *, baseline: bool = False
) -> dict[tuple[str, str], Verdict]:
    """Print and return what the features of an encoder are worth on every task.

    Args:
        judged: An encoder.
        name: What it is called.
        baseline: Take its standardised bands instead of its features.

    """
    read = judged.standardise
    trials: dict[tuple[str, str], Callable[[], Samples]] = {}
    for label, stages in STAGES.items():
        features = bands_of_image if baseline else partial(judged.pooled, stages)
        trials["eurosat", label] = partial(chips, read, features)
    for make, cells in ((polygons, (8, 16)), (water, (16,))):
        for px in cells:
            stage = {8: 3, 16: 4}[px]
            dense = bands_of_cells(px) if baseline else partial(judged.stage, stage)
            task = "amazon" if make is polygons else "water"
            trials[task, f"cells of {px} px"] = partial(make, read, dense)
    found: dict[tuple[str, str], Verdict] = {}
    for (task, kind), samples in trials.items():
        found[task, kind] = probe(samples())
        print(f"{name:14} {task:8} {kind:16} {found[task, kind]}", flush=True)
    return found


def mean_of(several: Sequence[Verdict]) -> Verdict:
    """Return the mean of several encoders on the same draws."""
    return Verdict(
        accuracy=float(np.mean([one.accuracy for one in several])),
        draws_R=np.mean([one.draws_R for one in several], axis=0),
    )


def main(words: Sequence[str]) -> None:
    """Judge checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(words)
    checkpoints = {run.name: load_encoder(run) for run in options.runs}
    first = next(iter(checkpoints.values()))
    assert set(first.bands) <= set(BANDS)
    bands = compare(judge(first), "bands", baseline=True)
    seeds = [
        compare(judge(first, untrained=seed), f"untrained {seed}") for seed in UNTRAINED
    ]
    untrained = {key: mean_of([seed[key] for seed in seeds]) for key in bands}
    results = {"bands": bands, "untrained": untrained}
    for name, checkpoint in checkpoints.items():
        results[name] = compare(judge(checkpoint), name)
        for key, verdict in results[name].items():
            for other, reference in (("bands", bands), ("untrained", untrained)):
                gain = verdict.accuracy - reference[key].accuracy
                spread = interval(verdict.draws_R - reference[key].draws_R)
                print(f"{name} - {other}: {' '.join(key)} {gain:+.3f} {spread}")
    if options.json:
        plain = {
            name: {" ".join(key): str(one) for key, one in found.items()}
            for name, found in results.items()
        }
        options.json.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
