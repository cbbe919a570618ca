"""What `mmearth embed` writes beside a store: a table of vectors, a STAC item."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mmearth_infer.disk import Kind, check_output
from mmearth_infer.engine.open import read_file
from mmearth_infer.errors import MMEarthError
from mmearth_infer.view.pool import check_side, check_table, is_table, pool
from mmearth_infer.view.stac_item import ITEM, item_path, write_item
from mmearth_infer.write.address import on_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mmearth_infer.run.config import EmbedConfig
    from mmearth_infer.write.address import Where

WINDOW: Final = 0
"""Stands for the side of the run's tiles, which is known after it."""

TABLE: Final = Kind("table of vectors", is_table)
"""What may be replaced: not the file that a scene was read from."""


class _Side(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4
    """Side of a square: `window`, or pixels."""

    name = "window|PX"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return pixels, or `WINDOW`."""
        if value == "window":
            return WINDOW
        try:
            side_px = int(str(value))
        except ValueError:
            side_px = 0
        if side_px < 1:
            self.fail(f"`{value}` is neither `window` nor pixels", param, ctx)
        return side_px


_OPTIONS: Final = (
    click.option(
        "--pool",
        "pool_px",
        type=_Side(),
        metavar="window|PX",
        help="Write one mean vector for each square of PX pixels, or of --window, as "
        "GeoParquet: OUT.parquet (needs the `view` extra).",
    ),
    click.option(
        "--pool-to",
        type=click.Path(path_type=Path),
        metavar="VECTORS.parquet",
        help="Write them there.",
    ),
    click.option(
        "--stac", is_flag=True, help="Write a STAC item beside the store: OUT.json."
    ),
)


def beside_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --pool, --pool-to and --stac."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What was asked for beside a store."""

    table: Path | None
    """Where the table goes; None for none."""

    side_px: int
    """Side of its squares; `WINDOW` for that of the tiles."""

    item: Path | None
    """Where the STAC item goes; None for none."""

    def check(self, config: EmbedConfig) -> None:
        """Refuse before the run what would fail after it.

        Raises:
            MissingExtraError: If the table needs what is not installed.
            StoreError: If squares cut cells, or an output is there, has another
                suffix, or is not ours to replace.

        """
        replace = config.overwrite or config.resume
        if self.table is not None:
            check_table(self.table, feature="--pool")
            check_output(self.table, TABLE, overwrite=replace)
            if self.side_px != WINDOW:
                outputs = read_file(config.model).manifest.outputs_of(config.stages)
                check_side(self.side_px, outputs[-1].stride_px, flag="--pool")
        if self.item is not None:
            check_output(self.item, ITEM, overwrite=replace)

    def write(self, store: Where, *, window_px: int) -> dict[str, str | None]:
        """Write it, and return where it is.

        Args:
            store: The finished store.
            window_px: Side of the tiles.

        Raises:
            StoreError: If the disk does not take it. The store stays.

        """
        side_px = window_px if self.side_px == WINDOW else self.side_px
        if self.table is not None:
            with _store_stays(
                *("pool", store, "-o", self.table, "--window", side_px), store=store
            ):
                pool(store, self.table, window_px=side_px, overwrite=True)
        if self.item is not None:
            with _store_stays("stac", store, store=store):
                write_item(store, overwrite=True)
        return {
            "table": None if self.table is None else str(self.table),
            "item": None if self.item is None else str(self.item),
        }


def beside(
    store: Where, *, pool_px: int | None, pool_to: Path | None, stac: bool
) -> Beside:
    """Return what was asked for beside a store.

    Raises:
        StoreError: If that would be beside an address.

    """
    if pool_px is None and pool_to is not None:
        raise click.UsageError("--pool-to goes with --pool")
    table = pool_to
    if pool_px is not None and pool_to is None:
        path = on_disk(store, what="a table of vectors")
        table = Path(f"{str(path).removesuffix('.zarr')}.parquet")
    return Beside(
        table=table,
        side_px=pool_px or WINDOW,
        item=item_path(on_disk(store, what="a STAC item")) if stac else None,
    )


@contextmanager
def _store_stays(*command: Any, store: Where) -> Iterator[None]:  # noqa: ANN401
    """Add to an error's hint that the store is complete, and how to try again."""
    try:
        yield
    except MMEarthError as error:
        again = shlex.join(["mmearth", *map(str, command)])
        kept = f"`{store}` is complete, `{again}` tries again"
        error.hint = f"{error.hint}; {kept}" if error.hint else kept
        raise
