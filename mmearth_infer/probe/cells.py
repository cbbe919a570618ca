"""What a probe reads of a store: cells of one stage, and finer ones inside them.

Shapes: D channels, F features of a cell, h w cells of a window, H W finer cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.window import Window
from mmearth_infer.write.open_store import open_store, stages_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.open_store import Embedding

MOST_BYTES: Final = 2**27
"""Largest block of a finer stage that is held, in float32, but for one row of cells."""

APART: Final = 0.01
"""Most that corners of two grids may differ, in cells of the coarser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells of a store, with what a probe reads of one or several stages.

    Cells are those of the deepest stage. Their features are, of each finer stage in
    turn, the means of its channels over the finer cells inside, then the deviations;
    the deepest stage's own values come last.
    """

    deepest: Embedding
    """The stage whose cells they are."""

    finer: tuple[Embedding, ...] = ()
    """Finer stages, the finest first."""

    @property
    def path(self) -> Where:
        """The store."""
        return self.deepest.path

    @property
    def geobox(self) -> GeoBox:
        """Grid of the cells."""
        return self.deepest.geobox

    @property
    def stage(self) -> int | None:
        """Stage whose cells they are; None if the store does not say."""
        return self.deepest.stage

    @property
    def finer_stages(self) -> tuple[int, ...]:
        """Stages that are read inside the cells, ascending."""
        return tuple(one.stage for one in self.finer if one.stage is not None)

    @property
    def stride_px(self) -> int | None:
        """Pixels of the scene a side of a cell; None if the store does not say."""
        return self.deepest.stride_px

    @property
    def channels(self) -> int:
        """F, values a cell."""
        return 2 * sum(one.channels for one in self.finer) + self.deepest.channels

    @property
    def chunk_cells(self) -> int:
        """Side of a chunk in cells."""
        return self.deepest.chunk_cells

    @property
    def model_name(self) -> str:
        """Name of the model; empty if the store does not say."""
        return self.deepest.model_name

    @property
    def model_digest(self) -> str:
        """Digest of the model's file, `sha256:...`; empty if it does not say."""
        return self.deepest.model_digest

    @property
    def provenance(self) -> dict[str, Any]:
        """What made the store."""
        return self.deepest.provenance

    def chunks(self) -> Iterator[Window]:
        """Yield the window of each chunk, row by row; they partition the grid."""
        return self.deepest.chunks()

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return `features_Fhw`, NaN where a cell holds no data in one of the stages.

        Held besides are `window` of one finer stage after the other, as many times as
        large as its cells are small: a chunk of the deepest stage times the square of
        that factor. What would be more than `MOST_BYTES` is read in rows of cells.

        Raises:
            WindowError: If the window does not lie inside the grid.
            StoreError: If the store is damaged.

        """
        if not self.finer:
            return self.deepest.read(window)
        parts = [self._read(part) for part in self._rows(window)]
        return np.concatenate(parts, axis=1)

    def _rows(self, window: Window) -> Iterator[Window]:
        """Yield parts of a window, so many rows that a finer stage stays small."""
        row_bytes = max(
            4 * one.channels * window.width * _factor(one, self.deepest) ** 2
            for one in self.finer
        )
        most = max(1, MOST_BYTES // row_bytes)
        step = 1 << (most.bit_length() - 1)  # a power of two, as the sides of chunks
        for row in range(0, window.height, step):
            yield Window(
                row=window.row + row,
                col=window.col,
                height=min(step, window.height - row),
                width=window.width,
            )

    def _read(self, window: Window) -> NDArray[np.float32]:
        """Return `features_Fhw` of a window, at once."""
        deepest_Dhw = self.deepest.read(window)
        finer = (
            _read_inside(one, window, _factor(one, self.deepest)) for one in self.finer
        )
        return features_of(finer, deepest_Dhw)


def open_cells(path: str | Where, stages: Sequence[int] | None = None) -> Cells:
    """Open a finished store, to be read as a probe reads it.

    Args:
        path: The store: a path, or an address.
        stages: Which stages, in any order, each counting once; None or none for the
            deepest it holds. Of one stage the features are its values as they are.

    Raises:
        StoreError: If there is no such store, it does not hold one of the stages, or
            their cells do not lie in each other.
        MissingExtraError: If what reaches its address is not installed.

    """
    wanted = sorted(set(stages or ()))
    if len(wanted) <= 1:
        return Cells(deepest=open_store(path, *wanted))
    _check_held(open_store(path), wanted)
    *finer, deepest = (open_store(path, stage) for stage in wanted)
    for one in finer:
        _check_inside(one, deepest)
    return Cells(deepest=deepest, finer=tuple(finer))


def features_of(
    finer: Iterator[NDArray[np.float32]] | Sequence[NDArray[np.float32]],
    deepest_Dhw: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return `features_Fhw`, NaN where a cell holds no data in one of the stages.

    Deviations are those of a population, about a mean that was computed before. A
    finer cell holds data if all its channels are finite.

    Args:
        finer: `(D, H, W)` of each finer stage, H and W multiples of h and w.
        deepest_Dhw: The deepest stage.

    """
    _, height, width = deepest_Dhw.shape
    parts = [_mean_and_deviation(one, height, width) for one in finer]
    features_Fhw = np.concatenate([*parts, deepest_Dhw])
    features_Fhw[:, ~np.isfinite(features_Fhw).all(axis=0)] = np.nan
    return features_Fhw


def _mean_and_deviation(
    fine_DHW: NDArray[np.float32], height: int, width: int
) -> NDArray[np.float32]:
    """Return means of channels in cells, then deviations; NaN where there are none."""
    depth, rows, cols = fine_DHW.shape
    shape = (height, rows // height, width, cols // width)
    data = np.isfinite(fine_DHW).all(axis=0).reshape(shape)
    count_hw = data.sum(axis=(1, 3))
    least_hw = np.maximum(count_hw, 1)
    found = np.empty((2, depth, height, width), np.float32)
    for channel, fine_HW in enumerate(fine_DHW):
        values = np.where(data, fine_HW.reshape(shape), 0).astype(np.float64)
        mean_hw = values.sum(axis=(1, 3)) / least_hw
        apart = np.where(data, values - mean_hw[:, None, :, None], 0)
        found[0, channel] = mean_hw
        found[1, channel] = np.sqrt((apart**2).sum(axis=(1, 3)) / least_hw)
    found[..., count_hw == 0] = np.nan
    return found.reshape(2 * depth, height, width)


def _read_inside(finer: Embedding, window: Window, factor: int) -> NDArray[np.float32]:
    """Return `(D, h * factor, w * factor)` of a window, NaN beyond the finer grid."""
    whole = window.times(factor)
    held = whole.clipped(finer.geobox.height, finer.geobox.width)
    found_DHW = finer.read(held)
    if held == whole:
        return found_DHW
    fine_DHW = np.full((finer.channels, whole.height, whole.width), np.nan, np.float32)
    fine_DHW[:, : held.height, : held.width] = found_DHW
    return fine_DHW


def _factor(finer: Embedding, deepest: Embedding) -> int:
    """Return how many finer cells are a side of one of the deepest, once checked."""
    assert finer.stride_px, "strides are known"
    assert deepest.stride_px, "strides are known"
    return deepest.stride_px // finer.stride_px


def _check_held(store: Embedding, wanted: Sequence[int]) -> None:
    """Refuse a store that lacks a stage.

    Raises:
        StoreError: Naming all that it lacks.

    """
    held = stages_of(store.path) or (store.stage,)
    missing = [stage for stage in wanted if stage not in held]
    if missing:
        flags = " ".join(f"--stage {stage}" for stage in wanted)
        raise StoreError(
            f"`{store.path}` does not hold stage {', '.join(map(str, missing))}",
            hint=f"it holds stage {', '.join(str(one or 'unknown') for one in held)}; "
            f"`mmearth embed {flags}` gives all that are read",
        )


def _check_inside(finer: Embedding, deepest: Embedding) -> None:
    """Refuse stages whose cells do not fill those of the deepest.

    Raises:
        StoreError: Naming both, and what does not fit.

    """
    hint = "embed the scene again, or read one stage"
    fine, coarse = finer.stride_px, deepest.stride_px
    both = f"`{deepest.path}`: cells of stage {finer.stage} and {deepest.stage}"
    if not fine or not coarse:
        raise StoreError(f"{both} have no known size in pixels", hint=hint)
    if coarse % fine:
        raise StoreError(
            f"{both} have {fine} and {coarse} px a side, no whole multiple", hint=hint
        )
    factor = coarse // fine
    box, inner = deepest.geobox, finer.geobox
    to_coarse = ~box.transform @ inner.transform @ Affine.scale(factor)
    corners = ((0, 0), (box.width, box.height))
    apart = max(
        abs(found - place)
        for corner in corners
        for found, place in zip(to_coarse @ corner, corner, strict=True)
    )
    counts = (-(-inner.height // factor), -(-inner.width // factor))
    if box.crs != inner.crs or apart > APART or counts != (box.height, box.width):
        raise StoreError(f"{both} do not lie in each other", hint=hint)
