"""What an encoder's features are worth, beside raw bands and an untrained encoder.

    python -m tests.benchmarks.builtin_proof RUN [RUN ...]

Linear probes on real labels that pretraining never saw: scene classes of EuroSAT chips,
polygons of the Amazon (folds hold whole polygons), water of Sen1Floods11 (folds hold
whole blocks). GRN is frozen, measured over the training scenes, as in the model that
ships. A figure is the mean over folds and seeds, with the interval that holds 95 % of
what 2000 draws of the samples give.

Shapes: N samples, C bands, H W pixels, D features.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import torch
from rasterio.features import rasterize
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmearth_export.calibrate import freeze, read_windows
from mmearth_infer.contract.bands import BANDS, find_band
from mmearth_infer.read.options import SceneOptions
from mmearth_training.load import load_encoder
from tests.helpers.data import DATA, MAJORTOM, RSTOOLBOX, SEN1FLOODS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mmearth_training.encoder_checkpoint import EncoderCheckpoint
    from mmearth_training.model.encoder import Encoder

    Floats = NDArray[np.float32]

SEEDS = range(3)
FOLDS = 5
DRAWS = 2000
EUROSAT_BANDS = (
    *("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8"),
    *("B9", "B10", "B11", "B12", "B8A"),
)
STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse strengths of the L2 penalty; the best of each kind of features is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Features of labelled samples."""

    features_ND: Floats  # noqa: N815 -- an array's name carries its axes
    """Features."""

    labels_N: NDArray[np.int64]  # noqa: N815 -- likewise
    """Classes."""

    groups_N: NDArray[np.int64] | None = None  # noqa: N815 -- likewise
    """What folds keep together."""


class Judged:
    """An encoder with frozen GRN, and how its input is standardised."""

    def __init__(self, checkpoint: EncoderCheckpoint, encoder: Encoder) -> None:
        """Keep both."""
        self.encoder, self.bands = encoder, checkpoint.bands
        self.statistics = checkpoint.statistics

    def standardise(self, dn_CHW: Floats, names: Sequence[str], level: str) -> Floats:
        """Return the model's bands standardised; missing pixels are 0."""
        numbers = self.statistics[level]  # type: ignore[index]
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


def judge(checkpoint: EncoderCheckpoint, *, untrained: int | None = None) -> Judged:
    """Return the encoder of a checkpoint with GRN frozen over the training scenes.

    Args:
        checkpoint: Trained encoder.
        untrained: Seed of initial weights that replace the trained ones.

    """
    config = replace(checkpoint.config, grn="frozen")
    encoder = checkpoint.encoder(config)
    if untrained is not None:
        from mmearth_training.model.encoder import Encoder  # noqa: PLC0415
        from mmearth_training.model.mpmae import _initialise  # noqa: PLC0415

        torch.manual_seed(untrained)
        encoder = Encoder(config).eval()
        encoder.apply(_initialise)
    tiles = calibration(checkpoint.bands, checkpoint.sha256, checkpoint)
    freeze(encoder, tiles)
    return Judged(checkpoint, encoder)


_WINDOWS: dict[str, list[torch.Tensor]] = {}


def calibration(
    bands: Sequence[str], key: str, checkpoint: EncoderCheckpoint
) -> list[torch.Tensor]:
    """Return windows of scenes of both levels, standardised."""
    if key not in _WINDOWS:
        found = read_windows(
            [str(MAJORTOM), str(SEN1FLOODS)],
            bands=bands,
            statistics=checkpoint.statistics,
            options=SceneOptions(allow_resolution=True),
            most=16,
        )
        _WINDOWS[key] = [tile.standardised() for tile in found.tiles]
    return _WINDOWS[key]


@cache
def eurosat() -> tuple[tuple[Floats, int], ...]:
    """Return chips and their classes."""
    folders = sorted(path for path in (DATA / "eurosat").iterdir() if path.is_dir())
    found = []
    for number, folder in enumerate(folders):
        for path in sorted(folder.glob("*.tif")):
            with rasterio.open(path) as file:
                found.append((file.read().astype(np.float32), number))
    return tuple(found)


@cache
def amazon() -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return pixels without the offset, classes from 1 on, and polygons from 1 on."""
    with rasterio.open(RSTOOLBOX) as file:
        dn_CHW = np.maximum(file.read().astype(np.float32) - 1000, 1)
        shape, transform = file.shape, file.transform
    path = RSTOOLBOX.with_name("rstoolbox_trainingPolygons_sen2.geojson")
    features = json.loads(path.read_text())["features"]
    names = sorted({one["properties"]["class"] for one in features})

    def burn(values: Sequence[int]) -> NDArray[np.int64]:
        pairs = [
            (one["geometry"], value)
            for one, value in zip(features, values, strict=True)
        ]
        burnt: NDArray[np.int64] = rasterize(
            pairs, out_shape=shape, transform=transform, dtype="int32"
        ).astype(np.int64)
        return burnt

    classes = burn([1 + names.index(one["properties"]["class"]) for one in features])
    return dn_CHW, classes, burn(range(1, len(features) + 1))


@cache
def floods() -> tuple[Floats, NDArray[np.int64]]:
    """Return pixels and the water mask: -1 unknown, 0 dry, 1 water."""
    with rasterio.open(SEN1FLOODS) as file:
        dn_CHW = file.read().astype(np.float32)
    label = SEN1FLOODS.with_name(SEN1FLOODS.name.replace("S2Hand", "LabelHand"))
    with rasterio.open(label) as file:
        return dn_CHW, file.read(1).astype(np.int64)


def names_in(path: Path) -> list[str]:
    """Return the bands of a file by the names the model uses."""
    with rasterio.open(path) as file:
        return [str(find_band(name)) for name in file.descriptions]


def raw(x_CHW: Floats) -> Floats:
    """Return mean and standard deviation of each band."""
    return np.concatenate([x_CHW.mean((1, 2)), x_CHW.std((1, 2))])


def chips(judged: Judged, features: Callable[[Floats], Floats]) -> Samples:
    """Return features of the EuroSAT chips."""
    rows, labels = [], []
    for dn_CHW, label in eurosat():
        rows.append(features(judged.standardise(dn_CHW, EUROSAT_BANDS, "l1c")))
        labels.append(label)
    return Samples(features_ND=np.stack(rows), labels_N=np.array(labels))


def in_cells(x_CHW: Floats, side_px: int) -> Floats:
    """Return mean and standard deviation of each band in each cell, `(D, h, w)`."""
    bands, height, width = x_CHW.shape
    cells = x_CHW.reshape(bands, height // side_px, side_px, width // side_px, side_px)
    return np.concatenate([cells.mean((2, 4)), cells.std((2, 4))])


def whole(x_CHW: Floats, side_px: int) -> Floats:
    """Return pixels with edges repeated up to whole cells."""
    rest = [(-length) % side_px for length in x_CHW.shape[1:]]
    return np.pad(x_CHW, ((0, 0), (0, rest[0]), (0, rest[1])), mode="edge")


def polygons(judged: Judged, dense: Callable[[Floats], Floats]) -> Samples:
    """Return features of the cells under each polygon of the Amazon scene."""
    dn_CHW, classes_HW, polygons_HW = amazon()
    x_CHW = judged.standardise(dn_CHW, names_in(RSTOOLBOX), "l2a")
    map_Dhw = dense(whole(x_CHW, 16))
    side_px = whole(x_CHW, 16).shape[1] // map_Dhw.shape[1]
    rows, cols = np.nonzero(classes_HW)
    places = np.stack(
        [
            rows // side_px,
            cols // side_px,
            polygons_HW[rows, cols],
            classes_HW[rows, cols],
        ]
    )
    rows, cols, groups_N, labels_N = np.unique(places, axis=1)  # a cell once
    return Samples(
        features_ND=map_Dhw[:, rows, cols].T.copy(),
        labels_N=labels_N,
        groups_N=groups_N,
    )


def water(judged: Judged, dense: Callable[[Floats], Floats]) -> Samples:
    """Return features of the cells of the flood scene, water where most of it is."""
    dn_CHW, mask_HW = floods()
    map_Dhw = dense(judged.standardise(dn_CHW, names_in(SEN1FLOODS), "l1c"))
    side_px = dn_CHW.shape[1] // map_Dhw.shape[1]
    count = mask_HW.shape[0] // side_px
    cells = mask_HW.reshape(count, side_px, count, side_px)
    known, wet = (cells >= 0).mean((1, 3)), (cells == 1).mean((1, 3))
    rows, cols = np.nonzero(known > 0.9)
    blocks = rows * 8 // count * 8 + cols * 8 // count
    return Samples(
        features_ND=map_Dhw[:, rows, cols].T.copy(),
        labels_N=(wet[rows, cols] > 0.5).astype(np.int64),
        groups_N=blocks,
    )


def probe(samples: Samples) -> dict[str, Any]:
    """Return balanced accuracy of a linear probe, and its interval."""
    best: dict[str, Any] = {"accuracy": -1.0}
    for strength in STRENGTHS:
        right_SN = np.stack(
            [_cross_validate(samples, strength, seed) for seed in SEEDS]
        )
        right_N = right_SN.mean(0)
        classes = np.unique(samples.labels_N)
        score = np.mean([right_N[samples.labels_N == one].mean() for one in classes])
        if score > best["accuracy"]:
            best = {"accuracy": float(score), "C": strength, "right_N": right_N}
    rng = np.random.default_rng(0)
    units = np.arange(len(samples.labels_N))
    units = units if samples.groups_N is None else samples.groups_N
    right_N = best.pop("right_N")
    draws = [_redraw(right_N, samples.labels_N, units, rng) for _ in range(DRAWS)]
    best["low"], best["high"] = (
        float(value) for value in np.nanquantile(draws, [0.025, 0.975])
    )
    return best


def _redraw(
    right_N: Floats,
    labels_N: NDArray[np.int64],
    units_N: NDArray[np.int64],
    rng: np.random.Generator,
) -> float:
    """Return balanced accuracy of units drawn with replacement."""
    units, place_N = np.unique(units_N, return_inverse=True)
    weight_N = np.bincount(
        rng.integers(len(units), size=len(units)), minlength=len(units)
    )[place_N]
    shares = []
    for one in np.unique(labels_N):
        inside = labels_N == one
        total = weight_N[inside].sum()
        if total:
            shares.append((right_N[inside] * weight_N[inside]).sum() / total)
    return float(np.mean(shares))


def _cross_validate(samples: Samples, strength: float, seed: int) -> Floats:
    """Return whether each sample was told right when it was held out."""
    kind = StratifiedKFold if samples.groups_N is None else StratifiedGroupKFold
    folds = kind(
        FOLDS if samples.groups_N is None else 4, shuffle=True, random_state=seed
    )
    right_N = np.zeros(len(samples.labels_N), np.float32)
    for train, test in folds.split(
        samples.features_ND, samples.labels_N, samples.groups_N
    ):
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=strength, max_iter=400, class_weight="balanced"),
        )
        model.fit(samples.features_ND[train], samples.labels_N[train])
        said = model.predict(samples.features_ND[test])
        right_N[test] = said == samples.labels_N[test]
    return right_N


def compare(judged: Judged, name: str, *, baseline: bool = False) -> dict[str, Any]:
    """Print and return what the features of an encoder are worth on every task."""

    def pooled(stages: Sequence[int]) -> Callable[[Floats], Floats]:
        return lambda x: np.concatenate(
            [judged.maps(x)[stage - 1].mean((1, 2)) for stage in stages]
        )

    def stage(number: int) -> Callable[[Floats], Floats]:
        return lambda x: judged.maps(x)[number - 1]

    if baseline:
        trials = {
            "eurosat": {"bands": chips(judged, raw)},
            "amazon": {
                f"bands in {px} px": polygons(judged, lambda x, px=px: in_cells(x, px))
                for px in (8, 16)
            },
            "water": {"bands in 16 px": water(judged, lambda x: in_cells(x, 16))},
        }
    else:
        trials = {
            "eurosat": {
                "4": chips(judged, pooled([4])),
                "3": chips(judged, pooled([3])),
                "3 and 4": chips(judged, pooled([3, 4])),
                "all": chips(judged, pooled([1, 2, 3, 4])),
            },
            "amazon": {f"{n}": polygons(judged, stage(n)) for n in (3, 4)},
            "water": {"4": water(judged, stage(4))},
        }
    found: dict[str, Any] = {}
    for task, kinds in trials.items():
        for kind, samples in kinds.items():
            result = probe(samples)
            found[f"{task} {kind}"] = result
            print(
                f"{name:28} {task:8} {kind:16} {result['accuracy']:.3f} "
                f"[{result['low']:.3f}, {result['high']:.3f}]  C {result['C']}",
                flush=True,
            )
    return found


def main(words: Sequence[str]) -> None:
    """Judge checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--no-baselines", action="store_true")
    options = parser.parse_args(words)
    results = {}
    for number, run in enumerate(options.runs):
        checkpoint = load_encoder(run)
        assert set(checkpoint.bands) <= set(BANDS)
        judged = judge(checkpoint)
        if not number and not options.no_baselines:
            results["bands"] = compare(judged, "bands", baseline=True)
            for seed in range(2):
                results[f"untrained {seed}"] = compare(
                    judge(checkpoint, untrained=seed), f"untrained {seed}"
                )
        results[run.name] = compare(judged, run.name)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
