"""The Zarr store as a sink: strips in, whole chunks made safe, complete last."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr

from mmearth_infer.errors import StoreError
from mmearth_infer.write.encode import encoded
from mmearth_infer.write.layout import (
    COMPLETE,
    QUALITY,
    complete,
    create,
    strip_cells,
)
from mmearth_infer.write.ledger import Done, differences
from mmearth_infer.write.metadata import said_by
from mmearth_infer.write.place import place_at
from mmearth_infer.write.work import work_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mmearth_infer.seams import Strip
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.encode import StoredStrip
    from mmearth_infer.write.layout import Layer, LayoutChoice
    from mmearth_infer.write.ledger import Job
    from mmearth_infer.write.place import Place


class ZarrSink:
    """A store that is being written.

    What is written says that it is not complete; the ledger beside it says which
    strips are safe. On a disk it has another name until `finish`, so that nothing
    under its own is ever half written. Leaving the block without `finish` keeps what
    is written for `--resume`.
    """

    def __init__(  # noqa: PLR0913 -- what a store says, and where it goes
        self,
        path: str | Where,
        *,
        layers: Sequence[Layer],
        provenance: dict[str, Any],
        job: Job,
        overwrite: bool,
        resume: bool = False,
        layout: LayoutChoice = "plain",
        part: range | None = None,
    ) -> None:
        """Create the metadata and nothing else, or go on with what is there.

        Args:
            path: Where the store will be.
            layers: Its maps, the coarsest last.
            provenance: What made the store, as JSON.
            job: What it is made from: provenance, and what tells scenes apart.
            overwrite: Replace a store that is there, once this one is complete.
            resume: Go on with a store that was begun.
            layout: How chunks lie in files.
            part: Rows of cells of the coarsest map that are written here; others write
                others, and somebody the whole at last.

        Raises:
            StoreError: If something is there, the place cannot be written, or what was
                begun is something else.

        """
        self._layers = list(layers)
        self._provenance = provenance
        self._rows = range(layers[-1].box.height) if part is None else part
        self._work = work_at(path, overwrite=overwrite, part=part)
        self._keep = False
        self.path = self._work.out

        def make(place: Place) -> None:
            create(place, self._layers, provenance, layout=layout)

        self.is_complete = (
            resume and not overwrite and not self._work.begun and self._is_there()
        )
        if not self.is_complete:
            self._work.begin(job, make, resume=resume)
        self.chunk_cells = strip_cells(self._layers, layout)
        place = place_at(self.path) if self.is_complete else self._work.place
        with self._work.errors():
            if part is None:
                place.tidy()
            self._arrays = [_Arrays(place, layer) for layer in layers]

    def _is_there(self) -> bool:
        """Tell whether the store is there, complete.

        Raises:
            StoreError: If it is there and was made from something else.

        """
        if not self._work.taken:
            return False
        there = said_by(place_at(self.path))
        if there is None:
            raise StoreError(
                f"`{self.path}` is there, and not made by mmearth",
                hint="choose another -o",
            )
        changed = differences(there, {COMPLETE: True, **self._provenance})
        if changed:
            raise StoreError(
                f"`{self.path}` is there, of something else: {changed}",
                hint="choose another -o, or replace it with --overwrite",
            )
        return True

    @property
    def done(self) -> Done:
        """What is safe already."""
        if not self.is_complete:
            return self._work.done
        return self._arrays[-1].count()

    def missing(self, col: int) -> Sequence[range]:
        """Return the rows of cells that are missing of a panel."""
        rows = range(self._rows.start, self._rows.stop, self.chunk_cells)
        return self.done.missing(col, rows)

    def keep(self) -> None:
        """Keep what is begun, though nothing is in it: parts of it will be written."""
        self._keep = True

    def write(self, strips: Sequence[Strip]) -> None:
        """Write a strip of each map, which fill whole chunks, and wait till it is safe.

        Raises:
            StoreError: If it is not taken.

        """
        self.write_stored(
            encoded(strip, layer.encoding)
            for layer, strip in zip(self._layers, strips, strict=True)
        )

    def write_stored(self, strips: Iterable[StoredStrip]) -> None:
        """Do the same with values as they are stored.

        Raises:
            StoreError: If it is not taken.

        """
        with self._work.errors():
            for arrays, strip in zip(self._arrays, strips, strict=True):
                arrays.write(strip)
            height, width = strip.valid_hW.shape
            self._work.record(
                {
                    "row": strip.row,
                    "col": strip.col,
                    "height": height,
                    "width": width,
                    "valid": int((strip.valid_hW > 0).sum()),
                }
            )

    def finish(self) -> None:
        """Mark the store complete, under its name.

        Raises:
            StoreError: If it is not taken.

        """

        def mark(place: Place) -> None:
            complete(place, self._layers, self._provenance)

        with self._work.errors():
            self._work.finish(mark)

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Keep what is written, unless that is nothing."""
        self._work.leave(keep=self._keep)


class _Arrays:
    """The arrays of one layer."""

    def __init__(self, place: Place, layer: Layer) -> None:
        self._place = place
        self._values = _open(place, f"{layer.prefix}{layer.array}")
        names = ["valid", "scale"] if layer.encoding.per_cell else ["valid"]
        self._quality = {
            name: _open(place, f"{layer.prefix}{QUALITY}/{name}") for name in names
        }

    def write(self, strip: StoredStrip) -> None:
        """Write a strip and wait until its files are safe."""
        height, width = strip.valid_hW.shape
        part = (
            slice(strip.row, strip.row + height),
            slice(strip.col, strip.col + width),
        )
        self._values[(slice(None), *part)] = strip.values_DhW
        self._quality["valid"][part] = strip.valid_hW
        if strip.scale_hW is not None:
            self._quality["scale"][part] = strip.scale_hW
        written = [*_files(self._values, part, "c/0/{}/{}")]
        for array in self._quality.values():
            written += _files(array, part, "{}.{}")
        self._place.settle(written)

    def count(self) -> Done:
        """Count the cells of a store that is complete."""
        valid_hW = np.asarray(self._quality["valid"][...])
        height, width = valid_hW.shape
        done = Done()
        done.add(
            {
                "row": 0,
                "col": 0,
                "height": height,
                "width": width,
                "valid": int((valid_hW > 0).sum()),
            }
        )
        return done


def _open(place: Place, name: str) -> zarr.Array[Any]:
    """Open an array for writing."""
    array = zarr.open_array(place.store(), path=name, mode="r+")
    assert isinstance(array, zarr.Array)
    return array


def _files(
    array: zarr.Array[Any], part: tuple[slice, slice], name: str
) -> Iterator[str]:
    """Yield the names of the files in a store that a part of an array lies in."""
    sides = (array.shards or array.chunks)[-2:]
    numbers = [
        range(one.start // side, -(-one.stop // side))
        for one, side in zip(part, sides, strict=True)
    ]
    for row, col in product(*numbers):
        yield f"{array.path}/{name.format(row, col)}"
