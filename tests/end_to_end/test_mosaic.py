"""Scenes that overlap become one store a zone, which opens wherever stores do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import xarray
from affine import Affine

from mmearth_infer.errors import SceneError
from mmearth_infer.jobs.mosaic import merge_zone
from mmearth_infer.jobs.zones import zones_of
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.run.embed import embed
from mmearth_infer.view.stac_item import item
from mmearth_infer.write.open_store import open_store
from tests.helpers.data import MAJORTOM, needs_data
from tests.helpers.models import two_stage_manifest, write_echo_model
from tests.helpers.scenes import random_dn, write_scene
from tests.helpers.zones import Raw, by_the_law, raw
from tests.mmearth_infer.probe.made import write_probe
from tests.mmearth_infer.write.test_store import needs_gdal_zarr_3

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.conftest import Ran

SNAPPED = SceneOptions(snap_px=16)
LEFT, TOP = 362_610, 1_987_090
"""Corner of all scenes, 7 columns and 1 row short of a corner of cells of 16 px."""

CUTS = ((0, 0, 300, 320), (131, 77, 330, 400), (40, 250, 280, 250))
"""Row, column, height and width of scenes that overlap."""


def place(row: int = 0, col: int = 0) -> Affine:
    return Affine(10, 0, LEFT + 10 * col, 0, -10, TOP - 10 * row)


def embedded(
    scene: Path, model: Path | None = None, *, options: SceneOptions = SNAPPED
) -> Path:
    """Embed a scene beside it."""
    out = scene.with_suffix(".zarr")
    more = {} if model is None else {"model": model}
    embed(
        EmbedConfig(
            scene=str(scene),
            out=out,
            options=options,
            window_px=128,
            halo_px=32,
            **more,  # type: ignore[arg-type]  # one path
        )
    )
    return out


def cut(folder: Path, dn: NDArray[np.uint16], *, crs: str = "EPSG:32648") -> list[Path]:
    """Write overlapping scenes of an image, the first with holes as of clouds."""
    paths = []
    for number, (row, col, height, width) in enumerate(CUTS):
        pixels = dn[:, row : row + height, col : col + width].copy()
        if number == 0:
            clouds = np.random.default_rng(0).random((height // 20, width // 20)) < 0.4
            pixels[:, clouds.repeat(20, 0).repeat(20, 1)] = 0
        path = folder / f"{crs[5:]}-{number}.tif"
        paths.append(write_scene(path, pixels, crs=crs, transform=place(row, col)))
    return paths


def test_a_snapped_scene_is_one_that_was_cut_by_hand(tmp_path: Path) -> None:
    """Cell for cell, with an encoder that looks around."""
    dn = random_dn(height=250, width=270)
    whole = write_scene(tmp_path / "whole.tif", dn, crs="EPSG:32648", transform=place())
    rows = next(n for n in range(16) if (TOP - 10 * n) % 160 == 0)
    cols = next(n for n in range(16) if (LEFT + 10 * n) % 160 == 0)
    assert rows
    assert cols
    by_hand = write_scene(
        tmp_path / "by_hand.tif",
        dn[:, rows:, cols:],
        crs="EPSG:32648",
        transform=place(rows, cols),
    )
    found = raw(embedded(whole))
    found.equals(raw(embedded(by_hand, options=SceneOptions())))
    assert found.values.shape[1:] == (-(-(250 - rows) // 16), -(-(270 - cols) // 16))


@needs_data
def test_real_scenes_that_overlap(tmp_path: Path, echo_model: Path) -> None:
    """In two zones. Where a scene saw the whole cell, it is the mean of the image."""
    with rasterio.open(MAJORTOM) as file:
        dn = file.read()[:, :512, :512]
    scenes = [
        p for crs in ("EPSG:32648", "EPSG:32649") for p in cut(tmp_path, dn, crs=crs)
    ]
    zones = zones_of([embedded(path, echo_model) for path in scenes], tmp_path)
    assert [zone.name for zone in zones] == ["zone-32648", "zone-32649"]
    for zone in zones:
        merged = merge_zone(zone)
        found = raw(zone.out)
        found.equals(by_the_law([raw(path) for path in zone.stores], np.nan))
        assert merged.valid_cells == (found.valid > 0).sum()
        top, left = (TOP + 160 * found.row) // 10, (160 * found.col - LEFT) // 10
        seen = 0
        for row, col in zip(*np.nonzero(found.valid == 1), strict=True):
            r, c = top + 16 * row, left + 16 * col
            mean = dn[:, r : r + 16, c : c + 16].mean(axis=(1, 2))
            np.testing.assert_allclose(found.values[:, row, col], mean, rtol=1e-5)
            seen += 1
        assert seen > 600
        first = raw(zone.stores[0])
        assert (first.valid == 0).any()
        assert ((first.valid > 0) & (first.valid < 1)).any()
    assert raw(zones[0].out).values.tobytes() == raw(zones[1].out).values.tobytes()


@needs_data
def test_a_real_scene_beside_the_grid_is_refused(tmp_path: Path) -> None:
    """Its corner is at 362612.2 m."""
    with pytest.raises(SceneError, match="no multiples of its pixels") as caught:
        embed(
            EmbedConfig(scene=str(MAJORTOM), out=tmp_path / "s.zarr", options=SNAPPED)
        )
    assert "gdalwarp -tap" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory, echo_model: Path) -> Path:
    """The mosaic of three scenes."""
    folder = tmp_path_factory.mktemp("mosaic")
    scenes = cut(folder, random_dn(height=512, width=512))
    (zone,) = zones_of([embedded(path, echo_model) for path in scenes], folder)
    merge_zone(zone)
    return zone.out


def test_it_opens_in_xarray(mosaic: Path) -> None:
    found = raw(mosaic)
    with xarray.open_zarr(mosaic) as store:
        assert store["embedding"].rio.crs.to_epsg() == 32648
        transform = store["embedding"].rio.transform()
        assert (transform.c, transform.f) == (160 * found.col, -160 * found.row)
        np.testing.assert_array_equal(store["embedding"], found.values)
    lazy = open_store(mosaic).to_xarray()
    np.testing.assert_array_equal(lazy, found.values)


@needs_gdal_zarr_3
def test_it_opens_in_gdal(mosaic: Path) -> None:
    found = raw(mosaic)
    with rasterio.open(mosaic) as file:
        assert file.crs.to_epsg() == 32648
        assert file.transform.c == 160 * found.col
        np.testing.assert_array_equal(file.read(), found.values)


def test_commands_take_it(
    mosaic: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    said = mmearth("info", mosaic, "--json")
    assert said.code == 0, said.stderr
    assert said.report["scene"] == "zone-32648"
    ran = mmearth("view", mosaic, "-o", tmp_path / "p.png")
    assert ran.code == 0, ran.stderr
    digest = open_store(mosaic).model_digest
    write_probe(tmp_path / "p.onnx", channels=12, digest=digest, scale=3000)
    out = tmp_path / "m.tif"
    ran = mmearth("probe", "apply", mosaic, "--probe", tmp_path / "p.onnx", "-o", out)
    assert ran.code == 0, ran.stderr
    with rasterio.open(out) as file:
        classes = file.read(1)
    np.testing.assert_array_equal(classes == 255, np.isnan(raw(mosaic).values[0]))
    described = item(mosaic)
    assert described["properties"]["emb:runtime_parameters"]["scene"]["name"]


def test_stages_are_of_one_scene(tmp_path: Path) -> None:
    """The scene that has the coarse cell has the fine ones in it."""
    model = write_echo_model(tmp_path / "two.onnx", two_stage_manifest())
    stores = []
    for scene in cut(tmp_path, random_dn(height=512, width=512)):
        out = scene.with_suffix(".zarr")
        embed(
            EmbedConfig(
                scene=str(scene), out=out, model=model, stages=(2, 4), options=SNAPPED
            )
        )
        stores.append(out)
    (zone,) = zones_of(stores, tmp_path)
    merge_zone(zone)
    coarse = [raw(path / "stage4") for path in stores]
    fine = [raw(path / "stage2") for path in stores]
    found, made = raw(zone.out / "stage4"), raw(zone.out / "stage2")
    found.equals(by_the_law(coarse, np.nan))
    assert (made.row, made.col) == (4 * found.row, 4 * found.col)
    assert made.valid.shape == tuple(4 * side for side in found.valid.shape)
    for row, col in np.ndindex(found.valid.shape):
        part = squares(made, 4 * (row + found.row), 4 * (col + found.col))
        if not found.valid[row, col] > 0:
            assert np.isnan(part[1:]).all()
            continue
        reached = [
            n
            for n, one in enumerate(coarse)
            if 0 <= row + found.row - one.row < one.valid.shape[0]
            and 0 <= col + found.col - one.col < one.valid.shape[1]
        ]
        owner = max(
            reached,
            key=lambda n: coarse[n].valid[
                row + found.row - coarse[n].row, col + found.col - coarse[n].col
            ],
        )
        expected = squares(fine[owner], 4 * (row + found.row), 4 * (col + found.col))
        np.testing.assert_array_equal(part, expected)


def squares(store: Raw, row: int, col: int) -> NDArray[np.float32]:
    """Return shares and values of the 4 x 4 cells at a place of the common grid."""
    rows = slice(row - store.row, row - store.row + 4)
    cols = slice(col - store.col, col - store.col + 4)
    return np.concatenate([store.valid[None, rows, cols], store.values[:, rows, cols]])
