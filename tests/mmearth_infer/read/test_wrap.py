"""Masks, areas and mosaics together."""

from pathlib import Path

import numpy as np
from affine import Affine

from mmearth_infer.read.masked import MaskedSource
from mmearth_infer.read.mosaic import MosaicSource
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_sources
from mmearth_infer.read.wrap import wrapped
from tests.helpers.areas import LEFT, TOP, PlainSource, inside, whole
from tests.helpers.scenes import UTM, random_dn, write_scene


def test_areas_go_around_masks_and_other_areas() -> None:
    """A mask keeps its pixels blank inside an area; wishes add up."""
    row, col = np.mgrid[:700, :500]
    scene = PlainSource(wanted=(row + col) % 2 == 0)
    options = SceneOptions(mask=("cloud",), bbox=(LEFT, TOP - 1000, LEFT + 1280, TOP))
    part = wrapped(scene, options)
    rows, cols = np.s_[:128, :128]
    blank = np.isin(scene.scl[rows, cols], [0, 8, 9, 10])
    expected = np.where(blank, 0, scene.dn[:, rows, cols])
    np.testing.assert_array_equal(part.read(whole(part)), expected)
    even = (row + col)[rows, cols] % 2 == 0
    np.testing.assert_array_equal(inside(part), even & (row[rows, cols] < 100))
    assert wrapped(scene, SceneOptions()) is scene


def test_an_area_is_cut_from_a_mosaic_as_a_whole(tmp_path: Path) -> None:
    """It may reach over scenes, and lie outside some of them."""
    dn = random_dn(height=64, width=200)
    paths = []
    for n, cols in enumerate((slice(0, 90), slice(90, 150), slice(150, 200))):
        place = UTM @ Affine.translation(cols.start, 0)
        path = write_scene(tmp_path / f"{n}.tif", dn[:, :, cols], transform=place)
        paths.append(str(path))
    left, top = UTM.c, UTM.f
    options = SceneOptions(bbox=(left + 700, top - 300, left + 1200, top))
    with open_sources(paths[:2], options=options, wanted=None) as source:
        assert source.scene.geobox.bounds == (left + 640, top - 640, left + 1280, top)
        np.testing.assert_array_equal(source.read(whole(source)), dn[:, :, 64:128])
        assert inside(source).sum() == 50 * 30
    with open_sources(paths, options=options, wanted=None) as other:
        np.testing.assert_array_equal(other.read(whole(other)), dn[:, :, 64:128])


def test_a_cloud_in_one_scene_shows_the_next() -> None:
    """Scenes are masked each by their own classes, then put together."""
    front, back = PlainSource(), PlainSource()
    back.dn = back.dn + np.uint16(1000)
    back.scl = np.roll(back.scl, 1)
    parts = [MaskedSource(source, ["cloud"]) for source in (front, back)]
    seen = MosaicSource(parts).read(whole(front))
    in_front, behind = (np.isin(s.scl, [0, 8, 9, 10]) for s in (front, back))
    expected = np.where(in_front, np.where(behind, 0, back.dn), front.dn)
    np.testing.assert_array_equal(seen, expected)
    assert (in_front & ~behind).any()
