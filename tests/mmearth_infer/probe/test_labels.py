"""Labels are where they are on Earth, whatever their CRS and form."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from mmearth_infer.errors import MissingExtraError, SceneError
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.probe import labels
from mmearth_infer.probe.codes import NONE
from mmearth_infer.probe.labels import LabelOptions, Labels, open_labels
from tests.mmearth_infer.probe.fields import point, square, write_labels, write_raster
from tests.mmearth_infer.view.stores import CORNER

GRID = GeoBox(
    crs=CRS.from_epsg(32633),
    transform=CORNER @ Affine.scale(16),
    height=8,
    width=9,
)


def names_hw(labels: Labels, box: GeoBox = GRID) -> list[str]:
    """Return a row of letters for each row of a grid, `.` for none."""
    codes = labels.codes(box)
    assert codes is not None
    return [
        "".join("." if c == NONE else labels.name_of(int(c))[0] for c in row)
        for row in codes
    ]


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:32632"])
def test_polygons_of_any_crs(crs: str, tmp_path: Path) -> None:
    """A point is in a polygon if its centre is; two classes at a place are none."""
    shapes = [
        (square(0, 0, 3), "a"),
        (square(2, 2, 2.8), "b"),
        (square(6, 6.6, 1), "c"),
    ]
    found = open_labels(write_labels(tmp_path / "l.json", shapes, crs=crs), _of())
    assert names_hw(found) == [
        "aaa......",
        "aaa......",
        "aa.bb....",
        "..bbb....",
        "..bbb....",
        ".........",
        ".......c.",
        ".........",
    ]
    assert found.outside() == (0, 3)
    assert not found.whole_cells


def test_points_and_what_lies_outside(tmp_path: Path) -> None:
    shapes = [(point(1.5, 2.5), "a"), (point(7.9, 8.9), "b"), (point(50, 50), "c")]
    found = open_labels(write_labels(tmp_path / "l.json", shapes), _of())
    rows = names_hw(found)
    assert rows[1] == "..a......"
    assert rows[7] == "........b"
    assert found.whole_cells
    assert found.outside() == (1, 3)
    away = GeoBox(
        crs=GRID.crs,
        transform=GRID.transform @ Affine.translation(500, 0),
        height=5,
        width=5,
    )
    assert found.codes(away) is None


@pytest.mark.parametrize("nodata", [None, 9])
def test_rasters(nodata: float | None, tmp_path: Path) -> None:
    """0 is a class, beyond the raster is none, nodata and ignored values are none."""
    values = np.array([[0, 1, 2], [3, 9, 0]], np.uint8)
    path = write_raster(
        tmp_path / "l.tif",
        values,
        nodata=nodata,
        transform=GRID.transform @ Affine.translation(1, 1),
    )
    options = LabelOptions(names={0: "zero", 1: "one"}, ignore=(3,))
    rows = names_hw(open_labels(path, options))
    middle = "." if nodata else "9"
    assert rows[:4] == [
        ".........",
        ".zo2.....",
        f"..{middle}z.....",
        ".........",
    ]


def test_rasters_of_another_crs(tmp_path: Path) -> None:
    """Halves of a raster in degrees are halves of the grid in metres."""
    halves = np.array([1, 2], np.int16).repeat(50)[None].repeat(100, axis=0)
    middle_m = 600_000 + 4.5 * 160
    (lon,), _ = transform("EPSG:32633", "EPSG:4326", [middle_m], [5_299_360])
    path = write_raster(
        tmp_path / "l.tif",
        halves,
        crs="EPSG:4326",
        transform=Affine(0.001, 0, lon - 0.05, 0, -0.001, 47.9),
    )
    rows = names_hw(open_labels(path, _of()))
    for row in rows:
        assert row[:4] == "1111"
        assert row[5:] == "2222"


def test_numbers_that_name_classes(tmp_path: Path) -> None:
    """Whole numbers are names, also where a gap made them floats; gaps are none."""
    shapes = [(square(0, 0, 1), 2), (square(1, 1, 1), None), (square(2, 2, 1), 10)]
    found = open_labels(write_labels(tmp_path / "l.json", shapes), _of())
    codes = found.codes(GRID)
    assert codes is not None
    assert found.name_of(int(codes[0, 0])) == "2"
    assert found.name_of(int(codes[2, 2])) == "10"
    assert codes[1, 1] == NONE


LINE = {
    "type": "LineString",
    "coordinates": [[600_000, 5_300_000], [600_100, 5_299_000]],
}
BOW_TIE = {
    "type": "Polygon",
    "coordinates": [
        [
            [600_000, 5_300_000],
            [600_100, 5_299_900],
            [600_100, 5_300_000],
            [600_000, 5_299_900],
            [600_000, 5_300_000],
        ]
    ],
}


@pytest.mark.parametrize(
    ("shapes", "message", "hint"),
    [
        ([(LINE, "a")], "geometries of type LineString", "polygons or points"),
        ([(BOW_TIE, "a")], "inside is unclear", "ogr2ogr -makevalid"),
        ([(square(0, 0, 1), None)], "no geometry with a class", "polygons or points"),
        ([(square(0, 0, 1), 0.5)], "measured, such as 0.5", "choose a field"),
        (
            [(square(0, 0, 1), f"c{n}") for n in range(256)],
            "256 classes, maps hold 255",
            "another --field",
        ),
    ],
)
def test_vector_files_that_are_no_labels(
    shapes: list[tuple[dict[str, object], object]],
    message: str,
    hint: str,
    tmp_path: Path,
) -> None:
    path = write_labels(tmp_path / "l.json", shapes)
    with pytest.raises(SceneError, match=message) as caught:
        open_labels(path, _of())
    assert hint in str(caught.value.hint)


def test_fields(tmp_path: Path) -> None:
    shapes: list[tuple[dict[str, object], object]] = [(square(0, 0, 1), "a")]
    path = write_labels(tmp_path / "l.json", shapes, other="b")
    with pytest.raises(SceneError, match="has 2 fields: `class`, `other`") as caught:
        open_labels(path, _of())
    assert caught.value.hint == "--field says which one names the class"
    with pytest.raises(SceneError, match="has no field `kind`") as caught:
        open_labels(path, LabelOptions(class_field="kind"))
    assert "`class`, `other`" in str(caught.value.hint)
    assert names_hw(open_labels(path, LabelOptions(class_field="other")))[0][0] == "b"


def test_files_that_are_no_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SceneError, match="there are no labels"):
        open_labels(tmp_path / "none.tif", _of())
    text = tmp_path / "l.gpkg"
    text.write_text("nothing")
    with pytest.raises(SceneError, match="no vector file that can be read"):
        open_labels(text, _of())
    (tmp_path / "l.tif").write_text("nothing")
    with pytest.raises(SceneError, match="not a raster that can be read"):
        open_labels(tmp_path / "l.tif", _of())
    halves = write_raster(tmp_path / "f.tif", np.full((8, 9), 0.5, np.float32))
    with pytest.raises(SceneError, match="no whole numbers"):
        open_labels(halves, _of()).codes(GRID)
    monkeypatch.setattr(labels, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"l\.gpkg"):
        open_labels(text, _of())


def _of() -> LabelOptions:
    return LabelOptions()
