"""Squares of a store as GeoParquet 1.1: WKB, and the CRS as PROJJSON.

Shapes: D channels, S squares with data, j squares of a row.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mmearth_infer.write.open_store import Embedding

GEOPARQUET: Final = "1.1.0"
"""Version of the specification that is followed."""

OURS: Final = "mmearth"
"""Key under which a table says what made it."""

_LITTLE_ENDIAN: Final = 1
_POLYGON: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Squares:
    """One row of squares, from west to east."""

    row: int
    """Which row."""

    sums: NDArray[np.float64]
    """`(D, j)`, sum over the valid cells of each square."""

    counts: NDArray[np.int64]
    """`(j,)`, number of valid cells."""


def table_schema(
    arrow: Any,  # noqa: ANN401 -- it ships no types
    embedding: Embedding,
    tags: Mapping[str, str],
) -> Any:  # noqa: ANN401
    """Return the columns, with what GeoParquet says of the geometry.

    Args:
        arrow: The module `pyarrow`.
        embedding: What the squares are of.
        tags: What the file says besides.

    """
    crs = embedding.geobox.crs.to_dict(projjson=True)
    geo = {
        "version": GEOPARQUET,
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Polygon"],
                "crs": crs,
                "orientation": "counterclockwise",
                "bbox": list(embedding.geobox.bounds),
            }
        },
    }
    said = {
        "model": embedding.model_name,
        "digest": embedding.model_digest,
        "stage": embedding.stage,
    }
    return arrow.schema(
        [
            ("row", arrow.int32()),
            ("col", arrow.int32()),
            ("valid", arrow.float32()),
            ("embedding", arrow.list_(arrow.float32())),
            ("geometry", arrow.binary()),
        ],
        metadata={"geo": json.dumps(geo), OURS: json.dumps(said), **tags},
    )


def table_of(
    arrow: Any,  # noqa: ANN401 -- it ships no types
    schema: Any,  # noqa: ANN401
    embedding: Embedding,
    squares: Squares,
    side: int,
) -> Any:  # noqa: ANN401
    """Return one row of squares as a table; those without data are left out.

    Args:
        arrow: The module `pyarrow`.
        schema: The columns.
        embedding: What the squares are of.
        squares: The row.
        side: Of a square, in cells.

    """
    (cols,) = np.nonzero(squares.counts)
    means_SD = (squares.sums[:, cols] / squares.counts[cols]).T.astype(np.float32)
    box = embedding.geobox
    height = min(side, box.height - squares.row * side)
    widths = np.minimum(side, box.width - cols * side)
    ends = np.arange(0, means_SD.size + 1, embedding.channels, dtype=np.int32)
    return arrow.table(
        {
            "row": np.full(len(cols), squares.row, dtype=np.int32),
            "col": cols.astype(np.int32),
            "valid": (squares.counts[cols] / (height * widths)).astype(np.float32),
            "embedding": arrow.ListArray.from_arrays(ends, means_SD.ravel()),
            "geometry": [
                _square_wkb(embedding, squares.row, int(col), side) for col in cols
            ],
        },
        schema=schema,
    )


def _square_wkb(embedding: Embedding, row: int, col: int, side: int) -> bytes:
    """Return the outline of a square as WKB, counterclockwise, inside the grid."""
    box = embedding.geobox
    left, top = box.transform @ (col * side, row * side)
    right, bottom = box.transform @ (
        min((col + 1) * side, box.width),
        min((row + 1) * side, box.height),
    )
    ring = (left, bottom, right, bottom, right, top, left, top, left, bottom)
    return struct.pack("<BIII10d", _LITTLE_ENDIAN, _POLYGON, 1, len(ring) // 2, *ring)
