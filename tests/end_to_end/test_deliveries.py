"""One scene, however it is delivered: the same embedding, from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import xarray
from rasterio.windows import Window as RasterWindow

from tests.helpers.data import DATA, MAJORTOM, needs_data
from tests.helpers.safe import (
    padded,
    read_folder,
    small_bands,
    write_item,
    write_safe,
    zip_safe,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Ran

FOLDER = DATA / "majortom_199U_1099R"


def embedded(mmearth: Callable[..., Ran], out: Path, *args: object) -> np.ndarray:
    ran = mmearth("embed", *args, "-o", out, "-q")
    assert ran.code == 0, ran.stderr
    with xarray.open_zarr(out) as store:
        return store["embedding"].to_numpy()


@needs_data
def test_a_real_scene_by_every_delivery(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """Folder, .SAFE, zip, STAC item, and the .SAFE with +1000 and baseline 05.09."""
    bands = read_folder(FOLDER)
    safe = write_safe(tmp_path / "a", bands)
    raised = write_safe(
        tmp_path / "b",
        bands,
        baseline="05.09",
        offset=-1000,
        change=lambda dn: dn + 1000,
    )
    hrefs = {name: f"{FOLDER}/{padded(name)}.tif" for name in bands}
    item = write_item(tmp_path / "item.json", hrefs)
    expected = embedded(mmearth, tmp_path / "0.zarr", FOLDER)
    for n, scene in enumerate((safe, zip_safe(safe), item, raised), start=1):
        found = embedded(mmearth, tmp_path / f"{n}.zarr", scene)
        np.testing.assert_array_equal(found, expected)
    told = mmearth("info", raised, "--json").report
    assert told["offset"].startswith("-1000: BOA_ADD_OFFSET")


@needs_data
def test_both_levels_of_a_place_have_their_own_statistics(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """2020-06-04 in both: the level is found, and decides what standardises."""
    made = {}
    for level, folder in (("l1c", "s2c"), ("l2a", "s2a")):
        (scene,) = (DATA / "ssl4eo" / folder).glob("*/*20200604*")
        assert (
            mmearth("info", scene, "--json").report["product level"].startswith(level)
        )
        made[level] = embedded(mmearth, tmp_path / f"{level}.zarr", scene)
        other = "l2a" if level == "l1c" else "l1c"
        forced = embedded(
            mmearth, tmp_path / f"{level}-as.zarr", scene, "--product", other
        )
        assert not np.array_equal(forced, made[level], equal_nan=True)


@needs_data
def test_a_scene_cut_in_two_is_the_scene(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """Two files that overlap, given as one mosaic."""
    with rasterio.open(MAJORTOM) as file:
        for name, first, rows in (("north", 0, 640), ("south", 512, file.height - 512)):
            window = RasterWindow(0, first, file.width, rows)
            profile = {
                **file.profile,
                "height": rows,
                "transform": file.window_transform(window),
            }
            with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as part:
                part.write(file.read(window=window))
                part.descriptions = file.descriptions
    whole = embedded(mmearth, tmp_path / "whole.zarr", MAJORTOM)
    parts = [tmp_path / "north.tif", tmp_path / "south.tif"]
    found = embedded(mmearth, tmp_path / "parts.zarr", *parts)
    np.testing.assert_array_equal(found, whole)


def test_clouds_are_masked_by_the_scene_classes(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """Cells under cloud are nodata, and `valid` is the share that is left."""
    scl = np.full((36, 36), 4, np.uint8)
    scl[:16, :16] = 9  # 320 m, two cells of 16 px
    scl[20, 20] = 3
    safe = write_safe(tmp_path, small_bands(), scl=scl)
    plain = embedded(mmearth, tmp_path / "plain.zarr", safe)
    out = tmp_path / "masked.zarr"
    masked = embedded(mmearth, out, safe, "--mask", "cloud,shadow")
    assert np.isfinite(plain[:, 0, 0]).all()
    assert np.isnan(masked[:, :2, :2]).all()
    with xarray.open_zarr(out / "quality") as quality:
        valid = quality["valid"].to_numpy()
    assert (valid[:2, :2] == 0).all()
    assert valid[2, 2] == pytest.approx(1 - 4 / 256)
    none = mmearth("embed", "demo", "-o", tmp_path / "x.zarr", "--mask", "cloud")
    assert none.code == 1
    assert "hint: " in none.stderr
