"""Tiles of a batch: as many as were asked for, or suit the device."""

from __future__ import annotations

from dataclasses import replace

from mmearth_infer.grid.plan import TilePlan, plan_tiles
from mmearth_infer.run.tiling import GPU_BATCH_PIXELS, tiles_per_batch
from tests.helpers.models import echo_manifest


def plan_of(window_px: int) -> TilePlan:
    return plan_tiles(
        height_px=4096,
        width_px=4096,
        stride_px=16,
        multiple_px=16,
        window_px=window_px,
        halo_px=16,
    )


def test_what_was_asked_for() -> None:
    assert tiles_per_batch(7, plan_of(672), echo_manifest(), free_bytes=1) == 7


def test_a_processor_takes_small_batches() -> None:
    assert tiles_per_batch(None, plan_of(672), echo_manifest()) == 1
    assert tiles_per_batch(None, plan_of(112), echo_manifest()) == 4


def test_a_gpu_takes_what_it_has_room_for() -> None:
    manifest = echo_manifest()
    wide = replace(manifest.architecture, dims=(40, 80, 160, 320))
    atto = replace(manifest, architecture=wide)
    plan, large = plan_of(672), 80 * 2**30
    most = GPU_BATCH_PIXELS // 672**2

    def tiles(free_bytes: int, lanes: int = 3) -> int:
        return tiles_per_batch(None, plan, atto, free_bytes=free_bytes, lanes=lanes)

    assert tiles(large) == most
    assert tiles(4 * 2**30) == 1
    assert tiles(4 * 2**30, lanes=1) > 1
    assert tiles(10) == 1
    twice = replace(atto, architecture=replace(wide, dims=(80, 160, 320, 640)))
    half = tiles_per_batch(None, plan, twice, free_bytes=8 * 2**30, lanes=3)
    assert half == tiles(4 * 2**30)
