"""How embeddings are kept, and what comes back out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 -- adds `.rio`
import xarray
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import ModelError
from mmearth_infer.grid.window import Window
from mmearth_infer.write.encode import DTYPES, Encoding, StoredStrip, encoding_for
from mmearth_infer.write.open_store import open_store
from tests.helpers.digest import digest
from tests.helpers.models import echo_manifest
from tests.helpers.sinks import CHANNELS, layer, open_sink, strips

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_infer.write.encode import DtypeChoice
    from mmearth_infer.write.layout import LayoutChoice


def some(seed: int, size: float) -> np.ndarray:
    """Features of 3 channels, with a cell without data and one of zeros."""
    rng = np.random.default_rng(seed)
    found = (rng.standard_normal((3, 4, 5)) * size).astype(np.float32)
    found[:, 0, 0] = np.nan
    found[:, 1, 1] = 0
    return found


@given(seed=st.integers(0, 99), size=st.sampled_from([1e-3, 1.0, 1e3]))
def test_what_comes_back_is_near(seed: int, size: float) -> None:
    """float32 exact; float16 to its precision; int8 to half a step of its scale."""
    features = some(seed, size)
    scale = float(np.nanmax(np.abs(features))) / 127
    for choice in DTYPES:
        encoding = Encoding(name=choice, scale=scale if choice == "int8" else None)
        stored, scale_hW = encoding.encode(features.copy())
        assert stored.dtype == encoding.dtype
        back = stored.astype(np.float32)
        absent = np.isnan(features[0])
        if stored.dtype == np.int8:
            assert (stored[:, absent] == -128).all()
            assert (stored[:, ~absent] >= -127).all()
            step = scale if scale_hW is None else scale_hW
            if scale_hW is not None:
                assert np.isnan(scale_hW[absent]).all()
            back = back * step
            apart = np.abs(back - features)[:, ~absent]
            allowed = np.broadcast_to(step, absent.shape)[~absent] * 0.5001
            assert (apart <= allowed).all()
        else:
            assert np.isnan(back[:, absent]).all()
            allowed = 0 if choice == "float32" else 1e-3
            apart = np.abs(back - features)[:, ~absent]
            assert (apart <= allowed * np.abs(features[:, ~absent]) + 1e-7).all()


def test_what_is_too_large_is_the_largest() -> None:
    features = np.array([[[1e9]], [[-1e9]]], np.float32)
    half, _ = Encoding(name="float16").encode(features)
    np.testing.assert_array_equal(half.ravel(), [65504, -65504])
    small, _ = Encoding(name="int8", scale=0.1).encode(features)
    np.testing.assert_array_equal(small.ravel(), [127, -127])


def test_a_scale_that_the_model_does_not_have() -> None:
    output = echo_manifest().outputs[0]
    with pytest.raises(ModelError, match="no int8 scale for stage 4") as caught:
        encoding_for("int8", output, model="m")
    assert "int8-pixel" in (caught.value.hint or "")
    assert encoding_for("int8-pixel", output, model="m").per_cell
    found = encoding_for("int8", replace(output, int8_scale=0.25), model="m")
    assert found.attributes["quantization"] == {"scale": 0.25, "nodata": -128}


@pytest.mark.parametrize("layout", ["plain", "sharded"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_stores_of_every_kind_open(
    dtype: DtypeChoice, layout: LayoutChoice, tmp_path: Path
) -> None:
    """In xarray, with the fill value as NaN or masked, and values where they belong."""
    out = tmp_path / "s.zarr"
    with open_sink(out, layers=[layer(dtype=dtype)], layout=layout) as sink:
        for strip in strips(7, rows=sink.chunk_cells):
            sink.write([strip])
        sink.finish()
    with xarray.open_zarr(out, mask_and_scale=False) as store:
        raw = store["embedding"]
        assert raw.dtype == dtype.partition("-")[0]
        assert raw.shape == (CHANNELS, 40, 20)
        kind = "shards" if layout == "sharded" else "chunks"
        assert raw.encoding[kind] is not None
    with xarray.open_zarr(out) as store:
        masked = store["embedding"].to_numpy()
        assert np.isnan(masked[:, :, 0]).all()
        step = {"int8": 0.5}.get(dtype, 1)
        if dtype == "int8-pixel":
            with xarray.open_zarr(out / "quality") as quality:
                step = quality["scale"].to_numpy()[:, 1:]
        np.testing.assert_allclose(
            masked[:, :16, 1:] * step
            if np.isscalar(step)
            else masked[:, :16, 1:] * step[:16],
            7,
            rtol=1e-2,
        )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"s.zarr"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_copy_of_what_is_stored(dtype: DtypeChoice, tmp_path: Path) -> None:
    """Values, shares and scales go from store to store without a bit changed."""
    layers = [layer(dtype=dtype)]
    rng = np.random.default_rng(0)
    with open_sink(tmp_path / "a.zarr", layers=layers) as sink:
        for strip in strips(7):
            noise = rng.normal(size=strip.features_DhW.shape).astype(np.float32)
            noise[:, strip.valid_hW == 0] = np.nan
            sink.write([replace(strip, features_DhW=noise)])
        sink.finish()
    store = open_store(tmp_path / "a.zarr")
    with open_sink(tmp_path / "b.zarr", layers=layers) as sink:
        for strip in strips(0):
            window = Window(row=strip.row, col=0, height=len(strip.valid_hW), width=20)
            copy = StoredStrip(
                row=strip.row,
                col=0,
                values_DhW=store.read_stored(window),
                scale_hW=store.read_scale(window),
                valid_hW=store.read_valid(window),
            )
            sink.write_stored([copy])
        sink.finish()
    assert digest(tmp_path / "a.zarr") == digest(tmp_path / "b.zarr")


def test_several_stages_are_stores_side_by_side(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    layers = [layer(stage="stage3", factor=2), layer(stage="stage4")]
    with open_sink(out, layers=layers) as sink:
        for strip in strips(1, rows=sink.chunk_cells):
            fine = replace(
                strip,
                row=strip.row * 2,
                features_DhW=strip.features_DhW.repeat(2, 1).repeat(2, 2),
                valid_hW=strip.valid_hW.repeat(2, 0).repeat(2, 1),
            )
            sink.write([fine, strip])
        sink.finish()
    for stage, factor in (("stage3", 2), ("stage4", 1)):
        with xarray.open_zarr(out, group=stage) as store:
            found = store["embedding"]
            assert found.shape == (CHANNELS, 40 * factor, 20 * factor)
            assert found.rio.transform().a == 160 / factor
            assert found.rio.transform().c == 600_000
            assert float(found[0, 0, -1]) == 1


@pytest.mark.skipif(
    tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 12),
    reason=f"GDAL {rasterio.__gdal_version__} opens no Zarr v3 array; 3.12 does",
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gdal_opens_every_type(dtype: DtypeChoice, tmp_path: Path) -> None:
    """As one raster with its place and nodata; of several stages each by its path."""
    out = tmp_path / "s.zarr"
    layers = [layer(dtype=dtype)]
    with open_sink(out, layers=layers) as sink:
        for strip in strips(7, rows=sink.chunk_cells):
            sink.write([strip])
        sink.finish()
    with rasterio.open(out) as raster:
        assert raster.count == CHANNELS
        assert raster.dtypes[0] == dtype.partition("-")[0]
        assert (raster.transform.a, raster.transform.c) == (160, 600_000)
        assert raster.crs == "EPSG:32633"
        nodata = layers[0].encoding.nodata
        np.testing.assert_equal(raster.nodata, nodata)
        np.testing.assert_equal(raster.read(1)[0, 0], nodata)
    with open_sink(
        tmp_path / "two.zarr",
        layers=[layer(dtype=dtype, stage="stage3"), layer(dtype=dtype, stage="stage4")],
    ) as sink:
        for strip in strips(7, rows=sink.chunk_cells):
            sink.write([strip, strip])
        sink.finish()
    with rasterio.open(tmp_path / "two.zarr" / "stage4") as raster:
        assert raster.count == CHANNELS
        assert (raster.transform.a, raster.transform.c) == (160, 600_000)
