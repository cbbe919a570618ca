"""The Python interface: the same embeddings from files and arrays, on disk and off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable  # noqa: TC003 -- the type of a value
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import assume, given
from hypothesis.extra.numpy import basic_indices

import mmearth_infer
from mmearth_infer import (
    MMEarthError,
    Window,
    embed,
    open_store,
    probe_apply,
    segment,
)
from mmearth_infer.api import probes, scenes, settings
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.errors import BandError, MissingExtraError, SceneError
from mmearth_infer.probe.fit import FitConfig
from mmearth_infer.probe.labels import LabelOptions
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.run.config import EmbedConfig, RunConfig, SegmentConfig
from tests.helpers.digest import digest
from tests.helpers.models import (
    classes_manifest,
    echo_manifest,
    two_stage_manifest,
    write_echo_model,
)
from tests.helpers.scenes import UTM, random_dn, write_scene
from tests.mmearth_infer.probe.fields import write_fields
from tests.mmearth_infer.probe.made import write_probe

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.write.encode import DtypeChoice

HEIGHT, WIDTH = 100, 90


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GeoTIFF whose west is nodata, 3 px within a cell."""
    dn_CHW = random_dn(12, HEIGHT, WIDTH)
    dn_CHW[:, :, :35] = 0
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", dn_CHW, nodata=0)


def opened_array(path: Path) -> xr.DataArray:
    """Return a file as rioxarray opens it, read and closed."""
    opened = rioxarray.open_rasterio(path)
    assert isinstance(opened, xr.DataArray)
    opened.load()
    opened.close()
    return opened


@pytest.fixture
def array(scene: Path) -> xr.DataArray:
    """The same, as rioxarray opens it."""
    return opened_array(scene)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models by what they are for."""
    folder = tmp_path_factory.mktemp("models")
    two = two_stage_manifest()
    outputs = tuple(
        type(out)(
            **{f.name: getattr(out, f.name) for f in fields(out)} | {"int8_scale": 50.0}
        )
        for out in two.outputs
    )
    scaled = type(two)(
        **{f.name: getattr(two, f.name) for f in fields(two)} | {"outputs": outputs}
    )
    return {
        "echo": write_echo_model(folder / "echo.onnx", echo_manifest()),
        "two": write_echo_model(folder / "two.onnx", scaled),
        "map": write_echo_model(folder / "map.onnx", classes_manifest()),
    }


def as_dataset(array: xr.DataArray) -> xr.Dataset:
    """Return a variable for each band, in another order than the model's."""
    bands = {
        name: array.isel(band=n).drop_vars("band")
        for n, name in reversed(list(enumerate(MMEARTH_BANDS)))
    }
    dataset = xr.Dataset(bands)
    dataset.encoding["source"] = array.encoding["source"]
    return dataset


def stackstac_like(array: xr.DataArray) -> xr.DataArray:
    """Return what stacking libraries give: names along the band, axes otherwise."""
    named = array.assign_coords(band=list(MMEARTH_BANDS))
    named.attrs = {}
    return named.transpose("y", "x", "band").isel(band=slice(None, None, -1))


def masked(array: xr.DataArray) -> xr.DataArray:
    """Return floats, NaN where there is no data."""
    floats = array.where(array != 0).astype(np.float32)
    floats.attrs = {"long_name": array.attrs["long_name"]}
    return floats


@pytest.mark.parametrize(
    "made_of", [lambda array: array, as_dataset, stackstac_like, masked]
)
def test_an_array_gives_what_its_file_gives(
    scene: Path,
    array: xr.DataArray,
    models: dict[str, Path],
    tmp_path: Path,
    made_of: Callable[[xr.DataArray], xr.DataArray | xr.Dataset],
) -> None:
    """Bit for bit, however its bands are named and ordered."""
    embed(scene, tmp_path / "file.zarr", model=models["echo"])
    embedded = embed(made_of(array), model=models["echo"])
    expected = open_store(tmp_path / "file.zarr").to_xarray()
    np.testing.assert_array_equal(embedded.values, expected.values)
    for axis in ("y", "x"):
        np.testing.assert_array_equal(embedded[axis], expected[axis])
    assert embedded.rio.crs == expected.rio.crs
    assert np.isnan(embedded[:, :, :2]).all()
    assert not np.isnan(embedded[:, :, 2:]).any()


def test_a_store_made_of_an_array_is_that_of_the_file(
    scene: Path, array: xr.DataArray, models: dict[str, Path], tmp_path: Path
) -> None:
    for out, one in (("file", scene), ("array", array)):
        report = embed(one, tmp_path / out, model=models["echo"])
        assert report.cells == 7 * 6
    assert digest(tmp_path / "file") == digest(tmp_path / "array")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "int8-pixel"])
def test_what_is_in_memory_is_what_a_store_holds(
    scene: Path, models: dict[str, Path], tmp_path: Path, dtype: DtypeChoice
) -> None:
    """Values, coordinates, CRS and attributes, of every stage."""
    embed(scene, tmp_path / "o.zarr", model=models["two"], stages=(2, 4), dtype=dtype)
    maps = embed(scene, model=models["two"], stages=(2, 4), dtype=dtype)
    assert list(maps) == [2, 4]
    for stage, embedded in maps.items():
        stored = open_store(tmp_path / "o.zarr", stage).to_xarray()
        xr.testing.assert_identical(embedded, stored)
        assert embedded.dtype == ("float16" if dtype == "float16" else "float32")
        assert embedded.rio.transform() == stored.rio.transform()
    xr.testing.assert_identical(embed(scene, model=models["two"], dtype=dtype), maps[4])


def test_xarray_opens_the_same_from_the_store(
    scene: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    """`xarray.open_zarr` knows nothing of this package."""
    embed(scene, tmp_path / "o.zarr", model=models["echo"])
    stored = xr.open_zarr(tmp_path / "o.zarr", chunks=None, decode_coords="all")
    xr.testing.assert_equal(embed(scene, model=models["echo"]), stored.embedding)
    lazy = open_store(tmp_path / "o.zarr").to_xarray()
    assert lazy.rio.crs == stored.embedding.rio.crs
    for axis in ("y", "x"):
        assert lazy[axis].attrs == stored.embedding[axis].attrs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Path]) -> Path:
    """A finished store of 16 x 16 cells."""
    out = tmp_path_factory.mktemp("store") / "o.zarr"
    scene = write_scene(out.with_name("scene.tif"), random_dn(12, 64, 64))
    embed(scene, out, model=models["two"], stages=[2])
    return out


def key_goes_up(key: Any) -> bool:  # noqa: ANN401
    """Tell whether no slice goes backwards; xarray stumbles if such a one is empty."""
    parts = key if isinstance(key, tuple) else (key,)
    return all((part.step or 1) > 0 for part in parts if isinstance(part, slice))


@given(key=basic_indices((12, 16, 16)))
def test_any_part_of_a_store_is_that_of_the_whole(store: Path, key: Any) -> None:  # noqa: ANN401
    """`open_store(p).to_xarray()[key] == open_store(p).read(whole)[key]`."""
    opened = open_store(store)
    whole = opened.read(Window(row=0, col=0, height=16, width=16))
    assume(whole[key].size > 0 or key_goes_up(key))
    np.testing.assert_array_equal(opened.to_xarray()[key].values, whole[key])


def test_a_store_is_read_where_it_is_looked_at(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, seen = open_store(store), []
    read = type(opened).read
    monkeypatch.setattr(
        type(opened),
        "read",
        lambda self, window: seen.append(window) or read(self, window),
    )
    lazy = opened.to_xarray()
    assert not seen
    lazy.isel(y=slice(14, 4, -2), x=[7, 9])[3].load()
    assert seen == [Window(row=6, col=7, height=9, width=3)]


def test_a_map_in_memory_is_that_of_the_file(
    scene: Path, array: xr.DataArray, models: dict[str, Path], tmp_path: Path
) -> None:
    """Classes, colours, nodata, and the probabilities."""
    polygons = str(tmp_path / "p.gpkg")
    report = segment(
        str(scene),
        str(tmp_path / "m.tif"),
        model=str(models["map"]),
        probabilities=True,
        polygons=polygons,
    )
    assert report.files["polygons"] == polygons
    found = segment(array, model=models["map"], probabilities=True)
    xr.testing.assert_identical(segment(array, model=models["map"]), found["class"])
    with rasterio.open(tmp_path / "m.tif") as file:
        np.testing.assert_array_equal(found["class"], file.read(1))
        assert found.rio.transform() == file.transform
        assert found["class"].rio.nodata == file.nodata == 255
        rgb = [tuple(file.colormap(1)[n][:3]) for n in range(12)]
    with rasterio.open(tmp_path / "m.probability.tif") as file:
        np.testing.assert_array_equal(found["probability"], file.read())
    said = found["class"].attrs
    assert found["class"].dtype == np.uint8
    assert said["flag_values"] == list(range(12))
    assert said["flag_meanings"].split()[1] == "brightest_in_B2"
    assert [one["rgb"] for one in said["classes"]] == rgb
    assert (found["class"][:, 0] == 255).all()


def test_arrays_side_by_side_are_a_mosaic(
    scene: Path, array: xr.DataArray, models: dict[str, Path]
) -> None:
    halves = [array.isel(x=slice(0, 48)), array.isel(x=slice(48, None))]
    whole, joined = (embed(one, model=models["echo"]) for one in (scene, halves))
    np.testing.assert_array_equal(whole, joined)


def test_settings_are_those_of_the_command_line(
    scene: Path, array: xr.DataArray, models: dict[str, Path]
) -> None:
    """Scale, area and mask reach the scene; names of bands may be any known ones."""
    reflectance = (masked(array) / 10000).drop_attrs(deep=False)
    bbox = (600_700.0, 5_299_400.0, 600_900.0, 5_300_000.0)
    names = [{"B1": "coastal", "B8A": "B08A"}.get(name, name) for name in MMEARTH_BANDS]
    part = embed(reflectance, model=models["echo"], scale=10000, bands=names, bbox=bbox)
    assert part.sizes["x"] == 2
    same = embed(scene, model=models["echo"], bbox=bbox)
    np.testing.assert_allclose(part, same, rtol=1e-6)
    classes = xr.full_like(array[0], 4).drop_vars("band")
    classes[:, 60:] = 9
    clear = embed(
        as_dataset(array).assign(SCL=classes), model=models["echo"], mask=["cloud"]
    )
    assert np.isnan(clear[:, :, 4:]).all()
    assert not np.isnan(clear[:, :, 2:3]).any()


def test_keywords_are_the_fields_of_the_configurations() -> None:
    """Those that are parameters of their own left out; the types are the same."""
    mine = {"scene", "out", "model", "options", "stages", "probabilities"}

    def names(*configs: Any) -> set[str]:  # noqa: ANN401
        return {field.name for config in configs for field in fields(config)} - mine

    assert set(settings.SceneSettings.__annotations__) == names(SceneOptions)
    assert settings.RunSettings.__optional_keys__ == names(RunConfig, SceneOptions)
    assert settings.EmbedSettings.__optional_keys__ == names(EmbedConfig, SceneOptions)
    assert settings.SegmentSettings.__optional_keys__ == names(
        SegmentConfig, SceneOptions
    )
    assert probes.LabelSettings.__optional_keys__ == names(FitConfig, LabelOptions) - {
        "stores",
        "labels",
    }
    assert get_type_hints(RunConfig)  # what configurations name can be imported


def without_grid(array: xr.DataArray) -> xr.DataArray:
    """Return a scene with a CRS, and nothing that says where in it."""
    bare = array.drop_vars(["y", "x", "spatial_ref"])
    return bare.rio.write_crs("EPSG:32633")


BAD: dict[str, Callable[[xr.DataArray], xr.DataArray]] = {
    "no CRS": lambda array: array.drop_vars("spatial_ref"),
    "one band": lambda array: array.isel(band=slice(3)).assign_attrs(
        long_name=("B2", "B3", "B4")
    ),
    "two dimensions": lambda array: array.isel(band=0, drop=True),
    "times": lambda array: array.expand_dims(time=2),
    "other names": lambda array: array.rename(y="row", x="col").drop_vars(
        ["row", "col"]
    ),
    "rotated": lambda array: array.drop_vars(["y", "x"]).rio.write_transform(
        UTM @ Affine.rotation(10)
    ),
    "no grid": without_grid,
    "south up": lambda array: array.sortby("y"),
    "uneven": lambda array: array.isel(x=[0, 1, 2, 3, 5, 8, *range(20, 60)]),
    "reflectance": lambda array: masked(array) / 10000,
    "complex": lambda array: array.astype(np.complex64),
    "bright": lambda array: array % 500 + 1500,
    "no offset": lambda array: array.assign_attrs(add_offset="none"),
    "no nodata": lambda array: array.assign_attrs(_FillValue=-9999),
    "unnamed": lambda array: array.isel(band=slice(7)).drop_attrs(deep=False),
}


@pytest.mark.parametrize(
    ("how", "error", "message", "hint"),
    [
        ("no CRS", SceneError, "has no coordinate reference system", "rio.write_crs"),
        ("one band", BandError, "lacks B1, B5, B6", "it has B2, B3, B4"),
        ("two dimensions", SceneError, r"\(y, x\), not \(band, y, x\)", "expand_dims"),
        ("times", SceneError, r"\(time, band, y, x\), not", "isel"),
        ("other names", SceneError, r"\(band, row, col\), not", "rename"),
        ("rotated", SceneError, "is rotated", "north-up"),
        ("no grid", SceneError, "no coordinates along y", "write_transform"),
        ("south up", SceneError, "from south to north", "ascending=False"),
        ("uneven", SceneError, "along x are not evenly spaced", "reproject"),
        ("reflectance", SceneError, "not digital numbers", "--scale 10000"),
        ("complex", SceneError, "complex64 pixels", "uint16"),
        ("bright", SceneError, "no band of `.*` is darker", "--offset -1000"),
        ("no offset", SceneError, "add_offset of band 1 is no number", "drop them"),
        ("no nodata", SceneError, "states a nodata value", "write_nodata"),
        ("unnamed", BandError, "the 7 bands of `.*` have no names", "--bands"),
    ],
)
def test_an_array_that_is_no_scene_is_refused(
    array: xr.DataArray,
    models: dict[str, Path],
    how: str,
    error: type[MMEarthError],
    message: str,
    hint: str,
) -> None:
    with pytest.raises(error, match=message) as caught:
        embed(BAD[how](array), model=models["echo"])
    assert hint in (caught.value.hint or "")
    assert "\n" not in f"{caught.value}{caught.value.hint}"


def test_evidence_of_the_offset_is_asked_of_attributes(
    tmp_path: Path, models: dict[str, Path]
) -> None:
    """As of a file's tags, whether rioxarray read them or somebody set them."""
    path = write_scene(
        tmp_path / "late.tif",
        random_dn(12, 64, 64) + np.uint16(1000),
        tags={"PROCESSING_BASELINE": "05.09"},
    )
    opened = opened_array(path)
    xr.testing.assert_identical(
        embed(opened, model=models["echo"]), embed(path, model=models["echo"])
    )
    stated = opened.drop_attrs(deep=False).assign_attrs(
        long_name=MMEARTH_BANDS, add_offset=-1000
    )
    np.testing.assert_array_equal(
        embed(stated, model=models["echo"]), embed(path, model=models["echo"])
    )


def test_a_run_that_writes_nothing_refuses_what_is_about_files(
    array: xr.DataArray, models: dict[str, Path]
) -> None:
    with pytest.raises(MMEarthError, match="`resume` is about what is written") as told:
        embed(array, model=models["echo"], resume=True)
    assert told.value.hint == "say where the result goes with out="
    with pytest.raises(SceneError, match="a scene cannot be a ndarray"):
        embed(array.values, model=models["echo"])  # type: ignore[call-overload]
    times = as_dataset(array).expand_dims(time=2)
    with pytest.raises(SceneError, match="holds no band of Sentinel-2") as told:
        embed(times, model=models["echo"])
    assert "isel(time=0)" in (told.value.hint or "")
    with pytest.raises(SceneError, match="holds no data"):
        embed(array.isel(x=slice(0, 32)), model=models["echo"])


def test_xarray_is_an_extra(
    array: xr.DataArray, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named where it is missed; nothing else needs it."""
    loaded = "import sys, mmearth_infer as m; m.embed, m.segment, m.probe_fit"
    done = subprocess.run(
        [sys.executable, "-c", f"{loaded}; print('xarray' in sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "False"
    monkeypatch.setattr(scenes, "find_spec", lambda _name: None)
    for one, out in ((scene, None), (array, tmp_path / "o.zarr")):
        with pytest.raises(MissingExtraError, match="`xarray` extra") as caught:
            embed(one, out)  # type: ignore[call-overload]
        assert caught.value.hint == 'pip install "mmearth-infer[xarray]"'


def test_the_functions_are_documented() -> None:
    """Every parameter by its name, and what comes of it."""
    for name in ("embed", "segment", "probe_fit", "probe_apply", "probe_fuse"):
        function = getattr(mmearth_infer, name)
        told = function.__doc__ or ""
        for parameter in function.__code__.co_varnames[: function.__code__.co_argcount]:
            assert f"        {parameter}: " in told, f"{name}: {parameter}"
        assert "Returns:" in told
        assert "Raises:" in told


def test_a_map_of_a_probe_in_memory_is_that_of_the_file(tmp_path: Path) -> None:
    """Classes and probabilities, with a hole where there is no data."""
    store = write_fields(tmp_path / "fields.zarr", hole=3)
    digest_of = open_store(store).model_digest
    stride_px = open_store(store).stride_px
    probe = write_probe(
        tmp_path / "p.onnx",
        channels=6,
        digest=digest_of,
        stage=open_store(store).stage,
        stride_px=stride_px or 16,
    )
    probe_apply(store, probe, tmp_path / "map.tif", probabilities=True)
    found = probe_apply(store, probe, probabilities=True)
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(found["class"], file.read(1))
        assert found.rio.transform() == file.transform
    with rasterio.open(tmp_path / "map.probability.tif") as file:
        np.testing.assert_array_equal(found["probability"], file.read())
    assert (found["class"][:3, :3] == 255).all()
    xr.testing.assert_identical(probe_apply(store, probe), found["class"])
