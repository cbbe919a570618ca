"""One mean vector for each square of pixels, as GeoParquet.

Shapes: D channels, h w cells of a chunk, i j squares.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_infer.disk import check_files, check_suffix, file_beside
from mmearth_infer.errors import MissingExtraError, StoreError
from mmearth_infer.view.blocks import block_sums
from mmearth_infer.view.geoparquet import OURS, Squares, table_of, table_schema
from mmearth_infer.write.open_store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mmearth_infer.write.address import Where
    from mmearth_infer.write.open_store import Embedding

COMMAND: Final = "mmearth pool"
"""What needs pyarrow."""

SUFFIXES: Final = (".parquet", ".geoparquet")
"""What tables end in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """What was written."""

    table: str
    """The file."""

    rows: int
    """Squares with data, a row each."""

    empty: int
    """Squares without data, which have no row."""

    channels: int
    """D, values a vector."""

    window_px: int
    """Side of a square in pixels of the scene."""

    window_cells: int
    """Side of a square in cells."""

    stage: int | None
    """Stage of the encoder."""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


def pool(  # noqa: PLR0913 -- one a flag
    store: str | Where,
    out: Path,
    *,
    window_px: int,
    stage: int | None = None,
    overwrite: bool = False,
    tags: Mapping[str, str] | None = None,
) -> Pooled:
    """Write the mean over the valid cells of each square of the scene.

    Squares start at the scene's corner; the last ones end where the grid does.
    Columns: `row`, `col` of the square, `valid` (share of its cells that hold data),
    `embedding` (a list of D float32), `geometry`. Squares without data have no row.
    Held at a time: a chunk, and the squares that one row of chunks touches.

    Args:
        store: A finished store.
        out: Where the table goes.
        window_px: Side of a square in pixels of the scene, a multiple of a cell.
        stage: Stage of the encoder; None for the deepest the store holds.
        overwrite: Replace a file that is there.
        tags: What the file says besides, by name.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        StoreError: If the store cannot be read, squares do not fit its cells, or the
            output is there or cannot be written.

    """
    check_table(out)
    arrow, parquet = _pyarrow()
    check_files([out], overwrite=overwrite)
    embedding = open_store(store, stage)
    side = _side(embedding, window_px)
    schema = table_schema(arrow, embedding, tags or {})
    rows = empty = 0
    with (
        file_beside(out) as aside,
        parquet.ParquetWriter(aside, schema, compression="zstd") as writer,
    ):
        for squares in rows_of_squares(embedding, side):
            table = table_of(arrow, schema, embedding, squares, side)
            writer.write_table(table)
            rows += table.num_rows
            empty += squares.counts.size - table.num_rows
    return Pooled(
        table=str(out),
        rows=rows,
        empty=empty,
        channels=embedding.channels,
        window_px=window_px,
        window_cells=side,
        stage=embedding.stage,
    )


def check_table(out: Path, *, feature: str = COMMAND) -> None:
    """Refuse a table that cannot be written.

    Args:
        out: Where it is to go.
        feature: What needs pyarrow, as the user typed it.

    Raises:
        MissingExtraError: If pyarrow is not installed.
        StoreError: If the name promises another format.

    """
    _pyarrow(feature)
    check_suffix(out, SUFFIXES, "a .parquet")


def is_table(path: Path) -> bool:
    """Tell whether a file is a table that this module wrote."""
    return read_table_tag(path, OURS) is not None


def read_table_tag(path: Path, name: str) -> str | None:
    """Return what a table says under a name; None if it does not, or is none."""
    _, parquet = _pyarrow()
    try:
        said: dict[bytes, bytes] = parquet.read_schema(path).metadata or {}
    except (OSError, ValueError):  # the latter for what is no Parquet
        return None
    found = said.get(name.encode())
    return None if found is None else found.decode(errors="replace")


def _pyarrow(feature: str = COMMAND) -> tuple[Any, Any]:
    """Return `pyarrow` and `pyarrow.parquet`, which ship no types.

    Raises:
        MissingExtraError: If they are not installed.

    """
    try:
        import pyarrow as pa  # noqa: PLC0415 -- an extra
        from pyarrow import parquet  # noqa: PLC0415 -- likewise
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, extra="view") from error
    return pa, parquet


def _side(embedding: Embedding, window_px: int) -> int:
    """Return the side of a square in cells.

    Raises:
        StoreError: If it is not a whole number.

    """
    stride = embedding.stride_px
    if stride is None:
        raise StoreError(
            f"`{embedding.path}` does not say how many pixels a cell has",
            hint="embed the scene again",
        )
    check_side(window_px, stride, flag="--window")
    return window_px // stride


def check_side(window_px: int, stride_px: int, *, flag: str) -> None:
    """Refuse squares that cut cells.

    Args:
        window_px: Side of a square in pixels of the scene.
        stride_px: Side of a cell.
        flag: What the user gave it by.

    Raises:
        StoreError: Naming a side that fits.

    """
    if window_px < stride_px or window_px % stride_px:
        raise StoreError(
            f"{flag} {window_px} is not a multiple of a cell, {stride_px} px",
            hint=f"take {max(stride_px, round(window_px / stride_px) * stride_px)}",
        )


def rows_of_squares(embedding: Embedding, side: int) -> Iterator[Squares]:
    """Yield the rows of squares from north to south, each when it is complete."""
    box = embedding.geobox
    squares = box.cells(side)
    open_rows: dict[int, Squares] = {}
    for window in embedding.chunks():
        part = block_sums(embedding.read(window), window, side)
        cols = part.blocks.slices[1]
        for n in range(part.blocks.height):
            row = open_rows.setdefault(
                part.blocks.row + n,
                Squares(
                    row=part.blocks.row + n,
                    sums=np.zeros((embedding.channels, squares.width)),
                    counts=np.zeros(squares.width, dtype=np.int64),
                ),
            )
            row.sums[:, cols] += part.sums[:, n]
            row.counts[cols] += part.counts[n]
        if window.col + window.width < box.width:
            continue  # more chunks follow in this row
        below = window.row + window.height
        done = [n for n in open_rows if (n + 1) * side <= below or below == box.height]
        for n in sorted(done):
            yield open_rows.pop(n)
