"""A fitted probe as a file's bytes, compared with scikit-learn.

Shapes: S cells, D channels, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mmearth_infer.contract.probe import PROBE_KEY, ProbeManifest, probe_to_json
from mmearth_infer.errors import VerificationError
from mmearth_infer.probe.estimators import LOG_FLOOR, logits
from mmearth_infer.probe.graph import linear_graph, nearest_graph, to_bytes
from mmearth_infer.probe.probe_file import probe_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]

TOLERANCE: Final = 1e-5
"""Largest difference of a linear probe's file to scikit-learn, relative."""

AGREEING: Final = 0.99
"""Least share of cells on which neighbours agree: float32 may swap two of them."""


def probe_content(
    manifest: ProbeManifest,
    fitted: Pipeline,
    features_SD: NDArray[np.float32],
    class_S: NDArray[np.int64],
) -> bytes:
    """Return a fitted probe as a file holds it.

    Args:
        manifest: What it promises.
        fitted: What scikit-learn made.
        features_SD: The cells it was fitted on; neighbours are in the file.
        class_S: Class of each.

    """
    scale, probe = fitted["scale"], fitted["probe"]
    if manifest.kind == "knn":
        graph = nearest_graph(
            scale.mean_,
            scale.scale_,
            scale.transform(features_SD),
            class_S,
            len(manifest.classes),
            probe.n_neighbors,
            LOG_FLOOR,
        )
    else:
        weight_KD, bias_K = np.atleast_2d(probe.coef_), np.atleast_1d(probe.intercept_)
        if len(weight_KD) == 1:  # two classes, see `estimators.logits`
            other = 0 if manifest.kind == "logistic" else -1
            weight_KD = np.concatenate([other * weight_KD, weight_KD])
            bias_K = np.concatenate([other * bias_K, bias_K])
        graph = linear_graph(scale.mean_, scale.scale_, weight_KD, bias_K)
    return to_bytes(graph, PROBE_KEY, probe_to_json(manifest))


def compare(
    content: bytes, path: Path, fitted: Pipeline, features_SD: NDArray[np.float32]
) -> float:
    """Run a probe's file on cells, and compare it with scikit-learn.

    Args:
        content: What is to be the file.
        path: Its name, for messages.
        fitted: What it was made from.
        features_SD: The cells.

    Returns:
        Largest difference over the largest logit; of neighbours, the share of cells
        that other neighbours were found for.

    Raises:
        VerificationError: If they differ by more than rounding.

    """
    probe = probe_of(content, path)
    kind = probe.manifest.kind
    expected_SK = logits(kind, fitted, features_SD)
    apart_SK = np.abs(probe.logits(features_SD) - expected_SK)
    if kind == "knn":
        apart = float((apart_SK.max(axis=1) > TOLERANCE * -np.log(LOG_FLOOR)).mean())
        agrees = apart <= 1 - AGREEING
    else:
        apart = float(apart_SK.max() / np.abs(expected_SK).max())
        agrees = apart <= TOLERANCE
    if not agrees:
        raise VerificationError(
            f"the probe as a file differs from scikit-learn's by {apart:.1e}",
            hint="embeddings may be too large for float32; choose another --kind",
        )
    return apart
