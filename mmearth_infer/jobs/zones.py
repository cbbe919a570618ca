"""Which stores of scenes make one mosaic: those of a CRS, on the grid they share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, cast

from mmearth_infer.contract.acquired import Acquired, parse_acquired
from mmearth_infer.errors import JobError
from mmearth_infer.grid.common import around, box_at, place_of
from mmearth_infer.read.acquired import acquired_together
from mmearth_infer.read.georeference import PIXEL_M
from mmearth_infer.run.provenance import DISTRIBUTION, PROVENANCE_SCHEMA
from mmearth_infer.write.conventions import crs_wkt
from mmearth_infer.write.encode import Encoding
from mmearth_infer.write.layout import COMPLETE
from mmearth_infer.write.open_store import open_store, short_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rasterio.crs import CRS

    from mmearth_infer.grid.geobox import GeoBox
    from mmearth_infer.grid.window import Window
    from mmearth_infer.write.encode import DtypeChoice
    from mmearth_infer.write.open_store import Embedding

LAW: Final = (
    "a cell is that of the scene with the greatest share of valid pixels there, of "
    "equal ones the first"
)
"""What a mosaic is, whatever the order in which scenes were embedded."""

MOST_CELLS: Final = 2**22
"""Cells a side of a mosaic; around the Earth are 4 million pixels of 10 m."""

_LONGEST: Final = 60
"""Characters of what differs between two stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Stores of scenes that become one, on the grid that they share."""

    name: str
    """What the mosaic is called, without suffix: `zone-32632`."""

    stores: tuple[Path, ...]
    """Stores of the scenes, in the order of the job."""

    places: tuple[Window, ...]
    """Where each lies, from the mosaic's corner in cells of the coarsest map."""

    box: GeoBox
    """Grid of the mosaic's coarsest map."""

    out: Path
    """Where the mosaic goes."""

    provenance: dict[str, Any]
    """What the mosaic says of its making."""


def zones_of(stores: Sequence[Path], folder: Path) -> tuple[Zone, ...]:
    """Group stores of scenes by CRS and size of their pixels, reading metadata only.

    Args:
        stores: Stores of scenes that were read with `SceneOptions.snap_px`, in the
            order of the job, which decides between equal scenes.
        folder: Where the mosaics go.

    Raises:
        JobError: If stores of a zone cannot be joined.
        StoreError: If one is not there, not complete or damaged.

    """
    groups: dict[str, list[_Member]] = {}
    for path in stores:
        found = _member(path)
        groups.setdefault(found.zone, []).append(found)
    return tuple(_zone(name, members, folder) for name, members in groups.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """What is kept of a store that is opened for its metadata."""

    path: Path
    """The store."""

    zone: str
    """Name of its zone."""

    place: Window
    """Where it lies on the common grid of cells."""

    crs: CRS
    """CRS of its zone."""

    cell: tuple[float, float]
    """Height and width of a cell in units of the CRS."""

    alike: dict[str, Any]
    """What must be the same in all stores of a zone."""

    engine: dict[str, Any]
    """What computed it."""

    entry: dict[str, Any]
    """What the mosaic says of it."""


def _member(path: Path) -> _Member:
    """Open a store, and keep what decides about its zone.

    Raises:
        JobError: If its cells have no known size, or lie beside the common grid.
        StoreError: If it cannot be read.

    """
    store = open_store(path)
    box, stride_px = store.geobox, store.stride_px
    if stride_px is None:
        raise JobError(
            f"`{path}` does not say how many pixels its cells have",
            hint="embed the scene anew",
        )
    place = place_of(box)
    if place is None or box.crs.is_geographic:
        left, _, _, top = box.bounds
        raise JobError(
            f"the cells of `{path}` do not begin on the grid that scenes share: its "
            f"corner is at {left:.12g}, {top:.12g}, a cell is {box.transform.a:g} wide",
            hint="embed the scene anew in a job with a mosaic, which cuts it there",
        )
    high, wide = (round(s / stride_px, 6) for s in (-box.transform.e, box.transform.a))
    scene = store.part("scene")
    return _Member(
        path=path,
        zone=_zone_name(box.crs, high, wide),
        place=place,
        crs=box.crs,
        cell=(high * stride_px, wide * stride_px),
        alike=_alike(store, stride_px),
        engine=store.part("engine"),
        entry={
            "name": str(scene.get("name", "")),
            "acquired": scene.get("acquired"),
            "offset_dn": scene.get("offset_dn", 0),
            "digest": _digest(store),
        },
    )


def encoding_of(store: Embedding) -> Encoding:
    """Return how a store keeps its embeddings."""
    name = "int8-pixel" if store.scaled_per_pixel else store.dtype
    return Encoding(name=cast("DtypeChoice", name), scale=store.scale)


def _zone_name(crs: CRS, high: float, wide: float) -> str:
    """Return the name of a zone: the code of its CRS, and pixels that are not 10 m."""
    authority = crs.to_authority()
    if authority and type(crs).from_authority(*authority) == crs:
        name, code = authority
        name = code if name == "EPSG" else f"{name.lower()}-{code}"
    else:
        name = sha256(crs_wkt(crs).encode()).hexdigest()[:12]
    if (high, wide) == (PIXEL_M, PIXEL_M):
        return f"zone-{name}"
    size = f"{wide:.12g}" if high == wide else f"{wide:.12g}x{high:.12g}"
    return f"zone-{name}-{size}"


def _alike(store: Embedding, stride_px: int) -> dict[str, Any]:
    """Return what stores must share to be joined, the most telling first."""
    scene = store.part("scene")
    return {
        "model": store.model_digest and short_digest(store.model_digest),
        "stages": store.part("model").get("stages"),
        "stride": stride_px,
        "channels": store.channels,
        "bands": scene.get("bands"),
        "product level": scene.get("product_level"),
        "encoding": encoding_of(store).name,
        "scale": store.scale,
        "tiling": store.part("tiling"),
        "output": store.part("output"),
    }


def _digest(store: Embedding) -> str:
    """Return a digest of what a store says of its making."""
    said = {key: value for key, value in store.provenance.items() if key != COMPLETE}
    return "sha256:" + sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _zone(name: str, members: Sequence[_Member], folder: Path) -> Zone:
    """Join the stores of a zone.

    Raises:
        JobError: If they cannot be.

    """
    first = members[0]
    for member in members[1:]:
        _refuse_unlike(first, member)
    whole = around([member.place for member in members])
    if max(whole.height, whole.width) > MOST_CELLS:
        raise JobError(
            f"the stores of {name} are {whole.height} x {whole.width} cells apart, "
            "which no CRS is wide",
            hint="one of them is damaged: `mmearth info STORE` tells its bounds",
        )
    high, wide = first.cell
    return Zone(
        name=name,
        stores=tuple(member.path for member in members),
        places=tuple(member.place.seen_from(whole) for member in members),
        box=box_at(whole, crs=first.crs, high=high, wide=wide),
        out=folder / f"{name}.zarr",
        provenance=_provenance(name, members),
    )


def _refuse_unlike(first: _Member, member: _Member) -> None:
    """Refuse to join stores whose cells do not mean the same.

    Raises:
        JobError: Naming the store, and what differs.

    """
    for name, expected in first.alike.items():
        found = member.alike[name]
        if found != expected:
            raise JobError(
                f"`{member.path}` cannot be joined with `{first.path}`: it has {name} "
                f"{_short(found)}, not {_short(expected)}",
                hint="give scenes that differ in it to jobs of their own",
            )


def _short(value: object) -> str:
    """Return a value, cut where it is long."""
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _provenance(name: str, members: Sequence[_Member]) -> dict[str, Any]:
    """Return the attribute `mmearth` of a mosaic, as `run.provenance` of a scene."""
    first = members[0]
    entries = [member.entry for member in members]
    taken = acquired_together(_acquired(entry["acquired"]) for entry in entries)
    offsets = [entry["offset_dn"] for entry in entries]
    of_all = f"the same in the stores of {len(members)} scenes"
    alike = all(member.engine == first.engine for member in members)
    return {
        "schema": PROVENANCE_SCHEMA,
        "model": open_store(first.path).part("model"),
        "scene": {
            "name": name,
            "bands": first.alike["bands"],
            "bands_evidence": of_all,
            "product_level": first.alike["product level"],
            "product_level_evidence": of_all,
            "offset_dn": min(offsets),
            "offset_evidence": of_all
            if len(set(offsets)) == 1
            else "the least; `mosaic` lists that of each scene",
            "acquired": taken and str(taken),
            "acquired_evidence": taken
            and f"from the first to the last of {len(members)}",
        },
        "mosaic": {"law": LAW, "scenes": entries},
        "tiling": first.alike["tiling"],
        "engine": first.engine if alike else {"name": "several"},
        "output": first.alike["output"],
        "version": version(DISTRIBUTION),
    }


def _acquired(said: object) -> Acquired | None:
    """Return when a scene was taken, as its store says it."""
    try:
        return parse_acquired(str(said), "its store") if said else None
    except ValueError:  # changed by hand
        return None
