"""Which tiles a run needs: what was asked, and measured defaults for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmearth_infer.grid.plan import TilePlan, plan_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmearth_infer.contract.manifest import GrnScope, Manifest, Output
    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.plan import Blend

BATCH_PIXELS: Final = 224 * 224
"""Pixels of a batch when its size is not given (docs/benchmarks/defaults.md)."""

GPU_BATCH_PIXELS: Final = 4 * 672 * 672
"""Likewise on a GPU that has the memory (docs/benchmarks/engines.md)."""

MAPS_AT_ONCE: Final = 4
"""Maps of the first stage's channels, at the pixels' resolution, that a GPU holds at
once: atto/16 took 650 bytes a pixel, 4.1 such maps (docs/benchmarks/engines.md)."""

GPU_MEMORY_SHARE: Final = 0.4
"""Share of a GPU's free memory that batches under way may take: ONNX Runtime doubles
what it holds when it needs more."""

DEFAULT_WINDOW_PX: Final = 672
"""Side of a tile when it is not given (docs/benchmarks/{defaults,seams}.md)."""

DEFAULT_HALO_PX: Final[Mapping[GrnScope, int]] = {
    "window": 64,
    "batch": 64,
    "frozen": 96,
}
"""Halo when it is not given, by the scope of GRN (docs/adr/0015)."""

DEFAULT_BLEND: Final[Mapping[GrnScope, Blend]] = {
    "window": "linear",
    "batch": "linear",
    "frozen": "cosine",
}
"""Blending when it is not given, where the halo is not all that a cell sees."""

MOST_HALO: Final = 7
"""A default halo is at most one part of so many of the window."""

PANEL_PX: Final = 16_384
"""Widest part of a scene that is worked on at once; wider ones go panel by panel.

A Sentinel-2 tile, 10 980 px, is one panel and takes 1.6 GB; memory grows with the width
up to one panel, and no further (docs/benchmarks/runner.md).
"""


def plan_scene(
    box: GeoBox,
    manifest: Manifest,
    outputs: Sequence[Output],
    *,
    window_px: int | None,
    halo_px: int | None,
) -> TilePlan:
    """Plan the tiles of a scene for a model.

    A default halo is at most a seventh of the window, and with frozen GRN no larger
    than what a cell sees; a default window is rounded up to what the model's tiles
    must be multiples of.

    Args:
        box: Grid of the scene's pixels.
        manifest: The model's.
        outputs: The outputs that are wanted, the coarsest last.
        window_px: Side of a tile; None for the default.
        halo_px: Margin of a tile; None for the default.

    Raises:
        WindowError: If they do not fit the model.

    """
    multiple_px = manifest.multiple_px
    if window_px is None:
        window_px = -(-DEFAULT_WINDOW_PX // multiple_px) * multiple_px
    if halo_px is None:
        halo_px = min(DEFAULT_HALO_PX[manifest.grn.scope], window_px // MOST_HALO)
        if manifest.grn.scope == "frozen":
            halo_px = min(halo_px, reach_px(outputs) + multiple_px - 1)
        halo_px = halo_px // multiple_px * multiple_px
    return plan_tiles(
        height_px=box.height,
        width_px=box.width,
        stride_px=outputs[-1].stride_px,
        multiple_px=multiple_px,
        window_px=window_px,
        halo_px=halo_px,
    )


def blend_for(
    asked: Blend | None, manifest: Manifest, outputs: Sequence[Output], *, halo_px: int
) -> Blend:
    """Return how tiles that overlap make one map: as asked, or the default.

    Where a halo holds all that a cell sees, cores side by side are exact.
    """
    if asked is not None:
        return asked
    scope = manifest.grn.scope
    exact = scope == "frozen" and halo_px >= reach_px(outputs)
    return "none" if exact else DEFAULT_BLEND[scope]


def reach_px(outputs: Sequence[Output]) -> int:
    """Return how far beyond a cell pixels reach it, the most of all outputs."""
    return max(output.receptive_radius_px for output in outputs)


def tiles_per_batch(
    asked: int | None,
    plan: TilePlan,
    manifest: Manifest,
    *,
    free_bytes: int | None = None,
    lanes: int = 1,
) -> int:
    """Return the tiles of a batch: what was asked, or what fills the device.

    Args:
        asked: What was asked for.
        plan: The tiling.
        manifest: The model's.
        free_bytes: Memory of a GPU; None on a processor.
        lanes: Batches at once.

    """
    height, width = plan.tile_px
    fill = BATCH_PIXELS
    if free_bytes is not None:
        pixel_bytes = 4 * MAPS_AT_ONCE * manifest.architecture.dims[0]
        room = int(GPU_MEMORY_SHARE * free_bytes / lanes / pixel_bytes)
        fill = min(GPU_BATCH_PIXELS, room)
    return asked or max(fill // (height * width), 1)
