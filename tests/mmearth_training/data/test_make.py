"""A data set made of scenes: real where it says so, learnable where it does not."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine

from mmearth_infer.errors import DataError, StoreError
from mmearth_training.data.folder import check_folder, open_folder
from mmearth_training.data.make import Made, MakeConfig, make_dataset
from mmearth_training.data.scenes import SceneOptions
from mmearth_training.data.splits import Shares
from mmearth_training.modalities import MODALITIES, STORED_BANDS
from tests.conftest import Ran
from tests.helpers.data import MAJORTOM, SEN1FLOODS, needs_data
from tests.helpers.scenes import UTM, random_dn, write_scene

REAL = {"sentinel2", "lat", "lon"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scene in overlapping tiles of 64 px, half of them held out."""
    out = tmp_path_factory.mktemp("made") / "demo"
    config = MakeConfig(
        scenes=("demo",), out=out, tile_px=64, shares=Shares(val=0.2, test=0.2)
    )
    make_dataset(config)
    return out


def read_json(folder: Path, kind: str) -> Any:  # noqa: ANN401
    return json.loads((folder / f"{folder.name}_{kind}.json").read_text())


def make(folder: Path, *scenes: Path, **settings: Any) -> Made:  # noqa: ANN401
    return make_dataset(
        MakeConfig(
            scenes=tuple(map(str, scenes)),
            out=folder / "out",
            **{"tile_px": 64, **settings},
        )
    )


def test_it_is_a_data_set(demo: Path) -> None:
    folder = open_folder(demo)
    assert check_folder(folder, tuple(MODALITIES)) == 64
    assert set(MODALITIES) == set(folder.synthetic) | REAL
    assert all(folder.splits.values())


def test_every_dataset_says_whether_it_is_synthetic(demo: Path) -> None:
    provenance = read_json(demo, "provenance")
    with h5py.File(demo / "demo.h5") as file:
        for name in MODALITIES:
            dataset = file[name]
            assert bool(dataset.attrs.get("synthetic")) == (name not in REAL)
            assert dataset.attrs.get("how") == provenance["synthetic"].get(name)
            assert dataset.dtype == MODALITIES[name].dtype
            assert dataset.chunks == (1, *dataset.shape[1:])
            assert dataset.compression == "gzip"


def test_pixels_and_place_are_the_scenes_own(tmp_path: Path) -> None:
    """By band name, whatever the order of the file; B10 of L2A is 0."""
    pixels = random_dn(height=130, width=200)
    scene = write_scene(tmp_path / "s.tif", pixels)
    make(tmp_path, scene, shares=Shares(val=0, test=0))
    with rasterio.open(scene) as file:
        names = file.descriptions
        corner = file.transform
    with h5py.File(tmp_path / "out" / "out.h5") as file:
        stored, lat = file["sentinel2"][:], file["lat"][:]
        levels = {row["S2_type"] for row in file["metadata"][:]}
    assert levels == {b"l2a"}
    info = list(read_json(tmp_path / "out", "tile_info").values())
    assert len(stored) == len(info) == 2 * 3
    for tile, facts in zip(stored, info, strict=True):
        there = np.s_[
            facts["row"] : facts["row"] + 64, facts["col"] : facts["col"] + 64
        ]
        for band, name in enumerate(STORED_BANDS):
            expected = pixels[names.index(name)][there] if name in names else 0
            np.testing.assert_array_equal(tile[band], expected)
    x, y = corner @ (32, 32)
    (lon,), (lat_deg,) = rasterio.warp.transform("EPSG:32633", "EPSG:4326", [x], [y])
    assert info[0]["lat"] == pytest.approx(lat_deg)
    assert info[0]["lon"] == pytest.approx(lon)
    np.testing.assert_allclose(
        lat[0], [np.sin(np.radians(lat_deg)), np.cos(np.radians(lat_deg))], rtol=1e-6
    )


@pytest.mark.parametrize("stride_px", [32, 48, 64])
def test_no_held_out_tile_shares_a_pixel_with_another_split(
    tmp_path: Path, stride_px: int
) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=300, width=280))
    make(tmp_path, scene, stride_px=stride_px, shares=Shares(val=0.25, test=0.25))
    info = list(read_json(tmp_path / "out", "tile_info").values())
    taken = {}
    for split, rows in read_json(tmp_path / "out", "splits").items():
        taken[split] = np.zeros((300, 280), bool)
        for row in rows:
            top, left = info[row]["row"], info[row]["col"]
            taken[split][top : top + 64, left : left + 64] = True
        assert taken[split].any()
    for one, other in combinations(taken.values(), 2):
        assert not (one & other).any()


def test_scenes_of_the_same_ground_share_their_splits(tmp_path: Path) -> None:
    """On one grid block by block; on shifted grids as a whole."""
    pixels = random_dn(height=256, width=384)
    one = write_scene(tmp_path / "1.tif", pixels)
    same = write_scene(tmp_path / "2.tif", pixels)
    make(tmp_path, one, same, shares=Shares(val=0.3, test=0))
    splits = read_json(tmp_path / "out", "splits")
    half = 4 * 6
    for rows in splits.values():
        assert {row % half for row in rows if row < half} == {
            row % half for row in rows if row >= half
        }
    shifted = write_scene(
        tmp_path / "3.tif", pixels, transform=Affine.translation(70, 0) @ UTM
    )
    far = write_scene(
        tmp_path / "4.tif", pixels, transform=Affine.translation(90000, 0) @ UTM
    )
    make(tmp_path / "b", one, shifted, far, shares=Shares(val=0.3, test=0.0))
    splits = read_json(tmp_path / "b" / "out", "splits")
    of = {row: split for split, rows in splits.items() for row in rows}
    assert len({of[row] for row in range(2 * half)}) == 1


def test_the_same_scene_and_seed_give_the_same(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=140, width=270))
    make(tmp_path / "a", scene, seed=3)
    make(tmp_path / "b", scene, seed=3)
    make(tmp_path / "c", scene, seed=4)
    files = [h5py.File(tmp_path / one / "out" / "out.h5") for one in "abc"]
    for name in MODALITIES:
        np.testing.assert_array_equal(files[0][name][:], files[1][name][:])
    assert (files[0]["sentinel1"][:] != files[2]["sentinel1"][:]).any()
    for file in files:
        file.close()
    for kind in ("splits", "band_stats", "tile_info", "provenance"):
        texts = [
            (tmp_path / one / "out" / f"out_{kind}.json").read_text() for one in "ab"
        ]
        assert texts[0] == texts[1]


def test_values_are_plausible_and_some_are_missing(demo: Path) -> None:
    ranges = {
        "sentinel1": (-60, 20),
        "aster": (0, 4000),
        "canopy_height_eth": (0, 60),
        "era5": (0, 330),
        "month": (-1, 1),
    }
    with h5py.File(demo / "demo.h5") as file:
        for name, (low, high) in ranges.items():
            values = file[name][:].astype("float64")
            missing = ~np.isfinite(values) | np.isin(values, MODALITIES[name].nodata)
            assert low <= values[~missing].min() < values[~missing].max() <= high
            assert missing.any() == (name != "month")
        for name in ("dynamic_world", "esa_worldcover"):
            values, modality = file[name][:], MODALITIES[name]
            assert np.isin(values, (*modality.codes, *modality.nodata)).all()
            assert np.isin(values, modality.nodata).any()
            assert len(np.intersect1d(values, modality.codes)) >= 5
        for name in ("biome", "eco_region"):
            rows = file[name][:]
            assert set(rows.sum(axis=1)) == {0, 1}
            assert (rows.sum(axis=0) > 0).sum() >= 5


def test_both_land_covers_show_the_same(demo: Path) -> None:
    with h5py.File(demo / "demo.h5") as file:
        world, cover = (file[name][:] for name in ("dynamic_world", "esa_worldcover"))
    both = (world > 0) & (cover < 255)
    pairs = set(zip(world[both].tolist(), cover[both].tolist(), strict=True))
    assert (
        len(pairs) == len({one for one, _ in pairs}) == len({two for _, two in pairs})
    )


def test_targets_can_be_learnt_from_the_bands(demo: Path) -> None:
    """A linear fit on training tiles beats the mean on tiles that are held out."""
    splits = read_json(demo, "splits")
    with h5py.File(demo / "demo.h5") as file:
        dn = file["sentinel2"][:].astype("float64").mean(axis=(2, 3))
        radar = file["sentinel1"][:, :2].mean(axis=(2, 3))
        era5 = file["era5"][:]
    for targets in (radar, era5):
        train = [row for row in splits["train"] if np.isfinite(targets[row]).all()]
        held = [row for row in splits["val"] if np.isfinite(targets[row]).all()]
        design = np.column_stack([dn / 1000, np.ones(len(dn))])
        weights = np.linalg.lstsq(design[train], targets[train], rcond=None)[0]
        error = ((design[held] @ weights - targets[held]) ** 2).mean()
        assert error < 0.8 * ((targets[held] - targets[train].mean(0)) ** 2).mean()


@needs_data
def test_real_scenes_of_both_levels(tmp_path: Path) -> None:
    make(tmp_path, MAJORTOM, SEN1FLOODS, tile_px=128)
    folder = open_folder(tmp_path / "out")
    assert check_folder(folder, tuple(MODALITIES)) == 128
    assert {"sentinel2_l1c", "sentinel2_l2a"} <= set(folder.statistics)


def test_a_scene_with_a_date_has_a_real_month(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("mmearth"), "propagate", True)
    name = "S2A_MSIL2A_20200223T034759_N0214_R104_T48QUE_20200223T073154.tif"
    scene = write_scene(tmp_path / name, random_dn(height=64, width=64))
    made = make(tmp_path, scene)
    assert "month" not in made.synthetic
    with h5py.File(tmp_path / "out" / "out.h5") as file:
        np.testing.assert_allclose(
            file["month"][0], [np.sin(np.pi / 3), np.cos(np.pi / 3)], rtol=1e-6
        )
    assert "nothing is left for split `val`" in caplog.text
    assert "biome, eco_region are synthetic" in caplog.text


def test_tiles_with_gaps_are_left_out(tmp_path: Path) -> None:
    pixels = random_dn(height=64, width=192)
    pixels[:, :, :20] = 0
    pixels[:, :5, 70:90] = 0
    made = make(tmp_path, write_scene(tmp_path / "s.tif", pixels))
    assert (made.missing, sum(made.tiles.values())) == (1, 2)


def nothing_there(folder: Path) -> None:
    assert [path.name for path in folder.iterdir() if path.suffix != ".tif"] == []


def test_what_cannot_be_cut(tmp_path: Path) -> None:
    """Is said, and leaves nothing behind."""
    scene = write_scene(tmp_path / "s.tif", random_dn(height=60, width=60))
    with pytest.raises(DataError, match="no tile of 64 px fits"):
        make(tmp_path, scene)
    bare = random_dn(height=64, width=64)
    bare[:, :32] = 0
    with pytest.raises(DataError, match="no tile to train on: more than 10%"):
        make(tmp_path, write_scene(tmp_path / "gaps.tif", bare))
    few = write_scene(tmp_path / "f.tif", bare[:3], bands=("B2", "B3", "B4"))
    with pytest.raises(DataError, match=r"`f.tif` lacks B1, B5, B6"):
        make(tmp_path, few, options=SceneOptions(product="l2a"))
    with pytest.raises(DataError, match="tiles of 96 px are not published"):
        make(tmp_path, scene, tile_px=96)
    with pytest.raises(DataError, match="a stride of 0 px"):
        make(tmp_path, scene, stride_px=0)
    with pytest.raises(DataError, match="`a/b` cannot be the name"):
        make(tmp_path, scene, name="a/b")
    nothing_there(tmp_path)


def test_only_a_data_set_of_ours_is_replaced(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=64, width=64))
    make(tmp_path, scene)
    with pytest.raises(StoreError, match="exists already") as caught:
        make(tmp_path, scene)
    assert "--overwrite" in (caught.value.hint or "")
    make(tmp_path, scene, overwrite=True, name="other")
    assert (tmp_path / "out" / "other.h5").exists()
    assert not (tmp_path / "out" / "out.h5").exists()
    (tmp_path / "out" / "other_provenance.json").unlink()
    with pytest.raises(StoreError, match="is not a data set made by mmearth"):
        make(tmp_path, scene, overwrite=True)
    assert (tmp_path / "out" / "other.h5").exists()


def test_a_failed_overwrite_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=64, width=64))
    make(tmp_path, scene)
    before = (tmp_path / "out" / "out.h5").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmearth_training.data.make.compute_statistics", full)
    with pytest.raises(StoreError, match="No space left on device"):
        make(tmp_path, scene, overwrite=True)
    assert (tmp_path / "out" / "out.h5").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "s.tif"]


def test_what_a_killed_run_left_is_cleared_away(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=64, width=64))
    make(tmp_path, scene)
    (tmp_path / "out").rename(tmp_path / "out.partial")
    make(tmp_path, scene)
    assert not (tmp_path / "out.partial").exists()
    foreign = tmp_path / "b" / "out.partial"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="is in the way"):
        make(tmp_path / "b", scene)
    assert (foreign / "thesis.txt").exists()


def test_the_command_line(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=128, width=256))
    args = ("make-dataset", scene, "-o", tmp_path / "out", "--tile", 64)
    ran = mmearth(*args, "--json", "--date", "2020-02-23", "--stride", 32)
    assert ran.code == 0, ran.stderr
    assert ran.report["tiles"]["train"] > 0
    assert "warning: sentinel1, aster," in ran.stderr
    assert mmearth(*args).code == 1
    quiet = mmearth(*args, "--overwrite", "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")
    loud = mmearth(*args, "--overwrite")
    assert f"{tmp_path / 'out'}: 4 train, 2 val, 2 test tiles" in loud.stderr


@pytest.mark.parametrize("most", [1_000, 40_000])
def test_a_full_disk_ends_in_order(most: int, tmp_path: Path) -> None:
    """A real limit on the size of files, in a process of its own."""
    code = """
import pathlib, resource, sys
from mmearth_infer.errors import StoreError
from mmearth_training.data.make import MakeConfig, make_dataset
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    make_dataset(MakeConfig(scenes=("demo",), out=pathlib.Path(sys.argv[1], "o")))
except StoreError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(most)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"cannot write `{tmp_path}/o`: File too large"
    assert not done.stderr
    assert not list(tmp_path.iterdir())


def test_every_level_is_trained_on(tmp_path: Path) -> None:
    """Also one that a single small scene is of."""
    name = "S2A_MSI{}_20200223T034759_N0214_R104_T48QUE_20200223T073154.tif"
    large = write_scene(tmp_path / name.format("L2A"), random_dn(height=256, width=256))
    small = write_scene(
        tmp_path / name.format("L1C"),
        random_dn(height=64, width=64),
        transform=Affine(10, 0, 600_000, 0, -10, 5_000_000),
    )
    for seed in range(4):
        make(tmp_path, large, small, seed=seed, overwrite=True, tile_px=64)
        assert set(read_json(tmp_path / "out", "band_stats")) >= {
            "sentinel2_l1c",
            "sentinel2_l2a",
        }
