"""Writes a tiny data set in the published MMEarth layout, by hand.

Not through `mmearth make-dataset`, so that what reads is tested apart from what
writes. Every modality has missing values.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mmearth_training.modalities import MODALITIES, STORED_BANDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CLOUDS = (
    ("sentinel2_cloudmask", "uint16"),
    ("sentinel2_cloudprod", "uint16"),
    ("sentinel2_scl", "uint8"),
)


def write_dataset(
    folder: Path,
    *,
    tiles: int = 12,
    tile_px: int = 128,
    seed: int = 0,
    name: str | None = None,
    leave_out: Collection[str] = (),
    arrays: Mapping[str, NDArray[Any]] | None = None,
    levels: Sequence[str] | None = None,
    splits: Any = None,  # noqa: ANN401 -- tests write nonsense too
    statistics: Mapping[str, Any] | None = None,
    provenance: Any = None,  # noqa: ANN401
    compression: str | None = "gzip",
) -> Path:
    """Write `folder/NAME.h5` and its JSON files; return the folder.

    Args:
        folder: Is created.
        tiles: Rows of the file, at least 3.
        tile_px: Side of a tile.
        seed: Seed of the values.
        name: NAME; None for the folder's own.
        leave_out: Datasets that are not written.
        arrays: Datasets that replace the random ones, by name.
        levels: Product level of each tile; None for `l2a` and `l1c` in turns.
        splits: Replaces the content of NAME_splits.json.
        statistics: Replaces keys of NAME_band_stats.json; None removes one.
        provenance: Content of NAME_provenance.json, which is written if there is any.
        compression: Filter of the datasets.

    """
    folder.mkdir(parents=True, exist_ok=True)
    name = name or folder.name
    levels = list(levels or [("l2a", "l1c")[row % 2] for row in range(tiles)])
    values = tile_values(tiles, tile_px, levels, seed=seed) | dict(arrays or {})
    ids = [f"tile_{seed}_{row:04d}" for row in range(tiles)]
    with h5py.File(folder / f"{name}.h5", "w") as file:
        for key, array in values.items():
            if key not in leave_out:
                file.create_dataset(
                    key,
                    data=array,
                    chunks=(1, *array.shape[1:]),
                    compression=compression,
                )
        if "metadata" not in leave_out:
            kind = np.dtype([("tile_id", "S100"), ("S2_type", "S10")])
            rows = np.array(list(zip(ids, levels, strict=True)), dtype=kind)
            file.create_dataset("metadata", data=rows, chunks=(1,), compression="gzip")
    held_out = max(tiles // 6, 1)
    if splits is None:
        splits = {
            "train": list(range(tiles - 2 * held_out)),
            "val": list(range(tiles - 2 * held_out, tiles - held_out)),
            "test": list(range(tiles - held_out, tiles)),
        }
    stats = band_statistics(values, levels) | dict(statistics or {})
    stats = {key: value for key, value in stats.items() if value is not None}
    info = {
        tile: {"S2_type": level, "S2_DATE": "2019-07-16", "lat": 1.0, "lon": 2.0}
        for tile, level in zip(ids, levels, strict=True)
    }
    _write_json(folder / f"{name}_splits.json", splits)
    _write_json(folder / f"{name}_band_stats.json", stats)
    _write_json(folder / f"{name}_tile_info.json", info)
    if provenance is not None:
        _write_json(folder / f"{name}_provenance.json", provenance)
    return folder


def tile_values(
    tiles: int, tile_px: int, levels: Sequence[str], *, seed: int
) -> dict[str, NDArray[Any]]:
    """Return every dataset of the h5 file but `metadata`, as stored."""
    rng = np.random.default_rng(seed)
    wide = (tile_px, tile_px)
    land = _smooth(rng, tiles, tile_px)  # what the modalities have in common, 0 to 1
    bands = np.linspace(500, 4000, len(STORED_BANDS))[:, None, None]
    sentinel2 = bands * (0.3 + land[:, None]) + rng.normal(0, 50, (tiles, 13, *wide))
    sentinel2 = np.clip(sentinel2, 1, 12000).astype("uint16")
    sentinel2[[level == "l2a" for level in levels], STORED_BANDS.index("B10")] = 0
    sentinel2[0, :, :5, :7] = 0
    sentinel1 = -20 + 12 * land[:, None] + rng.normal(0, 2, (tiles, 8, *wide))
    sentinel1 = sentinel1.astype("float32")
    sentinel1[: tiles // 2, 2:4] = -np.inf
    sentinel1[1, :, 3:9] = -np.inf
    aster = np.stack([3000 * land, 40 * land], axis=1).astype("int16")
    aster[1, :, 4:9, 2:8] = -32768
    canopy = np.stack([60 * land, 9 * land], axis=1).astype("int8")
    canopy[2 % tiles, :, :6] = 127  # what HDF5 makes of 255 in int8
    world = 1 + (land * 8.99).astype("uint8")
    world[3 % tiles, 5:9] = 0
    codes = np.array(MODALITIES["esa_worldcover"].codes, "uint8")
    cover = codes[(land * 10.99).astype(int)]
    cover[3 % tiles, :, 5:9] = 255
    cover[1, :3, :3] = 0
    era5 = rng.normal(280, 9, (tiles, 12)).astype("float32")
    era5[0, 3] = np.nan
    values: dict[str, NDArray[Any]] = {
        "sentinel2": sentinel2,
        "sentinel1": sentinel1,
        "aster": aster,
        "canopy_height_eth": canopy,
        "dynamic_world": world[:, None],
        "esa_worldcover": cover[:, None],
        "era5": era5,
        "biome": np.eye(14, dtype="uint8")[rng.integers(14, size=tiles)],
        "eco_region": np.eye(846, dtype="uint16")[rng.integers(846, size=tiles)],
    }
    for key in ("lat", "lon", "month"):
        angle = rng.uniform(-np.pi, np.pi, tiles)
        values[key] = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype("float32")
    values["biome"][2 % tiles] = 255  # a row without a class
    values["eco_region"][2 % tiles] = 65535
    values["month"][1] = -np.inf
    values["lat"][1], values["lon"][1] = np.nan, np.nan
    values |= {key: np.zeros((tiles, 1, *wide), dtype) for key, dtype in CLOUDS}
    return values


def band_statistics(
    values: Mapping[str, NDArray[Any]], levels: Sequence[str]
) -> dict[str, dict[str, list[float]]]:
    """Return NAME_band_stats.json over all tiles, as published: B10 of L2A is NaN."""
    stats = {}
    for name, modality in MODALITIES.items():
        if modality.kind == "categorical" or name not in values:
            continue
        array = values[name].astype("float64")
        array[np.isin(array, modality.nodata) | ~np.isfinite(array)] = np.nan
        if name != "sentinel2":
            stats[name] = _figures(array)
            continue
        for level in set(levels):
            stats[f"{name}_{level}"] = _figures(array[[one == level for one in levels]])
    return stats


def _figures(array: NDArray[np.float64]) -> dict[str, list[float]]:
    axes = (0, *range(2, array.ndim))
    empty = np.isnan(array).all(axis=axes)
    kept = np.where(empty.reshape(1, -1, *[1] * (array.ndim - 2)), 0, array)
    figures = {
        key: np.where(empty, np.nan, function(kept, axis=axes)).tolist()
        for key, function in (("mean", np.nanmean), ("std", np.nanstd))
    }
    figures["min"] = np.where(empty, np.inf, np.nanmin(kept, axis=axes)).tolist()
    figures["max"] = np.where(empty, -np.inf, np.nanmax(kept, axis=axes)).tolist()
    return figures


def _smooth(rng: np.random.Generator, tiles: int, tile_px: int) -> NDArray[np.float64]:
    """Return `(tiles, tile_px, tile_px)` in patches of 16 px, from 0 to below 1."""
    coarse = rng.random((tiles, tile_px // 16, tile_px // 16))
    fine = coarse.repeat(16, axis=1).repeat(16, axis=2)
    return 0.9 * fine + 0.0999 * rng.random((tiles, tile_px, tile_px))


def _write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(content))
