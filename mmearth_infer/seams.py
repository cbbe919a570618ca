"""What passes between the stages: three protocols, and the values they exchange.

Shapes: N tiles, C bands, H W pixels, D channels, h w cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mmearth_infer.contract.acquired import Acquired
    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.plan import Span, Tile
    from mmearth_infer.grid.window import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was decided about a scene when it was opened, and on what evidence."""

    name: str
    """Name of the file or product, without its folder."""

    geobox: GeoBox
    """Where it lies."""

    bands: tuple[str, ...]
    """Bands it gives, in the order it gives them."""

    bands_evidence: str
    """How the bands were recognised."""

    level: ProductLevel
    """Product level."""

    level_evidence: str
    """What says so."""

    offset_dn: int
    """Number that was added to every valid pixel: 0, or -1000 where it was removed."""

    offset_evidence: str
    """What says so."""

    scale: float | None = None
    """Factor from the file's values to digital numbers; None when they are DN."""

    acquired: Acquired | None = None
    """When it was taken; None where nothing tells."""

    warnings: tuple[str, ...] = ()
    """What a user should know before trusting the result."""

    notes: tuple[str, ...] = ()
    """What was chosen of it, such as an area or a mask."""


class Source(Protocol):
    """Something pixels are read from. Sources derive from it, for what most lack."""

    scene: Scene
    """What is being read."""

    @property
    def fingerprint(self) -> str:
        """What tells this scene from a changed one: names, sizes and times of files.

        Equal strings mean equal pixels, for all that can be told without reading them.
        """
        ...

    def read(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW`, digital numbers without offset, 0 where there are none.

        The window lies inside the scene. Only one thread reads at a time.
        """
        ...

    def classes(self, window: Window) -> NDArray[np.uint8] | None:
        """Return `scl_HW`, scene classes of Sentinel-2, or None if it has none."""
        del window
        return None

    def wanted(self, window: Window) -> NDArray[np.bool_] | None:
        """Return `wanted_HW`, pixels that are asked for; None if all are.

        The others are read all the same: cells at the border of an area see what
        lies beyond it.
        """
        del window
        return None

    def read_wanted(self, window: Window) -> NDArray[np.uint16]:
        """Return `dn_CHW`, 0 where pixels are not asked for, too.

        For what is about pixels themselves, not about what cells see of them.
        """
        dn_CHW, wanted_HW = self.read(window), self.wanted(window)
        if wanted_HW is None or wanted_HW.all():
            return dn_CHW
        return dn_CHW * wanted_HW


@dataclass(frozen=True, slots=True, kw_only=True)
class Swath:
    """The pixels that one row of tiles sees, the whole width of a panel."""

    row: Span
    """Which row of tiles."""

    dn_CHW: NDArray[np.uint16]
    """Digital numbers; 0 where the scene has none, and beyond its edge."""

    present_HW: NDArray[np.bool_]
    """Pixels that hold data in any band and are wanted."""

    def scaled(self, factor: int) -> Swath:
        """Return the same swath for a grid that is `factor` times as fine."""
        row = type(self.row)(*(cell * factor for cell in self.row))
        return replace(self, row=row)

    def without_pixels(self) -> Swath:
        """Return the same swath when nobody needs its pixels any more."""
        return replace(self, dn_CHW=self.dn_CHW[:, :0].copy())

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return self.dn_CHW.nbytes + self.present_HW.nbytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tiles on their way to the engine."""

    tiles: tuple[Tile, ...]
    """Where each tile sits; as many as N."""

    dn_NCHW: NDArray[np.uint16]
    """Digital numbers, bands in the order of the manifest."""


class Engine(Protocol):
    """A compiled model on a device, ready for one product level and one stage."""

    def __call__(self, dn_NCHW: NDArray[np.uint16]) -> tuple[NDArray[np.float32], ...]:
        """Return `features_NDhw` of each map, the coarsest last."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Finished rows of cells, the whole width of a panel."""

    row: int
    """First row of cells."""

    col: int
    """First column of cells."""

    features_DhW: NDArray[np.float32]
    """Embeddings, NaN where a cell holds no data."""

    valid_hW: NDArray[np.float32]
    """Share of each cell's pixels that hold data."""


class Sink(Protocol):
    """Something finished strips are written to, whole chunks at a time."""

    @property
    def chunk_cells(self) -> int:
        """Rows of a strip, and what columns of a panel are multiples of.

        In cells of the coarsest map: strips fill chunks of every map.
        """
        ...

    def missing(self, col: int) -> Sequence[range]:
        """Return the rows that are missing of the panel that starts at a column.

        They are consecutive rows in order, which strips fill.
        """
        ...

    def write(self, strips: Sequence[Strip]) -> None:
        """Write a strip of each map, the same place of the scene, the coarsest last.

        Strips of missing rows come in order, from north to south.
        """
        ...
