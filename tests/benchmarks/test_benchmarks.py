"""Every benchmark runs once as a test, so that none rots. Nothing is timed here."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.scenes import random_dn, write_scene

pytest.importorskip("torch", reason="the incumbent is eager PyTorch")

from tests.benchmarks import (
    embed_against_incumbent,
    engines,
    jpeg2000,
    precision_cost,
    pretrain_step,
    read_packed,
    seams,
    tiling_defaults,
)
from tests.helpers.data import needs_data
from tests.helpers.mmearth_data import write_dataset
from tests.helpers.models import UNTRAINED


def test_incumbent_and_ours_give_the_same_map(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=100, width=80))
    (result,) = embed_against_incumbent.measure(
        scene, size="atto", repeats=1, settings=((48, 16),)
    )
    assert result.apart < 1e-5
    assert result.ratio > 0


def test_tiling_figures() -> None:
    """One window of the whole scene is the reference itself."""
    dn = random_dn(height=64, width=64)
    whole, cut = tiling_defaults.measure(UNTRAINED, dn, ((64, 0), (32, 0)))
    assert whole[5] == 0
    assert whole[6] == 1
    assert cut[5] > 0
    assert np.isfinite(cut).all()


def test_seam_figures() -> None:
    """One tile of the whole scene is the reference itself; others are apart from it."""
    dn = random_dn(height=128, width=128)
    settings = ((128, 0), (64, 16))
    _, rows = seams.measure({"window": UNTRAINED}, dn, settings, turns=2)
    whole, cut = rows
    assert [len(row.seconds) for row in (whole, cut)] == [2, 2]
    (same,) = whole.figures
    assert (same.seam, same.error, same.near) == (1, 0, 0)
    assert [figures.blend for figures in cut.figures] == ["none", "linear", "cosine"]
    assert all(figures.near >= figures.error > 0 for figures in cut.figures)


@needs_data
def test_a_product_is_read_by_each_way(tmp_path: Path) -> None:
    """All files of all bands, whichever way; none of the coarser copies."""
    safe = jpeg2000.write_product(tmp_path, rows=120, cols=180)
    assert len(jpeg2000.files_of(safe)) == 12
    found = jpeg2000.measure(safe, threads=2, turns=1)
    assert list(found) == ["once", "one by one", "ours"]
    assert all(one.wall > 0 for one in found.values())


def test_packed_and_published_are_read(tmp_path: Path) -> None:
    published = write_dataset(tmp_path / "published", tiles=4, tile_px=64)
    results = read_packed.measure(published, tmp_path / "packed", tiles=2, repeats=1)
    assert [result.names for result in results] == ["all", "s2"]
    assert all(result.ratio > 0 for result in results)


def test_published_and_our_step_give_the_same_losses() -> None:
    """In compatibility mode: one decoder, pooled over all patches, with its norm."""
    torch = pytest.importorskip("torch")
    model = pretrain_step.build("published")
    batch = pretrain_step.draw_batch(1)
    published = pretrain_step.published_losses(model, *batch)
    torch.testing.assert_close(
        pretrain_step.our_losses(model, *batch), published, rtol=1e-5, atol=0
    )


def test_engines_are_built_and_eager_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "KINDS", engines.KINDS[:1])
    scene = write_scene(tmp_path / "s.tif", random_dn(height=64, width=64))
    checkpoint, (model,) = engines.build(tmp_path, "atto", 16, scene, fp32=True)
    config = engines.BenchConfig(scene="demo", window_px=64, repeats=1)
    assert engines.measure_eager(checkpoint, model, config) > 0


def test_a_probe_of_what_is_plain_is_right() -> None:
    classes = ["a", "b"] * 10
    features = np.array([[c == "a", 0.0] for c in classes], np.float32)
    assert precision_cost.accuracy(features, classes) == 1
