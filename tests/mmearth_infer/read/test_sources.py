"""Sources give the same pixels whatever the file looks like."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from mmearth_infer.contract.bands import L2A_BANDS, MMEARTH_BANDS
from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read.demo import SIDE_PX, DemoSource, demo_dn
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from tests.helpers.data import EUROSAT_CHIP, MAJORTOM, RSTOOLBOX, SEN1FLOODS, needs_data
from tests.helpers.scenes import random_dn, write_scene

WINDOW = Window(row=3, col=5, height=40, width=17)
AUTO = SceneOptions()


def test_layouts_give_the_same_pixels(tmp_path: Path) -> None:
    """Striped, tiled, compressed, interleaved by band or pixel: one scene."""
    pixels = random_dn(height=300, width=200)
    profiles = [
        {},
        {"compress": "deflate", "predictor": 2},
        {"compress": "zstd", "tiled": True, "blockxsize": 64, "blockysize": 128},
        {"interleave": "pixel", "compress": "lzw"},
        {"interleave": "band", "tiled": True, "blockxsize": 32, "blockysize": 32},
    ]
    for n, profile in enumerate(profiles):
        path = write_scene(tmp_path / f"{n}.tif", pixels, **profile)
        for threads in (1, 3):
            with open_source(
                str(path), options=AUTO, wanted=MMEARTH_BANDS, threads=threads
            ) as source:
                read = source.read(WINDOW)
        np.testing.assert_array_equal(read, pixels[(slice(None), *WINDOW.slices)])


def test_offset_in_pixels_and_tag_gives_the_same_digital_numbers(
    tmp_path: Path,
) -> None:
    pixels = random_dn()
    plain = write_scene(tmp_path / "plain.tif", pixels)
    raised = write_scene(
        tmp_path / "raised.tif", pixels + 1000, tags={"BOA_ADD_OFFSET": "-1000"}
    )
    found = []
    for path in (plain, raised):
        with open_source(str(path), options=AUTO, wanted=MMEARTH_BANDS) as source:
            found.append(source.read(WINDOW))
    np.testing.assert_array_equal(*found)


def test_offset_in_band_tags_is_found(tmp_path: Path) -> None:
    """GDAL's own scale and offset: reflectance = 0.0001 DN - 0.1."""
    path = write_scene(
        tmp_path / "s.tif",
        random_dn() + 1000,
        offsets=[-0.1] * 12,
        scales=[0.0001] * 12,
    )
    with open_source(str(path), options=AUTO, wanted=None) as source:
        assert source.scene.offset_dn == -1000


def test_without_wanted_all_named_bands_are_given(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", random_dn(3), bands=["B4", "SCL", "B2"])
    options = SceneOptions(product="l2a")
    with open_source(str(path), options=options, wanted=None) as source:
        assert source.scene.bands == ("B4", "B2")


def test_mixed_number_types_are_refused(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "c.tif", np.ones((12, 8, 8), dtype=np.complex64))
    with (
        pytest.raises(SceneError, match="complex64"),
        open_source(str(path), options=AUTO, wanted=None),
    ):
        pass


def test_the_demo_scene() -> None:
    """Twelve plausible bands, a corner without data, the same every time."""
    dn = demo_dn()
    assert dn.shape == (12, SIDE_PX, SIDE_PX)
    blank = (dn == 0).all(axis=0)
    assert blank[-1, -1]
    assert 0.01 < blank.mean() < 0.1
    assert not ((dn == 0).any(axis=0) & ~blank).any()
    source = DemoSource(["B8", "B4"])
    expected = dn[[L2A_BANDS.index("B8"), L2A_BANDS.index("B4")]]
    np.testing.assert_array_equal(
        source.read(WINDOW), expected[(slice(None), *WINDOW.slices)]
    )
    demo_dn.cache_clear()
    np.testing.assert_array_equal(demo_dn(), dn)


@needs_data
def test_real_scenes_are_understood() -> None:
    """Band order, level and offset of the real files, as their origin says."""
    with open_source(str(MAJORTOM), options=AUTO, wanted=None) as source:
        assert source.scene.bands == MMEARTH_BANDS
        assert (source.scene.level, source.scene.offset_dn) == ("l2a", 0)
    with open_source(str(SEN1FLOODS), options=AUTO, wanted=MMEARTH_BANDS) as source:
        assert (source.scene.level, source.scene.offset_dn) == ("l1c", 0)
        assert "degrees" in source.scene.warnings[0]
    with open_source(str(EUROSAT_CHIP), options=AUTO, wanted=None) as source:
        assert "have no names" in source.scene.warnings[0]
    with (
        pytest.raises(SceneError, match=r"\+1000"),
        open_source(str(RSTOOLBOX), options=AUTO, wanted=None),
    ):
        pass


@needs_data
def test_the_offset_of_a_real_scene_is_removed() -> None:
    options = SceneOptions(offset="-1000")
    with (
        open_source(str(RSTOOLBOX), options=options, wanted=L2A_BANDS) as source,
        rasterio.open(RSTOOLBOX) as file,
    ):
        raw = file.read().astype(int)
        whole = Window(row=0, col=0, height=file.height, width=file.width)
        np.testing.assert_array_equal(source.read(whole), np.maximum(raw - 1000, 1))
