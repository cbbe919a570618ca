"""Frozen GRN: its statistics, measured over windows of real scenes.

Sparse pretraining takes the norm of GRN over its whole batch. So does this, over all
windows at once: the response that a layer is frozen to is the one it would have had in
scope `batch` on them. Block by block, because what a block sees depends on the ones
before it.

Shapes: W windows, C bands or channels, H W positions, E = 4 C.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmearth_export.wrapper import standardise
from mmearth_infer.errors import CalibrationError, SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.source import open_source
from mmearth_infer.write.encode import MOST_INT8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.contract.normalize import Statistics
    from mmearth_infer.read.options import SceneOptions
    from mmearth_infer.seams import Scene
    from mmearth_training.model.blocks import GRN, Block
    from mmearth_training.model.encoder import Encoder

WINDOW_PX: Final = 224
"""Side of a calibration window, twice the crop of pretraining."""

MOST_WINDOWS: Final = 64
"""Windows of all scenes together; more move the responses by less than 1e-2
(docs/benchmarks/engines.md)."""

INT8_QUANTILE: Final = 0.9999
"""Share of a window's values that int8 holds without clamping."""

LEAST_WINDOWS: Final = 2
"""One window is not what pretraining pooled over, but a window GRN in disguise."""

LEAST_VALID: Final = 0.9
"""Share of a window's pixels that hold data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A window of a scene, and what standardises it."""

    dn_1CHW: NDArray[np.uint16]  # noqa: N815 -- an array's name carries its axes
    """Digital numbers."""

    numbers: Statistics
    """Statistics of the scene's product level."""

    def standardised(self) -> Tensor:
        """Return the pixels as the encoder sees them, `(1, C, H, W)`."""
        return standardise(
            torch.from_numpy(self.dn_1CHW),
            torch.tensor(self.numbers.mean, dtype=torch.float32),
            torch.tensor(self.numbers.std, dtype=torch.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Windows of real scenes."""

    tiles: tuple[Tile, ...]
    """The windows."""

    source: str
    """Where they come from, for the manifest."""


def read_windows(
    scenes: Sequence[str],
    *,
    bands: Sequence[str],
    statistics: Mapping[ProductLevel, Statistics],
    options: SceneOptions,
    most: int = MOST_WINDOWS,
) -> Calibration:
    """Read windows for a calibration, spread evenly over scenes.

    Args:
        scenes: What `mmearth embed` takes.
        bands: Bands of the encoder in order.
        statistics: What standardises them, by product level.
        options: How to read the scenes.
        most: Windows of all scenes together.

    Raises:
        SceneError: If a scene cannot be read, or has another level than asked.
        CalibrationError: If the scenes hold too few windows with data.

    """
    share = max(1, most // max(len(scenes), 1))
    tiles: list[Tile] = []
    names = []
    for name in scenes:
        _check_level(name, options)
        with open_source(name, options=options, wanted=bands) as source:
            scene = source.scene
            numbers = _numbers(scene, statistics)
            found = 0
            for window in _spread(scene, most=4 * share):
                if found == share:
                    break
                dn_CHW = source.read_wanted(window)
                if (dn_CHW.max(axis=0) > 0).mean() < LEAST_VALID:
                    continue
                tiles.append(Tile(dn_1CHW=dn_CHW[None].copy(), numbers=numbers))
                found += 1
        names.append(f"{found} windows of {scene.name} ({scene.level.upper()})")
    said = "; ".join(names)
    if len(tiles) < LEAST_WINDOWS:
        raise CalibrationError(
            f"{len(tiles)} windows of {WINDOW_PX} px hold data: {said}",
            hint=f"give scenes with at least {LEAST_WINDOWS} windows of {WINDOW_PX} px "
            f"that are {LEAST_VALID:.0%} valid",
        )
    return Calibration(tiles=tuple(tiles), source=f"{WINDOW_PX} px: {said}")


@torch.inference_mode()
def freeze(encoder: Encoder, windows: Sequence[Tensor]) -> None:
    """Measure the response of every GRN over windows, and store it in the encoder.

    Args:
        encoder: With GRN scope `frozen`; its buffers are filled.
        windows: `(1, C, H, W)` each, standardised; all of them together are the batch.

    Raises:
        CalibrationError: If a response is not finite.

    """
    maps = [
        encoder.stem(x if encoder.initial_conv is None else encoder.initial_conv(x))
        for x in windows
    ]
    for number, blocks in enumerate(encoder.blocks()):
        if number:
            maps = [encoder.downsample_layers[number - 1](x) for x in maps]
        for block in blocks:
            _freeze_block(block, maps)
            maps = [block(x) for x in maps]


@torch.inference_mode()
def int8_scales(
    encoder: Encoder, windows: Sequence[Tensor], stages: Sequence[int]
) -> dict[int, float]:
    """Measure what 1 in int8 stands for, by stage: the same for all scenes to come.

    127 is the value that one of ten thousand exceeds; those are clamped.

    Args:
        encoder: Ready to run.
        windows: `(1, C, H, W)` each, standardised.
        stages: Stages to measure, 1 to 4.

    """
    sizes: dict[int, list[Tensor]] = {stage: [] for stage in stages}
    for x in windows:
        maps = encoder.forward_stages(x, deepest=max(stages))
        for stage in stages:
            found = maps[stage - 1].abs().flatten().numpy()
            sizes[stage].append(torch.from_numpy(np.quantile(found, [INT8_QUANTILE])))
    return {
        stage: max(float(torch.cat(found).max()), 1e-12) / MOST_INT8
        for stage, found in sizes.items()
    }


def _freeze_block(block: Block, maps: Sequence[Tensor]) -> None:
    """Fill the response of one block from the maps it sees."""
    grn: GRN = block.grn
    assert grn.scope == "frozen"
    squares_E = torch.zeros_like(grn.gamma, dtype=torch.float64)
    for x_NCHW in maps:
        y_NHWC = block.norm(block.dwconv(x_NCHW).permute(0, 2, 3, 1))
        y_NHWE = functional.gelu(block.pwconv1(y_NHWC))
        squares_E += y_NHWE.square().sum(dim=(0, 1, 2), dtype=torch.float64)
    norm_E = squares_E.sqrt()
    response_E = norm_E / (norm_E.mean() + grn.eps)
    if not response_E.isfinite().all():
        raise CalibrationError(
            "the statistics of GRN are not finite on these scenes",
            hint="look at the scenes with `mmearth info`",
        )
    grn.get_buffer("response_E").copy_(response_E)


def _check_level(name: str, options: SceneOptions) -> None:
    """Refuse a scene that says itself that it is of another level than asked."""
    if options.product == "auto":
        return
    found = None
    with (
        suppress(SceneError),  # it does not say; the user does
        open_source(
            name, options=replace(options, product="auto"), wanted=None
        ) as source,
    ):
        found = source.scene.level
    if found not in {None, options.product}:
        raise CalibrationError(
            f"`{name}` is {str(found).upper()}, --product says "
            f"{options.product.upper()}",
            hint="leave --product out, or calibrate with scenes of that level",
        )


def _numbers(scene: Scene, statistics: Mapping[ProductLevel, Statistics]) -> Statistics:
    """Return what standardises a scene."""
    if scene.level not in statistics:
        known = ", ".join(level.upper() for level in statistics)
        raise CalibrationError(
            f"`{scene.name}` is {scene.level.upper()}, the checkpoint knows {known}",
            hint="calibrate with scenes of a level it was trained on",
        )
    return statistics[scene.level]


def _spread(scene: Scene, *, most: int) -> Iterator[Window]:
    """Yield windows on an even grid over a scene, in an order that jumps about."""
    height, width = scene.geobox.height, scene.geobox.width
    rows, cols = height // WINDOW_PX, width // WINDOW_PX
    places = [(row, col) for row in range(rows) for col in range(cols)]
    order = np.random.default_rng(0).permutation(len(places))[:most]
    for place in order:
        row, col = places[place]
        yield Window(
            row=row * WINDOW_PX, col=col * WINDOW_PX, height=WINDOW_PX, width=WINDOW_PX
        )
