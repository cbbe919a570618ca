"""Laws of areas: a part of a scene is that part, on the scene's own grid."""

from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.features import geometry_mask
from rasterio.warp import transform, transform_bounds

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window
from mmearth_infer.read.area import MULTIPLE_PX, STRIP_PX, Area, AreaSource
from mmearth_infer.read.asked import bbox_area
from mmearth_infer.read.options import SceneOptions, parse_bbox
from mmearth_infer.read.wrap import wrapped
from tests.helpers.areas import (
    LEFT,
    TOP,
    UTM_33,
    Corners,
    PlainSource,
    inside,
    lon_lat_square,
    of_file,
    on_scene,
    polygon,
    to_area,
    write,
)

corners = st.lists(
    st.tuples(
        st.integers(-600, 3800).map(lambda n: n / 32),
        st.integers(-600, 5400).map(lambda n: n / 32),
    ),
    min_size=3,
    max_size=3,
)


@settings(deadline=None)
@given(
    triangles=st.lists(corners, min_size=1, max_size=3),
    multiple=st.sampled_from([1, 16, 64, 96]),
    data=st.data(),
)
def test_a_part_is_that_part(
    triangles: list[Corners], multiple: int, data: st.DataObject
) -> None:
    """`AreaSource(s, a).read(w) == s.read(w + corner)`, and so are the classes; sides
    lie at multiples or where the scene ends; the pixels that are wanted are those whose
    centre shapely finds inside, up to those within 1e-6 px of the edge; any window is
    wanted as the whole is.
    """
    scene = PlainSource(150, 100)
    assume(all(shapely.Polygon(c).area for c in triangles))
    shape = shapely.union_all([shapely.Polygon(c) for c in triangles])
    row, col = np.mgrid[:150, :100]
    centres = shapely.points(col + 0.5, row + 0.5)
    expected = shapely.contains(shape, centres)
    clear = shapely.distance(shape.boundary, centres) > 1e-6
    assume((expected & clear).any())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmearth_infer.read.area.STRIP_PX", 32)
        part = AreaSource(scene, to_area(*triangles), multiple_px=multiple)
        check_part(part, scene, expected, clear, multiple, data)


def check_part(
    part: AreaSource,
    scene: PlainSource,
    expected: np.ndarray,
    clear: np.ndarray,
    multiple: int,
    data: st.DataObject,
) -> None:
    frame = part.frame
    assert (frame.row % multiple, frame.col % multiple) == (0, 0)
    assert frame.height % multiple == 0 or frame.row + frame.height == 150
    assert frame.width % multiple == 0 or frame.col + frame.width == 100
    np.testing.assert_array_equal(on_scene(part, scene)[clear], expected[clear])
    top = data.draw(st.integers(0, frame.height - 1))
    left = data.draw(st.integers(0, frame.width - 1))
    window = Window(
        row=top,
        col=left,
        height=data.draw(st.integers(1, frame.height - top)),
        width=data.draw(st.integers(1, frame.width - left)),
    )
    there = Window(
        row=top + frame.row,
        col=left + frame.col,
        height=window.height,
        width=window.width,
    )
    np.testing.assert_array_equal(part.read(window), scene.read(there))
    np.testing.assert_array_equal(part.classes(window), scene.classes(there))
    wanted = inside(part)[window.slices]
    np.testing.assert_array_equal(part.wanted(window), wanted)
    np.testing.assert_array_equal(
        part.read_wanted(window), np.where(wanted, scene.read(there), 0)
    )


@given(
    stride=st.sampled_from([1, 2, 4, 8, 16, 32]),
    row=st.integers(0, 600),
    col=st.integers(0, 400),
    size=st.integers(1, 90),
)
def test_cells_of_a_part_are_cells_of_the_scene(
    stride: int, row: int, col: int, size: int
) -> None:
    """Their centres are some of the scene's, next to each other, for every stride."""
    scene = PlainSource()
    square = [
        (col, row),
        (col + size, row),
        (col + size, row + size),
        (col, row + size),
    ]
    part = AreaSource(scene, to_area(square))
    ours, all_cells = part.scene.geobox.cells(stride), scene.scene.geobox.cells(stride)
    first_row, first_col = part.frame.row // stride, part.frame.col // stride
    np.testing.assert_array_equal(ours.y, all_cells.y[first_row:][: ours.height])
    np.testing.assert_array_equal(ours.x, all_cells.x[first_col:][: ours.width])


def test_polygons_are_rasterised_as_rasterio_does() -> None:
    """Holes are left out, polygons that overlap are one, over borders of strips."""
    scene = PlainSource()
    outer = [(10, 10), (490, 20), (480, 690), (20, 680)]
    hole = [(100, 100), (300, 150), (200, 400)]
    other = [(150, 120), (200, 130), (180, 300)]
    area = to_area(outer, other)
    holed = (*area.polygons[0], *to_area(hole).polygons[0])
    area = Area(polygons=(holed, area.polygons[1]), evidence="", digest="")
    part = AreaSource(scene, area)
    assert part.frame.height > 2 * STRIP_PX
    shapes = [
        {"type": "Polygon", "coordinates": [ring.tolist() for ring in rings]}
        for rings in area.polygons
    ]
    expected = geometry_mask(
        shapes, (700, 500), scene.scene.geobox.transform, invert=True
    )
    np.testing.assert_array_equal(on_scene(part, scene), expected)


def test_the_fingerprint_tells_areas_apart(tmp_path: Path) -> None:
    scene = PlainSource()
    boxes: list[tuple[float, float, float, float]] = [
        (LEFT, TOP - 100, LEFT + 100, TOP),
        (LEFT, TOP - 100, LEFT + 110, TOP),
        (LEFT + 700, TOP - 100, LEFT + 800, TOP),
    ]
    prints = {wrapped(scene, SceneOptions(bbox=b)).fingerprint for b in boxes}
    path = write(tmp_path / "a.geojson", lon_lat_square(scene))
    prints.add(wrapped(scene, SceneOptions(aoi=str(path))).fingerprint)
    assert len(prints | {scene.fingerprint}) == 5
    moved = path.rename(tmp_path / "b.geojson")
    assert wrapped(scene, SceneOptions(aoi=str(moved))).fingerprint in prints


def test_long_edges_are_straight_in_degrees(tmp_path: Path) -> None:
    """A parallel is no straight line in UTM: 6 degrees of one bulge by kilometres."""
    scene = PlainSource()
    box = scene.scene.geobox
    (lon,), (lat,) = transform(UTM_33, "OGC:CRS84", [LEFT + 2500], [TOP - 3500])
    wide = [(lon - 3, lat), (lon + 3, lat), (lon + 3, lat + 1), (lon - 3, lat + 1)]
    part = of_file(write(tmp_path / "p.geojson", polygon(*wide)), scene)
    x, y = np.meshgrid(box.x, box.y)
    _, lat_P = transform(UTM_33, "OGC:CRS84", x.ravel().tolist(), y.ravel().tolist())
    north = np.array(lat_P).reshape(700, 500) > lat
    assert (on_scene(part, scene) != north).sum() <= 50  # of 500 along the edge


@pytest.mark.parametrize(
    "outline",
    [
        [(-180, -90), (180, -90), (180, 90), (-180, 90)],
        [(-170, 10), (10, -80), (170, 10), (15, 89)],
        [(0, 0), (60, 0), (60, 80), (0, 80)],
    ],
)
def test_an_area_may_be_as_large_as_the_earth(outline: Corners, tmp_path: Path) -> None:
    scene = PlainSource()
    part = of_file(write(tmp_path / "p.geojson", polygon(*outline)), scene)
    assert on_scene(part, scene).all()


def test_areas_cross_the_antimeridian(tmp_path: Path) -> None:
    """As RFC 7946 has it, cut in two; as a box with its west east of its east."""
    scene = PlainSource(
        crs=CRS.from_epsg(32760), transform=Affine(10, 0, 815_000, 0, -10, 8_200_000)
    )
    halves = {
        "type": "MultiPolygon",
        "coordinates": [
            polygon((179.99, -17), (180, -17), (180, -16), (179.99, -16))[
                "coordinates"
            ],
            polygon((-180, -17), (-179.99, -17), (-179.99, -16), (-180, -16))[
                "coordinates"
            ],
        ],
    }
    cut = of_file(write(tmp_path / "p.geojson", halves), scene)
    as_one = polygon((179.99, -17), (180.01, -17), (180.01, -16), (179.99, -16))
    one = of_file(write(tmp_path / "q.geojson", as_one), scene)
    both = on_scene(one, scene)
    assert 0 < both.mean() < 1
    assert (on_scene(cut, scene) != both).sum() <= 1
    box = AreaSource(scene, bbox_area((179.99, -17, -179.99, -16), scene.scene.geobox))
    assert (on_scene(box, scene) >= both).all()
    assert not on_scene(box, scene).all()


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_a_box_in_the_scenes_crs_is_exact(crs: str) -> None:
    size = 10 if crs == "EPSG:32633" else 2**-13
    left, top = (LEFT, TOP) if crs == "EPSG:32633" else (15, 48)
    scene = PlainSource(
        crs=CRS.from_user_input(crs), transform=Affine(size, 0, left, 0, -size, top)
    )
    bbox = (left + 70 * size, top - 128 * size, left + 128 * size, top - 64 * size)
    area = bbox_area(bbox, scene.scene.geobox)
    assert f"in the scene's CRS, {crs}" in area.evidence
    part = AreaSource(scene, area)
    assert part.frame == Window(row=64, col=64, height=64, width=64)
    expected = np.zeros((64, 64), dtype=bool)
    expected[:, 6:] = True
    np.testing.assert_array_equal(inside(part), expected)


def test_a_box_in_degrees_is_what_encloses_it() -> None:
    """The pixels between the outermost coordinates of its four edges."""
    scene = PlainSource()
    box = scene.scene.geobox
    square = lon_lat_square(scene)["coordinates"][0]
    (west, south), (east, north) = square[0], square[2]
    part = AreaSource(scene, bbox_area((west, south, east, north), box))
    assert "in longitude and latitude" in part.evidence
    left, bottom, right, top = transform_bounds(
        "OGC:CRS84", UTM_33, west, south, east, north, densify_pts=101
    )
    expected = np.outer(
        (box.y > bottom) & (box.y < top), (box.x > left) & (box.x < right)
    )
    np.testing.assert_array_equal(on_scene(part, scene), expected)


def test_what_cannot_be_told_is_refused() -> None:
    """Numbers that mean a place in the scene either way; otherwise the scene tells."""
    box = PlainSource(
        crs=CRS.from_proj4("+proj=tmerc +lat_0=0 +lon_0=0 +datum=WGS84 +units=m"),
        transform=Affine(10, 0, -2_000_000, 0, -10, 3_000_000),
        height=500_000 // 1000,
        width=500,
    ).scene.geobox
    wide = GeoBox(crs=box.crs, transform=box.transform, height=500_000, width=500_000)
    with pytest.raises(SceneError, match="can mean degrees or coordinates in") as no:
        bbox_area((0, 0, 5, 5), wide)
    assert "--aoi" in str(no.value.hint)
    assert "scene's CRS" in bbox_area((-900_000, 0, 5, 500), wide).evidence
    far = GeoBox(
        crs=UTM_33, transform=Affine(10, 0, 0, 0, -10, 90), height=20, width=20
    )
    assert "scene's CRS" in bbox_area((20, 0, 50, 50), far).evidence


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ("10,48,11,49", "lies outside the scene: it spans 10 to 11 and 48 to 49, the"),
        ("48,10,49,11", "check the order, longitude first"),
        ("1,1,2000,2000", "it spans 1 to 2000 and 1 to 2000, the scene 600000 to"),
        ("16.4,47.84,16.35,47.85", "is no box from 16.4 east to 16.35"),
        ("700000,1,600000,2", "is no box from 700000 east to 600000"),
        ("602000,5298000,602003,5298003", "no pixel of `plain` has its centre in"),
        ("1,2,3", "--bbox 1,2,3 is not four numbers"),
        ("1,2,3,x", "is not four numbers"),
        ("nan,2,3,4", "is not four numbers"),
        ("1,2,inf,4", "is not four numbers"),
        ("1,4,3,2", "--bbox 1,4,3,2 covers nothing"),
        ("1,2,1,4", "covers nothing"),
    ],
)
def test_boxes_that_are_none(bbox: str, message: str) -> None:
    with pytest.raises(SceneError) as caught:
        wrapped(PlainSource(), SceneOptions(bbox=parse_bbox(bbox)))
    assert message in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint


def test_the_default_multiple_suits_all_models() -> None:
    """Strides of 1 to 32 px, and tiles that are multiples of 16 or 32 px."""
    assert all(MULTIPLE_PX % number == 0 for number in (1, 2, 4, 8, 16, 32, 64))
