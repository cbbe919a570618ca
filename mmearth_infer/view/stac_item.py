"""A STAC item beside a store: `OUT.json` describes `OUT.zarr`.

The item is STAC 1.0.0, and what is known of the embeddings stands in
`emb:runtime_parameters`: version 0.0.1 of the embedding extension allows neither
another version of STAC nor `emb:type` and `emb:dimensions` in an item (docs/adr/0014).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mmearth_infer.disk import Kind, check_files, file_beside
from mmearth_infer.grid.footprint import footprint
from mmearth_infer.view.acquired import acquired, stac_time
from mmearth_infer.write.address import on_disk
from mmearth_infer.write.conventions import crs_wkt
from mmearth_infer.write.encode import NODATA_INT8
from mmearth_infer.write.open_store import open_store, stages_of

if TYPE_CHECKING:
    from mmearth_infer.contract.acquired import Acquired
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.open_store import Embedding

STAC_VERSION: Final = "1.0.0"
"""The one that the embedding extension v0.0.1 refers to."""

EXTENSIONS: Final = (
    "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
)
"""Schemas that the item follows."""

ZARR: Final = "application/vnd.zarr; version=3"
"""Media type of a store."""

EMBEDDINGS: Final = "embeddings"
"""Key of the asset that the embedding extension asks for: the deepest stage."""

RUNTIME: Final = "emb:runtime_parameters"
"""Property that says what was run on what."""


def item_path(store: Path) -> Path:
    """Return where the item of a store lies."""
    return Path(f"{str(store).removesuffix('.zarr')}.json")


def is_our_item(path: Path) -> bool:
    """Tell whether a file is an item that this module wrote."""
    try:
        return RUNTIME in json.loads(path.read_bytes())["properties"]
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return False


ITEM: Final = Kind("STAC item of a store", is_our_item)
"""What may be replaced: not the item that a scene was read from."""


def write_item(
    store: Where, *, taken: str | None = None, overwrite: bool = False
) -> Path:
    """Write the STAC item of a store beside it, and return where.

    Args:
        store: A finished store, on a disk.
        taken: When its scene was taken, or START/END; None to find out
            (`mmearth_infer/view/acquired.py` says how).
        overwrite: Replace an item that is there.

    Raises:
        StoreError: If the store cannot be read, the time is none, or the output is
            there or cannot be written.

    """
    store = on_disk(store, what="a STAC item").absolute()
    out = item_path(store)
    check_files([out], overwrite=overwrite)
    described = item(store, taken=taken)
    with file_beside(out) as aside:
        aside.write_text(json.dumps(described, indent=2, allow_nan=False) + "\n")
    return out


def item(store: Path, *, taken: str | None = None) -> dict[str, Any]:
    """Return the STAC item of a store.

    Raises:
        StoreError: If the store cannot be read, or the time is none.

    """
    stages = stages_of(store) or (None,)
    maps = [open_store(store, stage) for stage in reversed(stages)]
    deepest = maps[0]
    scene = _part(deepest, "scene")
    when = acquired(
        scene,
        said=taken,
        latest=lambda: datetime.fromtimestamp(
            (store / "zarr.json").stat().st_mtime, tz=UTC
        ),
    )
    geometry, bbox = footprint(deepest.geobox)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": item_path(store).stem,
        "geometry": geometry,
        "bbox": bbox,
        "properties": {
            **stac_time(when),
            "gsd": _gsd(deepest),
            **_projection(deepest),
            **_processing(deepest),
            RUNTIME: _runtime(deepest, maps, scene, when),
            **_quantization(deepest),
        },
        "links": _links(deepest),
        "assets": {
            EMBEDDINGS if n == 0 else f"{EMBEDDINGS}-stage{one.stage}": _asset(one)
            for n, one in enumerate(maps)
        },
    }


def _part(embedding: Embedding, name: str) -> dict[str, Any]:
    """Return a part of what made the store; empty if it is not told."""
    part = embedding.provenance.get(name)
    return part if isinstance(part, dict) else {}


def _gsd(embedding: Embedding) -> float:
    """Return the side of a cell in metres."""
    return round(embedding.geobox.pixel_m()[0], 3)


def _projection(embedding: Embedding) -> dict[str, Any]:
    """Return the fields of the projection extension."""
    box = embedding.geobox
    authority = box.crs.to_authority()
    named: dict[str, Any] = (
        {"proj:code": ":".join(authority)}
        if authority
        else {"proj:code": None, "proj:wkt2": crs_wkt(box.crs)}
    )
    return named | _grid(embedding)


def _grid(embedding: Embedding) -> dict[str, Any]:
    """Return shape, transform and bounds of the cells."""
    box = embedding.geobox
    return {
        "proj:shape": [box.height, box.width],
        "proj:transform": [float(number) for number in box.transform][:6],
        "proj:bbox": list(box.bounds),
    }


def _processing(embedding: Embedding) -> dict[str, Any]:
    """Return the fields of the processing extension."""
    engine = _part(embedding, "engine")
    software = {"mmearth-infer": str(embedding.provenance.get("version", "unknown"))}
    if "name" in engine:
        software[str(engine["name"])] = str(engine.get("version", "unknown"))
    return {
        "processing:level": "L4",
        "processing:lineage": f"Embeddings of {_part(embedding, 'scene').get('name')} "
        f"by the model {embedding.model_name}",
        "processing:software": software,
    }


def _runtime(
    embedding: Embedding,
    maps: list[Embedding],
    scene: dict[str, Any],
    when: Acquired,
) -> dict[str, Any]:
    """Return what was run on what; only what the store tells."""
    model = _part(embedding, "model")
    read = ("name", "bands", "product_level", "offset_dn", "scale")
    return {
        "type": "pixel",
        "model": {key: model[key] for key in ("name", "digest") if key in model},
        "stages": [
            {
                "stage": one.stage,
                "dimensions": one.channels,
                "stride_px": one.stride_px,
                "data_type": one.dtype,
                "gsd": _gsd(one),
            }
            for one in maps
        ],
        "scene": {key: scene[key] for key in read if key in scene},
        "tiling": _part(embedding, "tiling"),
        "engine": _part(embedding, "engine"),
        "datetime_evidence": when.evidence,
    }


def _quantization(embedding: Embedding) -> dict[str, Any]:
    """Return how int8 is turned into features; nothing for floats."""
    if embedding.dtype != "int8":
        return {}
    said: dict[str, Any] = {
        "method": "linear",
        "original_dtype": "float32",
        "quantized_dtype": "int8",
        "offset": [0],
    }
    if embedding.scale is None:
        said["method"] = "linear, the scale of each cell is in quality/scale"
    else:
        said["scale"] = [embedding.scale]
    return {"emb:quantization": said}


def _links(embedding: Embedding) -> list[dict[str, str]]:
    """Return a link to the model by its digest, if the store tells it."""
    if not embedding.model_digest:
        return []
    return [
        {
            "rel": "emb:model",
            "href": f"urn:{embedding.model_digest}",
            "title": embedding.model_name,
        }
    ]


def _asset(embedding: Embedding) -> dict[str, Any]:
    """Return the asset of one stage."""
    inside = embedding.group_path
    whole = f"./{embedding.path.name}"
    return {
        "href": f"{whole}/{inside}" if inside else whole,
        "type": ZARR,
        "title": f"Embeddings of stage {embedding.stage}",
        "roles": ["data"],
        "data_type": embedding.dtype,
        "nodata": NODATA_INT8 if embedding.dtype == "int8" else "nan",
        "gsd": _gsd(embedding),
        **_grid(embedding),
    }
