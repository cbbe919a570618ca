"""The Zarr store as a sink: strips in, whole chunks on the disk, the name last."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import zarr
from zarr.storage import LocalStore

from mmearth_infer.disk import Kind, disk_errors, to_disk
from mmearth_infer.errors import StoreError
from mmearth_infer.write.layout import (
    COMPLETE,
    EMBEDDING,
    PROVENANCE,
    QUALITY,
    complete,
    create,
    written_cells,
)
from mmearth_infer.write.ledger import Done, differences
from mmearth_infer.write.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_infer.seams import Strip
    from mmearth_infer.write.layout import Layer, LayoutChoice
    from mmearth_infer.write.ledger import Job

TEMPORARY: Final = "*.partial"
"""What zarr calls a file that it has not finished; a kill leaves it behind."""


class ZarrSink:
    """A store that is being written.

    Everything goes to `OUT.partial`, which says that it is not complete; the ledger
    beside it says which strips are on the disk. `finish` marks it and gives it its
    name, so that nothing under that name is ever half written. Leaving the block
    without `finish` keeps what is written for `--resume`.
    """

    def __init__(  # noqa: PLR0913 -- what a store says, and where it goes
        self,
        path: str | Path,
        *,
        layers: Sequence[Layer],
        provenance: dict[str, Any],
        job: Job,
        overwrite: bool,
        resume: bool = False,
        layout: LayoutChoice = "plain",
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

        Raises:
            StoreError: If something is there, the place cannot be written, or what was
                begun is something else.

        """
        self._layers = list(layers)
        self._provenance = provenance
        self._work = Work(Path(path), STORE, overwrite=overwrite)
        self.path = self._work.out

        def make(folder: Path) -> None:
            create(folder, self._layers, provenance, layout=layout)

        self.is_complete = (
            resume and not overwrite and not self._work.begun and self._is_there()
        )
        if not self.is_complete:
            self._work.begin(job, make, resume=resume)
        coarsest = self._layers[-1]
        whole_px = max(
            written_cells(layer, layout) * layer.stride_px for layer in self._layers
        )
        self.chunk_cells = whole_px // coarsest.stride_px
        folder = self.path if self.is_complete else self._work.partial
        with disk_errors(self.path):
            for left_over in folder.rglob(TEMPORARY):
                left_over.unlink()
            self._arrays = [_Arrays(folder, layer) for layer in layers]

    def _is_there(self) -> bool:
        """Tell whether the store is there, complete.

        Raises:
            StoreError: If it is there and was made from something else.

        """
        if not self.path.exists():
            return False
        attributes, _, _ = read_store_metadata(self.path)
        there = attributes[PROVENANCE]
        changed = differences(there, {COMPLETE: True, **self._provenance})
        if changed:
            raise StoreError(
                f"`{self.path}` is there, of something else: {changed}",
                hint="choose another -o, or replace it with --overwrite",
            )
        return True

    @property
    def done(self) -> Done:
        """What is on the disk already."""
        if not self.is_complete:
            return self._work.done
        return self._arrays[-1].count()

    def first_row(self, col: int) -> int:
        """Return the first row of cells that is missing of a panel."""
        return self.done.next_row.get(col, 0)

    def write(self, strips: Sequence[Strip]) -> None:
        """Write a strip of each map, which fill whole chunks, and wait for the disk.

        Raises:
            StoreError: If the disk does not take it.

        """
        with disk_errors(self.path):
            for arrays, strip in zip(self._arrays, strips, strict=True):
                arrays.write(strip)
            base = strips[-1]
            self._work.record(
                row=base.row,
                col=base.col,
                shape=(base.valid_hW.shape[0], base.valid_hW.shape[1]),
                valid=int((base.valid_hW > 0).sum()),
            )

    def finish(self) -> None:
        """Mark the store complete and give it its name.

        Raises:
            StoreError: If the disk does not take it.

        """
        with disk_errors(self.path):
            complete(self._work.partial, self._layers, self._provenance)
            self._work.finish()

    def __enter__(self) -> Self:
        """Return the sink."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Keep what is written, unless that is nothing."""
        self._work.leave()


class _Arrays:
    """The arrays of one layer."""

    def __init__(self, folder: Path, layer: Layer) -> None:
        self._layer = layer
        self._folder = folder / layer.group
        self._embedding = _open(self._folder, EMBEDDING)
        names = ["valid", "scale"] if layer.encoding.per_cell else ["valid"]
        self._quality = {name: _open(self._folder / QUALITY, name) for name in names}

    def write(self, strip: Strip) -> None:
        """Write a strip and wait until its files are on the disk."""
        height, width = strip.valid_hW.shape
        place = (
            slice(strip.row, strip.row + height),
            slice(strip.col, strip.col + width),
        )
        stored_DhW, scale_hW = self._layer.encoding.encode(strip.features_DhW)
        self._embedding[(slice(None), *place)] = stored_DhW
        self._quality["valid"][place] = strip.valid_hW
        if scale_hW is not None:
            self._quality["scale"][place] = scale_hW
        written = [
            *_files(self._folder / EMBEDDING / "c/0", self._embedding, place, "/")
        ]
        for name, array in self._quality.items():
            written += _files(self._folder / QUALITY / name, array, place, ".")
        for path in written:
            to_disk(path)
        for folder in {path.parent for path in written}:
            to_disk(folder)

    def count(self) -> Done:
        """Count the cells of a store that is complete."""
        valid_hW = np.asarray(self._quality["valid"][...])
        return Done(cells=valid_hW.size, valid_cells=int((valid_hW > 0).sum()))


def _open(folder: Path, name: str) -> zarr.Array[Any]:
    """Open an array for writing."""
    array = zarr.open_array(LocalStore(folder), path=name, mode="r+")
    assert isinstance(array, zarr.Array)
    return array


def _files(
    folder: Path, array: zarr.Array[Any], place: tuple[slice, slice], separator: str
) -> Iterator[Path]:
    """Yield the files that a part of an array lies in, of those that are not empty."""
    sides = (array.shards or array.chunks)[-2:]
    numbers = [
        range(part.start // side, -(-part.stop // side))
        for part, side in zip(place, sides, strict=True)
    ]
    for row, col in product(*numbers):
        path = folder / f"{row}{separator}{col}"
        if path.exists():  # an empty chunk has no file
            yield path


def is_store(path: Path) -> bool:
    """Tell whether a folder is a store that this package made, complete or not."""
    try:
        metadata = json.loads((path / "zarr.json").read_text())
        return PROVENANCE in metadata["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


STORE: Final = Kind("store", is_store)
"""What `mmearth embed` writes."""


def read_store_metadata(
    path: Path,
) -> tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    """Return a store's attributes, and shape and chunks of its coarsest embedding.

    Raises:
        StoreError: If it is not a store made by this package.

    """
    if not is_store(path):
        raise StoreError(
            f"`{path}` is not a store made by mmearth",
            hint="`mmearth embed SCENE -o OUT.zarr` makes one",
        )
    try:
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r")
        attributes = dict(group.attrs)
        stages = sorted(name for name, _ in group.groups() if name.startswith("stage"))
        if stages:
            group = group[stages[-1]]  # type: ignore[assignment]  # a group
            attributes = {**dict(group.attrs), **attributes}
        array = group[EMBEDDING]
        assert isinstance(array, zarr.Array)
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"`{path}` is damaged: {error}") from error
    return attributes, array.shape, array.chunks
