"""Lists of scenes: what they say of each, and data sets where nothing is made up."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from affine import Affine

from mmearth_infer.errors import DataError
from mmearth_infer.read.options import SceneOptions
from mmearth_training.data.folder import check_folder, open_folder
from mmearth_training.data.make import MakeConfig, make_dataset
from mmearth_training.data.pack import pack
from mmearth_training.data.scene_list import list_scenes
from mmearth_training.data.splits import Shares
from tests.helpers.data import DATA, needs_data
from tests.helpers.scenes import UTM, random_dn, write_scene

COMMITTED = Path(__file__).parents[3] / "training" / "builtin-scenes.toml"
OPTIONS = SceneOptions(offset="none")


def write_list(folder: Path, text: str) -> str:
    path = folder / "scenes.toml"
    path.write_text(text)
    return str(path)


def two_scenes(folder: Path) -> str:
    """Return a list of two scenes far apart, the first with a date and a stride."""
    for number in (0, 1):
        write_scene(
            folder / f"{number}.tif",
            random_dn(height=128, width=128),
            transform=Affine.translation(90000 * number, 0) @ UTM,
        )
    return write_list(
        folder,
        f"""
        [[scenes]]
        path = "{folder}/0.tif"
        date = 2020-03-31
        stride = 32
        [[scenes]]
        path = "{folder}/1.tif"
        """,
    )


def test_an_entry_replaces_what_the_command_line_says(tmp_path: Path) -> None:
    text = """
        [[scenes]]
        path = "a"
        [[scenes]]
        path = "b"
        date = 2020-01-02
        offset = "-1000"
        product = "l1c"
        allow_resolution = true
        stride = 16
    """
    one, two, single = list_scenes(
        [write_list(tmp_path, text), "c.tif"], options=OPTIONS, date=None, stride_px=64
    )
    assert (one.path, one.date, one.options, one.stride_px) == ("a", None, OPTIONS, 64)
    assert single.path == "c.tif"
    assert two.date == dt.date(2020, 1, 2)
    assert two.stride_px == 16
    assert two.options == SceneOptions(
        offset="-1000", product="l1c", allow_resolution=True
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[scenes]]", "missing required field `path`"),
        ("scenes = 3", "Expected `array`"),
        ("[[scenes]]\npath = 'a'\ncolour = 'red'", "unknown field `colour`"),
        ("[[scenes]]\npath = 'a'\nstride = 0", "Expected `int` >= 1"),
        ("[[scenes", "Expected"),
    ],
)
def test_a_list_that_says_nonsense_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = write_list(tmp_path, text)
    with pytest.raises(DataError, match="is no list of scenes") as caught:
        list_scenes([path], options=OPTIONS, date=None, stride_px=64)
    assert said in str(caught.value)
    assert "[[scenes]]" in str(caught.value.hint)


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the list of scenes"):
        list_scenes([f"{tmp_path}/no.toml"], options=OPTIONS, date=None, stride_px=1)


def test_only_what_is_real_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The month of a scene without date is missing, and packing keeps all of it."""
    made = make_dataset(
        MakeConfig(
            scenes=(two_scenes(tmp_path),),
            out=tmp_path / "out",
            tile_px=64,
            shares=Shares(val=0, test=0),
            real_only=True,
        )
    )
    assert made.synthetic == ()
    assert "synthetic" not in caplog.text
    folder = open_folder(tmp_path / "out")
    assert folder.synthetic == ()
    real = ("sentinel2", "lat", "lon", "month")
    assert check_folder(folder, real) == 64
    with h5py.File(folder.tiles_path) as file:
        assert {*real, "metadata"} <= set(file) <= {*real, "metadata", *CLOUDS}
        month = file["month"][:]
    assert len(month) == 9 + 4
    march = np.array([1, 0])  # a quarter of the year
    np.testing.assert_allclose(month[:9], np.tile(march, (9, 1)), atol=1e-6)
    assert np.isnan(month[9:]).all()
    with pytest.raises(DataError, match="has no `biome`"):
        check_folder(folder, ("biome",))
    pack(folder, tmp_path / "packed")
    with closing(open_folder(tmp_path / "packed").open()) as tiles:
        np.testing.assert_array_equal(tiles.read(range(13), ["month"])["month"], month)


CLOUDS = ("sentinel2_cloudmask", "sentinel2_cloudprod", "sentinel2_scl")


def test_scenes_of_one_ground_are_cut_alike(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", random_dn(height=128, width=128))
    scenes = write_list(
        tmp_path,
        f"[[scenes]]\npath = '{scene}'\n[[scenes]]\npath = '{scene}'\nstride = 32",
    )
    with pytest.raises(
        DataError, match="a stride of 32 px, another scene of its ground"
    ):
        make_dataset(MakeConfig(scenes=(scenes,), out=tmp_path / "o", tile_px=64))


@needs_data
def test_the_scenes_of_the_built_in_encoder_can_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is allowed, both levels, none of what the encoder is judged on."""
    monkeypatch.chdir(DATA)
    made = make_dataset(
        MakeConfig(
            scenes=(str(COMMITTED),),
            out=tmp_path / "builtin",
            real_only=True,
            stride_px=128,
            shares=Shares(val=0.1, test=0),
        )
    )
    assert made.synthetic == ()
    info = json.loads((tmp_path / "builtin/builtin_tile_info.json").read_text())
    assert {one["S2_type"] for one in info.values()} == {"l1c", "l2a"}
    assert len({one["scene"] + one["S2_type"] for one in info.values()}) == 7
    assert "eurosat" not in COMMITTED.read_text().lower()
