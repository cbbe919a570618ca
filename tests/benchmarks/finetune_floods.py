"""Water on held-out blocks of the Sen1Floods11 chip: U-Nets beside an NDWI threshold.

    mmearth finetune floods --data CHIPS -o RUN --allow-resolution
    mmearth export RUN -o seg.onnx
    python -m tests.benchmarks.finetune_floods CHIPS seg.onnx [OTHER.onnx ...]

All are scored on the same tiles, the models by their engine and not by PyTorch. NDWI is
`(B3 - B8) / (B3 + B8)` (McFeeters 1996), with the threshold 0 that it was proposed
with, and with the one that is best on the blocks to train on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.engine.open import open_model
from mmearth_training.data.scenes import SceneOptions
from mmearth_training.finetune.recipe import load_recipe
from mmearth_training.finetune.scores import Scores, score
from mmearth_training.finetune.tiles import LabelledTiles, cut_labelled

RECIPE = "floods"
GREEN, NIR = MMEARTH_BANDS.index("B3"), MMEARTH_BANDS.index("B8")


def ndwi(dn_NBHW: np.ndarray) -> np.ndarray:
    """Return the index of each pixel."""
    green, nir = (dn_NBHW[:, band].astype(float) for band in (GREEN, NIR))
    return (green - nir) / np.maximum(green + nir, 1)


def scores_of(maps_NHW: np.ndarray, labels_NHW: np.ndarray) -> Scores:
    """Return how well maps agree with labels."""
    confusion = multiclass_confusion_matrix(
        torch.from_numpy(maps_NHW.astype(np.int64)),
        torch.from_numpy(labels_NHW.astype(np.int64)),
        2,
        ignore_index=-1,
    )
    return score(confusion, ("dry", "water"), loss=float("nan"))


def best_threshold(tiles: LabelledTiles) -> float:
    """Return the threshold of NDWI with the best mean Jaccard on training tiles."""
    rows = tiles.rows("train")
    index, labels = ndwi(tiles.dn_NBHW[rows]), tiles.classes_NHW[rows]
    every = np.linspace(-0.3, 0.3, 31)
    found = [scores_of(index > one, labels).mean_iou for one in every]
    return float(every[int(np.argmax(found))])


def model_map(path: Path, dn_NBHW: np.ndarray) -> np.ndarray:
    """Return the classes that a model file says."""
    model = open_model(path, trusted=True)
    engine = model.engine(level="l1c", output=model.file.manifest.output(None))
    logits = np.concatenate([engine(dn_NBHW[n : n + 1]) for n in range(len(dn_NBHW))])
    shares = torch.from_numpy(logits).softmax(1)
    assert float((shares.sum(1) - 1).abs().max()) < 1e-6
    return shares.argmax(1).numpy()


def main(folder: Path, models: list[Path]) -> None:
    """Print a table."""
    tiles = cut_labelled(
        load_recipe(RECIPE),
        folder,
        bands=MMEARTH_BANDS,
        options=SceneOptions(allow_resolution=True),
        quiet=True,
    )
    rows = tiles.rows("test")
    dn_NBHW, labels_NHW = tiles.dn_NBHW[rows], tiles.classes_NHW[rows]
    threshold = best_threshold(tiles)
    index = ndwi(dn_NBHW)
    maps = {
        "all dry": np.zeros_like(labels_NHW),
        "NDWI > 0": index > 0,
        f"NDWI > {threshold:.2f}": index > threshold,
        **{path.stem: model_map(path, dn_NBHW) for path in models},
    }
    counts = {name: len(tiles.rows(name)) for name in ("train", "val", "test")}
    print(f"tiles: {counts}")
    print(f"{'':24} {'dry':>6} {'water':>6} {'mean':>6} {'accuracy':>8}")
    for name, found in maps.items():
        said = scores_of(found, labels_NHW)
        dry, water = (value or 0.0 for value in said.iou.values())
        print(
            f"{name:24} {dry:6.3f} {water:6.3f} {said.mean_iou:6.3f} "
            f"{said.accuracy:8.3f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
