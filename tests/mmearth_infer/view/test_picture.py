"""Pictures lie where the store lies, and are clear where it is empty."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.view.colours import LIGHTNESS, RAMP, paint_ramp, paint_rgb
from mmearth_infer.view.draw import ViewConfig, view
from mmearth_infer.view.picture import files_of, world_file, write_picture
from mmearth_infer.write.open_store import Embedding
from tests.mmearth_infer.view.stores import Made, Map, features, write_store

BOX = GeoBox(
    crs=CRS.from_epsg(32633),
    transform=Affine(160, 0, 600_000, 0, -160, 5_300_000),
    height=2,
    width=3,
)


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE lightness, by another way than the ramp is made."""
    srgb = rgb / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    bent = np.where(
        luminance > 0.008856, np.cbrt(luminance), 7.787 * luminance + 16 / 116
    )
    result: np.ndarray = 116 * bent - 16
    return result


def test_the_ramp_grows_lighter_by_even_steps() -> None:
    """No step of 16 colours differs from the mean step by more than a quarter."""
    every = lightness(RAMP.astype(float))[::15]
    steps = np.diff(every)
    assert (steps > 0).all()
    assert np.abs(steps / steps.mean() - 1).max() < 0.25
    assert every[-1] - every[0] > 80
    assert LIGHTNESS[0] < LIGHTNESS[1]


def test_painting() -> None:
    """0 and below the first colour, 1 and beyond the last, NaN clear."""
    values = np.array([[-9, 0, 0.5], [1, 9, np.nan]], dtype=np.float32)
    rgba = paint_ramp(values)
    assert rgba.dtype == np.uint8
    np.testing.assert_array_equal(rgba[:3, 0, 0], RAMP[0])
    np.testing.assert_array_equal(rgba[:3, 0, 1], RAMP[0])
    np.testing.assert_array_equal(rgba[:3, 1, 1], RAMP[-1])
    np.testing.assert_array_equal(rgba[:, 1, 2], 0)
    assert (rgba[3].ravel()[:5] == 255).all()
    colours = np.stack([values, values, np.zeros_like(values)])
    rgba = paint_rgb(colours)
    assert rgba[:, 0, 2].tolist() == [128, 128, 0, 255]
    assert rgba[:, 1, 2].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_picture_lies_on_earth(suffix: str, tmp_path: Path) -> None:
    """In GDAL, from the file itself or from what lies beside it."""
    rgba = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    out = tmp_path / f"p{suffix}"
    write_picture(out, rgba, BOX)
    assert sorted(tmp_path.iterdir()) == sorted(files_of(out))
    with rasterio.open(out) as file:
        np.testing.assert_array_equal(file.read(), rgba)
        assert file.transform.almost_equals(BOX.transform)
        assert file.crs == BOX.crs
        assert file.colorinterp[3] == ColorInterp.alpha


def test_a_large_geotiff_has_overviews(tmp_path: Path) -> None:
    """It is a COG; means leave out what is clear."""
    rgba = np.full((4, 1100, 700), 200, dtype=np.uint8)
    rgba[:, :, :351] = 0
    box = replace(BOX, height=1100, width=700)
    write_picture(tmp_path / "p.tif", rgba, box)
    with rasterio.open(tmp_path / "p.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4]
        small = file.read(out_shape=(4, 550, 350))
        np.testing.assert_array_equal(file.read(), rgba)
    assert (small[:3, :, :175] == 0).all()
    assert (small[:3, :, 175:] == 200).all()  # half of column 175 is clear


def test_a_world_file() -> None:
    """Steps, and the centre of the first pixel."""
    numbers = [float(line) for line in world_file(BOX).split()]
    assert numbers == [160, 0, 0, -160, 600_080, 5_299_920]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of 7 x 9 cells in chunks of 3 x 3."""
    return write_store(
        tmp_path / "s.zarr", Map(features_Dhw=features()), made=Made(chunk_cells=3)
    )


@pytest.mark.parametrize(
    ("max_px", "height", "width", "side"),
    [(2000, 7, 9, 1), (9, 7, 9, 1), (8, 4, 5, 2), (2, 2, 2, 5), (1, 1, 1, 9)],
)
def test_a_large_store_becomes_a_small_picture(
    max_px: int, height: int, width: int, side: int, path: Path, tmp_path: Path
) -> None:
    """On the same corner, with cells that are whole multiples."""
    out = tmp_path / "p.tif"
    viewed = view(ViewConfig(store=path, out=out, max_px=max_px))
    assert (viewed.height_px, viewed.width_px) == (height, width)
    assert viewed.cells_per_px == side
    with rasterio.open(out) as file:
        assert file.shape == (height, width)
        assert file.transform.a == 160 * side
        assert (file.transform.c, file.transform.f) == (600_000, 5_300_000)


def test_a_small_store_is_enlarged(path: Path, tmp_path: Path) -> None:
    """Every cell becomes a square, on the same ground; also where blocks are shown."""
    for zoom, max_px, side in ((1, 9, 1), (4, 36, 1), (4, 35, 2)):
        out = tmp_path / "p.tif"
        config = ViewConfig(
            store=path, out=out, zoom=zoom, max_px=max_px, overwrite=True
        )
        viewed = view(config)
        assert viewed.cells_per_px == side / zoom
        with rasterio.open(out) as file:
            assert file.shape == (-(-7 // side) * zoom, -(-9 // side) * zoom)
            assert file.transform.a == 160 * side / zoom
            assert (file.transform.c, file.transform.f) == (600_000, 5_300_000)
            large = file.read()
        if (zoom, side) == (1, 1):
            plain = large
        elif side == 1:
            np.testing.assert_array_equal(large[:, ::4, ::4], plain)
            np.testing.assert_array_equal(large[:, 3::4, 3::4], plain)


def test_never_more_than_a_chunk_is_read_at_once(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Embedding.read
    sizes = []

    def watched(self: Embedding, window: object) -> np.ndarray:
        values = read(self, window)  # type: ignore[arg-type]  # passed on
        sizes.append(values.shape[1:])
        return values

    monkeypatch.setattr(Embedding, "read", watched)
    view(ViewConfig(store=path, out=tmp_path / "p.png"))
    assert len(sizes) == 2 * 9
    assert max(max(shape) for shape in sizes) == 3


def test_empty_cells_are_clear(path: Path, tmp_path: Path) -> None:
    view(ViewConfig(store=path, out=tmp_path / "p.png"))
    with rasterio.open(tmp_path / "p.png") as file:
        alpha = file.read(4)
    np.testing.assert_array_equal(alpha == 0, np.isnan(features()[0]))


def test_another_suffix(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not end in") as caught:
        view(ViewConfig(store=path, out=tmp_path / "p.jpg"))
    assert ".tif" in str(caught.value.hint)


def test_a_world_file_that_is_there_is_not_replaced(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "p.pgw"
    precious.write_text("mine")
    with pytest.raises(StoreError, match=r"p.pgw` exists already"):
        view(ViewConfig(store=path, out=tmp_path / "p.png"))
    assert precious.read_text() == "mine"
    assert not (tmp_path / "p.png").exists()
    view(ViewConfig(store=path, out=tmp_path / "p.png", overwrite=True))
    assert precious.read_text() != "mine"
