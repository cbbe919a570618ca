"""The benchmark of probes runs, on made-up cells. Nothing is timed here."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the benchmark exports an encoder")

from tests.benchmarks import downstream
from tests.helpers.data import needs_data


def test_thresholds_of_ndwi() -> None:
    """A shift of all values is found by the one that is chosen, not by 0."""
    rng = np.random.default_rng(0)
    wet = rng.integers(0, 2, 400)
    means = np.full((400, 12), 1000.0, np.float32)
    means[:, 2] += 300 + 200 * wet + rng.normal(size=400)
    fixed, chosen = downstream.ndwi_rows("made", means, wet, np.arange(400) // 8, "")
    assert fixed.accuracy[0] == wet.mean()
    assert chosen.accuracy[0] > 0.99


@needs_data
def test_cells_and_rows(tmp_path: Path) -> None:
    """Cells of 16 px are too few for the polygons, and the row says so."""
    bands = downstream.write_bands(tmp_path, 4)
    (none,) = downstream.measure_cells(
        downstream.TASKS[0], bands, (4,), label="band means"
    )
    assert none.cells == 0
    assert "fewer cells than there are folds" in str(none)
    probe, fixed, chosen = downstream.measure_cells(
        downstream.TASKS[1], bands, (4,), label="band means"
    )
    assert probe.cells == fixed.cells == chosen.cells == 1024
    assert probe.mean_iou[0] > 0.5
    assert str(probe).count("|") == 6


@needs_data
def test_chips() -> None:
    first, second = downstream.measure_chips({})
    assert first.cells == second.cells == 100
    assert first.accuracy[0] > 0.3
