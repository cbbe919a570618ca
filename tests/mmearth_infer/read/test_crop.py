"""Scenes that begin on the grid that all scenes of a CRS share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer.errors import SceneError
from mmearth_infer.read.crop import snapped
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_sources
from mmearth_infer.read.wrap import wrapped
from tests.helpers.areas import LEFT, TOP, PlainSource, inside, whole
from tests.helpers.scenes import random_dn, write_scene

if TYPE_CHECKING:
    from pathlib import Path


def at(rows: int, cols: int, **more: object) -> PlainSource:
    """A scene so many pixels south and east of a corner of the grid of 160 m."""
    place = Affine(10, 0, 600_000 + 10 * cols, 0, -10, 5_280_000 - 10 * rows)
    return PlainSource(90, 70, transform=place, **more)  # type: ignore[arg-type]


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([4, 8, 16, 32]))
def test_less_than_a_cell_goes(rows: int, cols: int, snap_px: int) -> None:
    """The rest is that of the scene, pixel for pixel, where it was."""
    scene = at(rows, cols)
    part = snapped(scene, snap_px)
    row, col = part.frame.row, part.frame.col
    assert max(row, col) < snap_px
    left, bottom, right, top = part.scene.geobox.bounds
    assert left % (10 * snap_px) == 0 == top % (10 * snap_px)
    assert (right, bottom) == (
        scene.scene.geobox.bounds[2],
        scene.scene.geobox.bounds[1],
    )
    np.testing.assert_array_equal(part.read(whole(part)), scene.dn[:, row:, col:])
    np.testing.assert_array_equal(part.classes(whole(part)), scene.scl[row:, col:])
    assert part.wanted(whole(part)) is None


def test_a_snapped_scene_is_another_scene() -> None:
    """What is begun with one grid is not gone on with on another, or on none."""
    scene = at(3, 5)
    options = (SceneOptions(snap_px=8), SceneOptions(snap_px=16), SceneOptions())
    found = [wrapped(scene, one) for one in options]
    assert len({one.fingerprint for one in found}) == 3
    assert len({one.scene.notes for one in found}) == 3
    (note,) = found[1].scene.notes
    assert "without 13 rows in the north and 11 columns in the west" in note


def test_what_the_scene_wants_is_kept() -> None:
    wanted = np.random.default_rng(0).random((90, 70)) < 0.5
    part = snapped(at(3, 5, wanted=wanted), 16)
    np.testing.assert_array_equal(inside(part), wanted[13:, 11:])


def test_areas_begin_on_the_grid_too() -> None:
    """Also where cells have a side that the areas' own multiple is none of."""
    for snap_px in (16, 24):
        scene = PlainSource()
        box = (LEFT + 2000, TOP - 5000, LEFT + 4000, TOP - 3000)
        part = wrapped(scene, SceneOptions(snap_px=snap_px, bbox=box))
        left, _, _, top = part.scene.geobox.bounds
        assert left % (10 * snap_px) == 0 == top % (10 * snap_px)
        assert left <= box[0]
        assert top >= box[3]


def test_several_scenes_are_snapped_as_one(tmp_path: Path) -> None:
    dn = random_dn(height=64, width=100)
    paths = []
    for n, cols in enumerate((slice(0, 50), slice(50, 100))):
        place = Affine(10, 0, 600_010 + 10 * cols.start, 0, -10, 5_280_000)
        path = write_scene(tmp_path / f"{n}.tif", dn[:, :, cols], transform=place)
        paths.append(str(path))
    options = SceneOptions(snap_px=16)
    with open_sources(paths, options=options, wanted=None) as source:
        np.testing.assert_array_equal(source.read(whole(source)), dn[:, :, 15:])
    with open_sources(paths[:1], options=options, wanted=None) as source:
        np.testing.assert_array_equal(source.read(whole(source)), dn[:, :, 15:50])


@pytest.mark.parametrize(
    ("scene", "message", "hint"),
    [
        (
            PlainSource(transform=Affine(10, 0, 600_005, 0, -10, 5_300_000)),
            "the corner of `plain` is at 600005, 5300000, which are no multiples",
            "gdalwarp -tap",
        ),
        (
            PlainSource(
                crs=CRS.from_epsg(4326), transform=Affine(1e-4, 0, 11, 0, -1e-4, 47)
            ),
            "`plain` is in degrees",
            "gdalwarp -tap",
        ),
        (
            PlainSource(
                9, 40, transform=Affine(10, 0, 600_000, 0, -10, 5_280_000 - 10)
            ),
            "`plain` holds no cell of 16 px that begins on the grid",
            "leave it out",
        ),
    ],
)
def test_what_cannot_be_snapped(scene: PlainSource, message: str, hint: str) -> None:
    with pytest.raises(SceneError, match=message) as caught:
        wrapped(scene, SceneOptions(snap_px=16))
    assert hint in (caught.value.hint or "")


def test_a_side_is_at_least_a_pixel() -> None:
    with pytest.raises(SceneError, match="snap_px 0 is not the side of a cell"):
        SceneOptions(snap_px=0)
