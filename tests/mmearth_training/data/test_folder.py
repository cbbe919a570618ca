"""A data set on disk: its files are checked, its tiles stay closed."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mmearth_infer.errors import DataError
from mmearth_training.config import Recipe
from mmearth_training.data.folder import (
    check_folder,
    in_another_process,
    open_folder,
    statistics_of,
)
from mmearth_training.loop import levels_of
from mmearth_training.modalities import MODALITIES, MODEL_BANDS, STORED_BANDS
from tests.helpers.mmearth_data import write_dataset

ALL = tuple(MODALITIES)


def raised(path: Path, names: tuple[str, ...] = ALL) -> DataError:
    """What opening and checking a data set raises."""
    with pytest.raises(DataError) as caught:
        check_folder(open_folder(path), names)
    return caught.value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "tiny", tiles=8, tile_px=64)


@pytest.mark.parametrize("tile_px", [64, 128])
def test_a_published_data_set_is_read(tmp_path: Path, tile_px: int) -> None:
    folder = open_folder(write_dataset(tmp_path / "tiny", tiles=6, tile_px=tile_px))
    assert folder.name == "tiny"
    assert not folder.packed
    assert folder.splits == {"train": (0, 1, 2, 3), "val": (4,), "test": (5,)}
    assert folder.synthetic == ()
    assert check_folder(folder, ALL) == tile_px


def test_the_parent_never_loads_h5py(data: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from mmearth_training.data.folder import check_folder, open_folder\n"
        "if __name__ == '__main__':\n"
        "    check_folder(open_folder(Path(sys.argv[1])), ['era5'])\n"
        "    print('h5py' in sys.modules)"
    )
    script = data.parent / "parent.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script, data], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"]


def test_the_h5_itself_names_the_data_set(data: Path) -> None:
    assert open_folder(data / "tiny.h5") == open_folder(data)


def test_the_digest_tells_data_sets_apart(tmp_path: Path, data: Path) -> None:
    same = write_dataset(tmp_path / "a" / "tiny", tiles=8, tile_px=64)
    other = write_dataset(tmp_path / "b" / "tiny", tiles=8, tile_px=64, seed=1)
    splits = {"train": [0, 1, 2, 3, 4, 5], "val": [7], "test": [6]}
    split = write_dataset(tmp_path / "c" / "tiny", tiles=8, tile_px=64, splits=splits)
    digests = {open_folder(path).digest for path in (other, split, data)}
    assert len(digests) == 3
    assert open_folder(same).digest == open_folder(data).digest


def test_statistics_are_found_by_name(data: Path) -> None:
    """Order of the channels asked for, 13 stored bands, 12 as some publish them."""
    folder = open_folder(data)
    raw = json.loads((data / "tiny_band_stats.json").read_text())["sentinel2_l1c"]
    asked = ("B8", "B8A", "B2")
    found = statistics_of(folder, "sentinel2", asked, "l1c")
    rows = [STORED_BANDS.index(band) for band in asked]
    assert found.mean == tuple(raw["mean"][row] for row in rows)
    assert found.std == tuple(raw["std"][row] for row in rows)
    elevation = statistics_of(folder, "aster", ("elevation",), None)
    assert len(elevation.mean) == 1


def test_twelve_bands_of_statistics_are_the_models(tmp_path: Path) -> None:
    twelve = {"mean": list(range(12)), "std": [1.0] * 12}
    path = write_dataset(
        tmp_path / "tiny",
        tiles=4,
        tile_px=64,
        statistics={"sentinel2_l1c": twelve, "sentinel2_l2a": twelve},
    )
    folder = open_folder(path)
    assert check_folder(folder, ("sentinel2",)) == 64
    found = statistics_of(folder, "sentinel2", MODEL_BANDS, "l2a")
    assert found.mean == tuple(range(12))
    with pytest.raises(DataError, match="no statistics of channel `B10`"):
        statistics_of(folder, "sentinel2", STORED_BANDS, "l2a")


def test_a_level_that_does_not_occur_needs_no_statistics(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "tiny", tiles=4, tile_px=64, levels=["l2a"] * 4)
    assert "sentinel2_l1c" not in open_folder(path).statistics
    assert check_folder(open_folder(path), ("sentinel2",)) == 64


def test_published_splits_may_have_train_alone(tmp_path: Path) -> None:
    splits: dict[str, list[int]] = {"train": [3, 1, 2, 0], "val": [], "test": []}
    path = write_dataset(tmp_path / "tiny", tiles=4, tile_px=64, splits=splits)
    assert open_folder(path).splits["train"] == (3, 1, 2, 0)
    assert check_folder(open_folder(path), ALL) == 64


def test_synthetic_modalities_are_told(tmp_path: Path) -> None:
    provenance = {"synthetic": {"era5": "made up", "aster": "made up"}}
    path = write_dataset(tmp_path / "a", tiles=4, tile_px=64, provenance=provenance)
    assert open_folder(path).synthetic == ("aster", "era5")
    path = write_dataset(tmp_path / "b", tiles=4, tile_px=64, provenance=[])
    assert "which modalities are synthetic" in str(raised(path))


NONE: dict[str, list[float]] = {"mean": [1.0], "std": [1.0]}
BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing modality": (
        {"leave_out": ["era5"]},
        "`tiny.h5` has no `era5`",
        "it has aster, biome",
    ),
    "missing metadata": ({"leave_out": ["metadata"]}, "has no `metadata`", "it has"),
    "unlike shape": (
        {"arrays": {"era5": np.zeros((4, 11), "float32")}},
        "`era5` in `tiny.h5` has the shape (4, 11)",
        "beside 4 tiles of 64 px it should be (4, 12)",
    ),
    "twelve bands": (
        {"arrays": {"sentinel2": np.ones((4, 12, 64, 64), "uint16")}},
        "has the shape (4, 12, 64, 64)",
        "should be (4, 13, 64, 64)",
    ),
    "odd tile": (
        {"arrays": {"sentinel2": np.ones((4, 13, 96, 96), "uint16")}},
        "has the shape (4, 13, 96, 96)",
        "(N, 13, 64, 64)",
    ),
    "another count": (
        {"arrays": {"lat": np.zeros((5, 2), "float32")}},
        "`lat` in `tiny.h5` has the shape (5, 2)",
        "should be (4, 2)",
    ),
    "classes as float": (
        {"arrays": {"dynamic_world": np.ones((4, 1, 64, 64), "float32")}},
        "`dynamic_world` in `tiny.h5` is stored as float32",
        "published as uint8",
    ),
    "row beyond the end": (
        {"splits": {"train": [0, 1], "val": [4]}},
        "split `val` of `tiny` has row 4, the data has 4 tiles",
        "different data sets",
    ),
    "negative row": ({"splits": {"train": [0, -1]}}, "has a row `-1`", ""),
    "row that is no number": ({"splits": {"train": [True]}}, "a row `True`", ""),
    "row twice": (
        {"splits": {"train": [0, 1], "test": [1]}},
        "has row 1 in `train` and again in `test`",
        "one split",
    ),
    "no train": ({"splits": {"val": [1]}}, "no split `train`", "maps train"),
    "empty train": ({"splits": {"train": []}}, "`train` in `tiny_splits.json`", ""),
    "split no list": ({"splits": {"train": {"0": 1}}}, "is not a list", ""),
    "no statistics": (
        {"statistics": {"sentinel1": None}},
        "`tiny_band_stats.json` has no statistics of `sentinel1`",
        "came with the data set",
    ),
    "no statistics of a level": (
        {"statistics": {"sentinel2_l1c": None}},
        "has no statistics of `sentinel2_l1c`",
        "came with the data set",
    ),
    "statistics lack a band": (
        {"statistics": {"sentinel2_l2a": {"mean": [1.0] * 11, "std": [1.0] * 11}}},
        "has 11 values of `sentinel2_l2a` for 13 channels",
        "came with the data set",
    ),
    "means without deviations": (
        {"statistics": {"era5": {"mean": [1.0, 2.0], "std": [1.0]}}},
        "has 2 means and 1 standard deviations of `era5`",
        "",
    ),
    "zero deviation": (
        {"statistics": {"aster": {"mean": [1.0, 2.0], "std": [1.0, 0]}}},
        "standard deviation 0.0 for channel `slope` of `aster`",
        "came with the data set",
    ),
    "nan in a band": (
        {"statistics": {"aster": {"mean": [1.0, float("nan")], "std": [1.0, 1.0]}}},
        "mean None and standard deviation 1.0 for channel `slope`",
        "came with the data set",
    ),
    "statistics no numbers": (
        {"statistics": {"aster": {"mean": ["1", "2"], "std": [1.0, 1.0]}}},
        "no list of numbers as `mean` of `aster`",
        "compare",
    ),
    "statistics beyond a float": (
        {"statistics": {"aster": {"mean": [10**400, 2.0], "std": [1.0, 1.0]}}},
        "no list of numbers as `mean` of `aster`",
        "compare",
    ),
    "unknown level": ({"levels": ["l2a", "l3a", "l2a", "l1c"]}, "`l3a`", "l1c or l2a"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_fit_is_named(tmp_path: Path, case: str) -> None:
    overrides, message, hint = BROKEN[case]
    if case == "unknown level":  # looked for only where statistics of a level lack
        overrides = {**overrides, "statistics": {"sentinel2_l1c": None}}
    path = write_dataset(tmp_path / "tiny", tiles=4, tile_px=64, **overrides)
    error = raised(path)
    assert message in str(error)
    assert hint in (error.hint or "")
    assert "\n" not in str(error)


def test_a_cut_off_file_is_named(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "tiny", tiles=4, tile_px=64)
    tiles = path / "tiny.h5"
    tiles.write_bytes(tiles.read_bytes()[:-5000])
    error = raised(path)
    assert f"`{tiles}` cannot be opened as HDF5: " in str(error)
    assert (
        error.hint == "the file may be cut off or damaged; compare it with its source"
    )


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert "there is no data set at" in str(raised(tmp_path / "nowhere"))
    assert "holds no `.h5` and no `.zarr`" in str(raised(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    assert "neither a folder nor" in str(raised(tmp_path / "notes.txt"))
    path = write_dataset(tmp_path / "tiny", tiles=4, tile_px=64)
    (path / "tiny_splits.json").write_text("{")
    assert "cannot be read as JSON" in str(raised(path))
    (path / "tiny_splits.json").unlink()
    assert "there is no `tiny_splits.json`" in str(raised(path))
    (path / "other.h5").touch()
    assert "holds other.h5, tiny.h5, not one data set" in str(raised(path))


def test_an_unknown_modality_is_named(data: Path) -> None:
    assert "`ndvi` is no modality" in str(raised(data, ("ndvi",)))


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(DataError, match="died") as caught:
        in_another_process(os._exit, 3)
    assert "memory" in (caught.value.hint or "")


def test_corrupt_pixels_are_named(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "tiny", tiles=4, tile_px=64)
    with h5py.File(path / "tiny.h5") as file:
        offset = file["aster"].id.get_chunk_info(0).byte_offset
    tiles = bytearray((path / "tiny.h5").read_bytes())
    tiles[offset : offset + 40] = bytes(40)
    (path / "tiny.h5").write_bytes(tiles)
    error = raised(path)
    assert "`aster` of tile 0 in" in str(error)
    assert "cannot be read" in str(error)


def test_a_data_set_can_be_sent_to_a_process_that_is_not_forked(data: Path) -> None:
    folder = open_folder(data)
    assert pickle.loads(pickle.dumps(folder)) == folder  # noqa: S301 -- just written


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_a_folder_may_be_called_like_a_file(tmp_path: Path, suffix: str) -> None:
    path = write_dataset(tmp_path / f"mine{suffix}", tiles=4, tile_px=64, name="mine")
    assert open_folder(path).name == "mine"


def test_broken_statistics_of_a_level_that_does_not_occur(
    tmp_path: Path, small_recipe: Recipe
) -> None:
    """MMEarth writes both levels, and NaN for one without a tile."""
    nothing = {"mean": [float("nan")] * 13, "std": [float("nan")] * 13}
    path = write_dataset(
        tmp_path / "a",
        tiles=4,
        tile_px=64,
        levels=["l2a"] * 4,
        statistics={"sentinel2_l1c": nothing},
    )
    folder = open_folder(path)
    assert check_folder(folder, ALL) == 64
    assert levels_of(folder, small_recipe.bands) == ("l2a",)
