"""The store of a mosaic: its maps, what it is made from, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from affine import Affine

from mmearth_infer.errors import StoreError
from mmearth_infer.jobs.zones import encoding_of
from mmearth_infer.read.fingerprint import files_fingerprint
from mmearth_infer.write.layout import COMPLETE, Layer
from mmearth_infer.write.ledger import differences, ledger_path, read_ledger
from mmearth_infer.write.metadata import ROOT, said_by
from mmearth_infer.write.open_store import open_store, stages_of
from mmearth_infer.write.place import Folder
from mmearth_infer.write.work import work_at
from mmearth_infer.write.zarr_store import ZarrSink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_infer.jobs.zones import Zone
    from mmearth_infer.write.ledger import Job
    from mmearth_infer.write.open_store import Embedding

MOST_OPEN: Final = 64
"""Stores that stay open between strips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MosaicMap:
    """One of the maps that are merged."""

    layer: Layer
    """What it is."""

    stage: int | None
    """Stage of the encoder; None for the only one of a store."""

    factor: int
    """How many of its cells a side make one of the coarsest map."""


class Scenes:
    """The stores of a zone, opened when they are read, and closed for others."""

    def __init__(self, zone: Zone) -> None:
        """Open none yet."""
        self.stores, self.places = zone.stores, zone.places
        self.opened = lru_cache(maxsize=MOST_OPEN)(self._open)

    def _open(self, number: int, stage: int | None) -> Embedding:
        """Open a stage of the store of a scene."""
        return open_store(self.stores[number], stage)


def maps_of(zone: Zone, scenes: Scenes) -> list[MosaicMap]:
    """Return the maps of the mosaic, like those of the first scene."""
    stages = stages_of(zone.stores[0]) or (None,)
    opened = [scenes.opened(0, stage) for stage in stages]
    strides = [one.stride_px or 1 for one in opened]
    factors = [strides[-1] // stride_px for stride_px in strides]
    return [
        MosaicMap(layer=_layer(zone, store, factor), stage=stage, factor=factor)
        for store, stage, factor in zip(opened, stages, factors, strict=True)
    ]


def _layer(zone: Zone, store: Embedding, factor: int) -> Layer:
    """Return a map of the mosaic, like that of a scene's store."""
    box = zone.box
    geoemb = {
        key.removeprefix("geoemb:"): value
        for key, value in store.attributes.items()
        if key.startswith("geoemb:")
    }
    scenes = [entry["name"] for entry in zone.provenance["mosaic"]["scenes"]]
    return Layer(
        group=store.group_path,
        box=replace(
            box,
            transform=box.transform @ Affine.scale(1 / factor),
            height=box.height * factor,
            width=box.width * factor,
        ),
        stride_px=store.stride_px or 1,
        channels=store.channels,
        encoding=encoding_of(store),
        geoemb={**geoemb, "source_data": scenes},
    )


def open_mosaic(
    zone: Zone, layers: Sequence[Layer], *, part: range | None = None
) -> ZarrSink:
    """Open the mosaic: complete, gone on with, or begun in place of another; or a part.

    Raises:
        StoreError: If it is not taken.

    """
    stores = [files_fingerprint([path / ROOT]) for path in zone.stores]
    job = {**zone.provenance, "stores": stores}
    work = work_at(zone.out, overwrite=True)  # puts right what a kill left
    begun = _begun_from(zone.out) if work.begun else None
    goes_on = begun is None or not differences(begun, job)
    is_there = begun is None and work.taken and _is_current(zone)
    return ZarrSink(
        zone.out,
        layers=layers,
        provenance=zone.provenance,
        job=job,
        overwrite=part is None and not is_there and (work.taken or not goes_on),
        resume=part is not None or goes_on,
        part=part,
        layout=zone.provenance["output"].get("layout", "plain"),
    )


def _begun_from(out: Path) -> Job:
    """Return what a mosaic was begun from; nothing if that cannot be told."""
    try:
        return read_ledger(ledger_path(out.resolve()))[0]
    except StoreError:
        return {}


def _is_current(zone: Zone) -> bool:
    """Tell whether the mosaic is of these stores, and none was made after it."""
    said = said_by(Folder(zone.out))
    if said is None or differences(said, {COMPLETE: True, **zone.provenance}):
        return False
    made = (zone.out / ROOT).stat().st_mtime_ns
    return all((path / ROOT).stat().st_mtime_ns <= made for path in zone.stores)
