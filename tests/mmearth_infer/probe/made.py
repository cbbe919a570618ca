"""Probes of any weights, made without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmearth_infer.contract.probe import PROBE_KEY, ProbeManifest, probe_to_json
from mmearth_infer.probe.colours import coloured
from mmearth_infer.probe.graph import linear_graph, nearest_graph, to_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.contract.probe import ProbeKind

DIGEST = "sha256:" + "a" * 64


def write_probe(
    path: Path,
    *,
    channels: int,
    classes: int = 3,
    kind: ProbeKind = "logistic",
    digest: str = DIGEST,
    stage: int | None = 4,
    finer_stages: tuple[int, ...] = (),
    stride_px: int = 16,
    scale: float = 1.0,
    cells: int = 50,
    promised: int | None = None,
) -> Path:
    """Write a probe of random weights for features about `scale` in size."""
    rng = np.random.default_rng(0)
    mean, spread = rng.normal(size=channels) * scale, np.full(channels, float(scale))
    if kind == "knn":
        known = rng.normal(size=(cells, channels)).astype(np.float32)
        of = rng.integers(0, classes, cells)
        graph = nearest_graph(mean, spread, known, of, classes, 5, 1e-3)
    else:
        weight = rng.normal(size=(classes, channels))
        graph = linear_graph(mean, spread, weight, rng.normal(size=classes))
    manifest = ProbeManifest(
        kind=kind,
        classes=coloured([f"class {n}" for n in range(classes)]),
        cells=(cells,) * classes,
        model_name="made-up",
        model_digest=digest,
        stage=stage,
        finer_stages=finer_stages,
        stride_px=stride_px,
        channels=promised or channels,
        settings={},
        labels=(),
        stores=(),
        code_version="0",
    )
    path.write_bytes(to_bytes(graph, PROBE_KEY, probe_to_json(manifest)))
    return path
