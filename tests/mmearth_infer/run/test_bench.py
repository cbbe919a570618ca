"""`mmearth bench`: what it counts, and that it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mmearth_infer.engine.choice import installed, this_machine
from mmearth_infer.engine.open import read_file
from mmearth_infer.run.bench import flops_per_px
from tests.helpers.models import UNTRAINED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran


def test_operations_a_pixel() -> None:
    """atto/16 by hand: 96 thousand, of which the Linear layers are 86."""
    manifest = read_file(UNTRAINED).manifest
    atto = replace(
        manifest.architecture, depths=(2, 2, 6, 2), dims=(40, 80, 160, 320), patch_px=16
    )
    linear = sum(
        depth * 16 * dim**2 / stride**2
        for depth, dim, stride in zip(
            (2, 2, 6, 2), (40, 80, 160, 320), (2, 4, 8, 16), strict=True
        )
    )
    depthwise = sum(
        depth * 98 * dim / stride**2
        for depth, dim, stride in zip(
            (2, 2, 6, 2), (40, 80, 160, 320), (2, 4, 8, 16), strict=True
        )
    )
    down = (8 * 40 * 80) / 16 + (8 * 80 * 160) / 64 + (8 * 160 * 320) / 256
    stem = 2 * 9 * 12 * 40 + 2 * 40
    found = flops_per_px(replace(manifest, architecture=atto))
    assert found == pytest.approx(linear + depthwise + down + stem)


def test_every_engine_side_by_side(mmearth: Callable[..., Ran], tmp_path: Path) -> None:
    ran = mmearth(
        "bench", "--device", "cpu", "--window", 96, "--turns", 1, "--repeats", 1
    )
    assert ran.code == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["peak_gflops"] > 0
    engines = [row["engine"].split()[0] for row in report["engines"]]
    assert engines == installed(".onnx", "cpu", this_machine())
    for row in report["engines"]:
        assert row["mpx_per_s"] > 0
        assert 0 < row["peak_share"] < 2
        assert row["memory_mb"] > 10
        assert row["start_s"] > 0
    assert "Mpx/s" in ran.stderr
    assert not list(tmp_path.iterdir())


def test_windows_that_do_not_fit(mmearth: Callable[..., Ran]) -> None:
    ran = mmearth("bench", "--window", 100)
    assert ran.code == 1
    assert "100 px is no multiple of 16 px" in ran.stderr
    assert "hint: " in ran.stderr
