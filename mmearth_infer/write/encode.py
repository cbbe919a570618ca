"""How embeddings are kept: float32, or in half or a quarter of the room.

| `--dtype` | stored | nodata | value |
|---|---|---|---|
| float32 | as computed | NaN | stored |
| float16 | rounded, at most 65504 | NaN | stored |
| int8 | rounded, at most 127 | -128 | stored * scale of the model |
| int8-pixel | rounded, at most 127 | -128 | stored * scale of the cell |

The scale of a model is measured once, when it is exported with `--calibrate`, so that
the stores of all scenes can be compared. A scale of the cell is its largest value over
127, and NaN where there is no data.

Shapes: D channels, H W cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, get_args

import numpy as np

from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmearth_infer.contract.manifest import Output
    from mmearth_infer.seams import Strip

DtypeChoice = Literal["float32", "float16", "int8", "int8-pixel"]
"""How embeddings are kept."""

DTYPES: Final[tuple[DtypeChoice, ...]] = get_args(DtypeChoice)

NODATA_INT8: Final = -128
"""What says that a cell holds no data in int8."""

MOST_INT8: Final = 127
"""Largest value in int8; the smallest is its negative."""

MOST_FLOAT16: Final = 65504.0
"""Largest finite float16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredStrip:
    """Rows of cells of a map, as a store holds them."""

    row: int
    """First row of cells."""

    col: int
    """First column of cells."""

    values_DhW: NDArray[Any]  # noqa: N815 -- its axes
    """Values."""

    scale_hW: NDArray[np.float32] | None  # noqa: N815 -- likewise
    """Scale of each cell, if they have one."""

    valid_hW: NDArray[np.float32]  # noqa: N815 -- likewise
    """Share of each cell's pixels that hold data."""


class Kept(Protocol):
    """How the values of a map are kept. Encodings derive from it."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        ...

    @property
    def nodata(self) -> float:
        """Value of cells without data."""
        ...

    @property
    def attributes(self) -> dict[str, Any]:
        """What the array says of it."""
        ...

    @property
    def per_cell(self) -> bool:
        """Whether every cell has a scale of its own."""
        return False

    def encode(
        self, features_DHW: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Return what is stored, and the scale of each cell if they have one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding(Kept):
    """How the embeddings of one stage are kept."""

    name: DtypeChoice
    """What `--dtype` calls it."""

    scale: float | None = None
    """Factor from stored values to embeddings, the same for all scenes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array."""
        return np.dtype(self.name.partition("-")[0])

    @property
    def nodata(self) -> float:
        """Value of cells without data."""
        return NODATA_INT8 if self.dtype.kind == "i" else np.nan

    @property
    def per_cell(self) -> bool:
        """Whether every cell has a scale of its own."""
        return self.name == "int8-pixel"

    @property
    def attributes(self) -> dict[str, Any]:
        """What the array says of it."""
        if self.dtype.kind != "i":
            return {}
        scale = "pixel" if self.per_cell else self.scale
        return {"quantization": {"scale": scale, "nodata": NODATA_INT8}}

    def encode(
        self, features_DHW: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Return what is stored, and the scale of each cell if they have one.

        Args:
            features_DHW: Embeddings, NaN in all channels where there is no data.

        """
        if self.name == "float32":
            return features_DHW, None
        if self.name == "float16":
            bounded = np.clip(features_DHW, -MOST_FLOAT16, MOST_FLOAT16)
            return bounded.astype(np.float16), None
        absent_HW = np.isnan(features_DHW[0])
        scale_HW: NDArray[np.float32] | None = None
        if self.per_cell:
            scale_HW = np.abs(features_DHW).max(axis=0) / np.float32(MOST_INT8)
            divisor_HW = np.where(scale_HW > 0, scale_HW, np.float32(1))
            scaled = np.rint(features_DHW / divisor_HW)
        else:
            assert self.scale is not None
            scaled = np.rint(features_DHW / np.float32(self.scale))
        scaled[:, absent_HW] = 0
        stored = np.clip(scaled, -MOST_INT8, MOST_INT8).astype(np.int8)
        stored[:, absent_HW] = NODATA_INT8
        return stored, scale_HW


def encoded(strip: Strip, kept: Kept) -> StoredStrip:
    """Return a strip as a store holds it."""
    values_DhW, scale_hW = kept.encode(strip.features_DhW)
    return StoredStrip(
        row=strip.row,
        col=strip.col,
        values_DhW=values_DhW,
        scale_hW=scale_hW,
        valid_hW=strip.valid_hW,
    )


def decoded(
    stored_DHW: NDArray[Any], scale: float | NDArray[np.float32] | None
) -> NDArray[Any]:
    """Return embeddings: what is stored, or the float32 that int8 stands for.

    Args:
        stored_DHW: As `Encoding.encode` made them.
        scale: Of all cells, or `(H, W)`; None for floats.

    """
    if stored_DHW.dtype != np.int8:
        return stored_DHW
    assert scale is not None
    features_DHW = stored_DHW.astype(np.float32)
    features_DHW[stored_DHW == NODATA_INT8] = np.nan
    features_DHW *= np.asarray(scale, np.float32)
    return features_DHW


def encoding_for(choice: DtypeChoice, output: Output, *, model: str) -> Encoding:
    """Return how the map of a model is kept.

    Raises:
        ModelError: If int8 is asked for and the model has no scale for it.

    """
    if choice != "int8":
        return Encoding(name=choice)
    if output.int8_scale is None:
        raise ModelError(
            f"model `{model}` has no int8 scale for stage {output.stage}",
            hint="export it with --calibrate SCENE, or keep a scale for each cell "
            "with --dtype int8-pixel",
        )
    return Encoding(name=choice, scale=output.int8_scale)
