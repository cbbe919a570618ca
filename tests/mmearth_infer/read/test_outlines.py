"""Files of polygons: what is an area, and what is told of files that hold none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform

from mmearth_infer.errors import SceneError
from mmearth_infer.read.area import AreaSource
from mmearth_infer.read.asked import read_area
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.outline import find_crossing
from tests.helpers.areas import (
    LEFT,
    TOP,
    UTM_32,
    UTM_33,
    Corners,
    PlainSource,
    feature,
    inside,
    lon_lat_square,
    of_file,
    on_scene,
    polygon,
    to_area,
    write,
)


def test_all_forms_of_geojson_mean_the_same(tmp_path: Path) -> None:
    scene = PlainSource()
    square = lon_lat_square(scene)
    rings = square["coordinates"]
    high = [[[*point, 300.0] for point in ring] for ring in rings]
    forms: list[Any] = [
        square,
        {"type": "MultiPolygon", "coordinates": [rings, []]},
        feature(square),
        {"type": "FeatureCollection", "features": [feature(square), feature(None)]},
        {"type": "FeatureCollection", "features": [feature(square)] * 2},
        {"type": "GeometryCollection", "geometries": [square], "bbox": [1]},
        {**square, "coordinates": high, "crs": None},
        feature({**square, "coordinates": [ring[::-1] for ring in rings]}),
    ]
    files = [write(tmp_path / f"{n}.geojson", form) for n, form in enumerate(forms)]
    files.append(tmp_path / "mark.JSON")
    files[-1].write_bytes(b"\xef\xbb\xbf" + json.dumps(square).encode())
    expected = on_scene(of_file(files[0], scene), scene)
    assert 0 < expected.mean() < 1
    for path in files[1:]:
        np.testing.assert_array_equal(on_scene(of_file(path, scene), scene), expected)


def test_the_crs_member_counts(tmp_path: Path) -> None:
    """In metres of the scene's zone, or of the one beside it."""
    scene = PlainSource()
    drawn = [(100.0, 100.0), (333.0, 150.0), (200.0, 600.0)]
    expected = on_scene(AreaSource(scene, to_area(drawn)), scene)
    here = [(LEFT + 10 * x, TOP - 10 * y) for x, y in drawn]
    path = write_in_crs(tmp_path / "here.geojson", here, 32633)
    part = of_file(path, scene)
    np.testing.assert_array_equal(on_scene(part, scene), expected)
    assert "its `crs` member says urn:ogc:def:crs:EPSG::32633" in part.evidence
    there = list(zip(*transform(UTM_33, UTM_32, *zip(*here, strict=True)), strict=True))
    part = of_file(write_in_crs(tmp_path / "there.geojson", there, 32632), scene)
    box = scene.scene.geobox
    x, y = (axis.ravel().tolist() for axis in np.meshgrid(box.x, box.y))
    centres = shapely.points(*transform(UTM_33, UTM_32, x, y)).reshape(700, 500)
    expected = shapely.contains(shapely.Polygon(there), centres)
    assert (on_scene(part, scene) != expected).sum() <= 10  # of 1400 along the edges


def write_in_crs(path: Path, corners: Corners, code: int) -> Path:
    crs = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{code}"}}
    return write(path, polygon(*corners, crs=crs))


SQUARE = [[16.35, 47.83], [16.36, 47.83], [16.36, 47.84], [16.35, 47.83]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not GeoJSON with polygons: Input data was truncated"),
        (b"no json", "is not GeoJSON with polygons: JSON is malformed"),
        (b"\xff\xfe{", "is not GeoJSON"),
        (b'{"type": "Polygon", "coordinates": [[[16, 47], [16.1,', "truncated"),
        (b'{"type":"Polygon","coordinates":' + b"[" * 100_000, "is not GeoJSON"),
        (b'{"type":"Feature","geometry":' * 100_000, "is not GeoJSON"),
        (
            b'{"type":"Polygon","coordinates":[[[NaN,1],[2,3],[4,5],[6,7]]]}',
            "malformed",
        ),
        (b'{"type":"Polygon","coordinates":[[[1e999,1],[2,3]]]}', "out of range"),
        (b"[]", "Expected `object`"),
        ({"type": "Point", "coordinates": [1, 2]}, "Invalid value 'Point'"),
        ({"type": "Polygon"}, "missing required field `coordinates`"),
        ({"type": "Polygon", "coordinates": [[["1", 2]] * 4]}, "got `str`"),
        ({"type": "Polygon", "coordinates": [[[1]] * 4]}, "length >= 2"),
        ({"type": "Polygon", "coordinates": [SQUARE[:3]]}, "length >= 4"),
        ({"type": "Polygon", "coordinates": []}, "holds no polygon"),
        ({"type": "FeatureCollection", "features": []}, "holds no polygon"),
        (feature(None), "holds no polygon"),
        (
            {"type": "Polygon", "coordinates": [[[16, 47]] * 4]},
            "lies outside the scene",
        ),
        ({"type": "Polygon", "coordinates": [[[16.35, 47.83]] * 4]}, "no pixel of"),
        ({"type": "Polygon", "coordinates": [[*SQUARE[:3], [1, 2]]]}, "is not closed"),
        (
            polygon((16, 47), (17, 48), (16, 48), (17, 47)),
            "crosses itself near 16.5, 47.5",
        ),
        (polygon((6e5, 5e6), (6e5, 6e6), (7e5, 6e6)), "no place in longitude and lat"),
        (polygon((1e300, 5), (6, 6), (7, 6)), "has a point at 1e+300, 5"),
        (polygon((10, 48), (11, 48), (11, 49)), "it spans 10 to 11 and 48 to 49, the"),
        (polygon((47, 16), (48, 16), (48, 17)), "check the order, longitude first"),
        (
            polygon((1, 2), (3, 4), (3, 2), crs={"properties": {"name": "EPSG:0"}}),
            "an unknown coordinate reference system, `EPSG:0`",
        ),
        (
            polygon((1, 2), (3, 4), (3, 2), crs={"properties": {"name": "EPSG:5773"}}),
            "is neither projected nor geographic",
        ),
        (
            polygon((1, 2), (3, 4), (3, 2), crs={"type": "link", "properties": {}}),
            "missing required field `name`",
        ),
        (
            {
                **feature(polygon((1, 2), (3, 4), (3, 2), crs=None)),
                "crs": {"properties": {"name": "EPSG:4326"}},
                "geometry": polygon(
                    (1, 2), (3, 4), (3, 2), crs={"properties": {"name": "EPSG:3857"}}
                ),
            },
            "names several coordinate reference systems: EPSG:3857, EPSG:4326",
        ),
    ],
)
def test_files_that_hold_no_area(
    content: bytes | dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "aoi.geojson"
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    with pytest.raises(SceneError) as caught:
        of_file(path, PlainSource())
    assert message in f"{caught.value} {caught.value.hint}"
    assert caught.value.hint


def test_files_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = PlainSource().scene.geobox
    (tmp_path / "folder.json").mkdir()
    for name, message in (
        ("absent.geojson", "No such file"),
        ("absent.gpkg", "there is no area"),
        ("folder.json", "Is a directory"),
        ("nul\0.json", "null byte"),
    ):
        with pytest.raises(SceneError, match=message):
            read_area(tmp_path / name, box)
    monkeypatch.setattr("mmearth_infer.read.geojson.MOST_BYTES", 3)
    path = write(tmp_path / "large.json", {})
    path.write_text("    ")
    with pytest.raises(SceneError, match="larger than"):
        read_area(path, box)
    with pytest.raises(SceneError, match="--bbox and --aoi are two areas"):
        SceneOptions(aoi="x", bbox=(1, 2, 3, 4))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-400, 400)
    | st.sampled_from(["Polygon", "MultiPolygon", "Feature", "name", "EPSG:32633"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(["type", "coordinates", "geometry", "features", "crs"]),
            inner,
        )
    ),
    max_leaves=20,
)
rings = st.lists(
    st.lists(st.floats(16, 16.6) | st.floats(47, 48), min_size=2, max_size=3),
    min_size=3,
    max_size=6,
).map(lambda ring: [*ring, ring[0]])
documents = (
    json_values
    | st.builds(
        lambda kind, value: {"type": kind, "coordinates": value, "geometry": value},
        st.sampled_from(["Polygon", "MultiPolygon", "Feature"]),
        json_values,
    )
    | st.builds(lambda r: {"type": "Polygon", "coordinates": r}, st.lists(rings))
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary() | documents.map(lambda value: json.dumps(value).encode()))
def test_any_file_is_an_area_or_a_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "fuzz.geojson"
    path.write_bytes(content)
    try:
        part = of_file(path, PlainSource(100, 100))
    except SceneError as error:
        assert error.hint  # noqa: PT017 -- either is fine
    else:
        assert inside(part).any()


@given(
    ring=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6)),
        min_size=3,
        max_size=7,
        unique=True,
    ),
    at_once=st.sampled_from([1, 3, 500_000]),
)
def test_a_valid_ring_does_not_cross_itself(ring: Corners, at_once: int) -> None:
    """By shapely's judgement; and a ring without touching or double edges that crosses
    itself is found.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmearth_infer.read.outline._PAIRS_AT_ONCE", at_once)
        check_crossings(ring)


def check_crossings(ring: Corners) -> None:
    closed = np.array([*ring, ring[0]], dtype=np.float64)
    valid = shapely.Polygon(ring).is_valid
    found = find_crossing(closed)
    if valid:
        assert found is None
    if found is not None:
        edges = shapely.LineString(closed)
        assert shapely.distance(edges, shapely.Point(found)) < 1e-9
    phase = closed @ [[12.9898, 39.3468], [78.233, 11.135]] + [0, 1.7]
    nudged = closed + np.sin(phase) / 10
    assert (find_crossing(nudged) is None) == shapely.Polygon(nudged).is_valid
