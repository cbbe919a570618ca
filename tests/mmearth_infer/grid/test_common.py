"""The grid that rasters of one CRS share."""

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from mmearth_infer.grid.common import around, box_at, from_multiples, place_of
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.grid.window import Window

UTM = CRS.from_epsg(32632)
numbers = st.integers(-2_000_000, 2_000_000)
sides = st.integers(1, 300)
places = st.builds(Window, row=numbers, col=numbers, height=sides, width=sides)


def box(transform: Affine) -> GeoBox:
    return GeoBox(crs=UTM, transform=transform, height=3, width=4)


@given(places, st.sampled_from([10.0, 60.0, 160.0, 2.5]))
def test_a_raster_is_where_it_was_put(place: Window, side: float) -> None:
    """`place_of(box_at(p, ...)) == p`."""
    found = box_at(place, crs=UTM, high=side, wide=2 * side)
    assert place_of(found) == place
    assert found.bounds[0] == place.col * 2 * side
    assert found.bounds[3] == -place.row * side


@given(places, st.sampled_from([1, 4, 16, 32, 14]))
def test_what_begins_at_multiples(place: Window, multiple: int) -> None:
    """Less than a multiple goes in the north and the west, and nothing elsewhere."""
    part = from_multiples(place, multiple)
    if part is None:
        ends = place.row + place.height, place.col + place.width
        starts = place.row, place.col
        assert any(
            -(-start // multiple) * multiple >= end
            for start, end in zip(starts, ends, strict=True)
        )
        return
    assert (place.row + part.row) % multiple == 0 == (place.col + part.col) % multiple
    assert max(part.row, part.col) < multiple
    assert part.row + part.height == place.height
    assert part.col + part.width == place.width


@given(st.lists(places, min_size=1, max_size=5))
def test_around_holds_all_and_no_more(found: list[Window]) -> None:
    whole = around(found)
    assert all(whole.shared_with(place) == place for place in found)
    assert min(place.row for place in found) == whole.row
    assert max(place.col + place.width for place in found) == whole.col + whole.width


@given(places, places)
def test_what_windows_share(a: Window, b: Window) -> None:
    """It is in both, the same from both sides, and None if no pixel is."""
    shared = a.shared_with(b)
    assert shared == b.shared_with(a)
    rows = set(range(a.row, a.row + a.height)) & set(range(b.row, b.row + b.height))
    cols = set(range(a.col, a.col + a.width)) & set(range(b.col, b.col + b.width))
    if shared is None:
        assert not rows or not cols
    else:
        assert (shared.row, shared.height) == (min(rows), len(rows))
        assert (shared.col, shared.width) == (min(cols), len(cols))


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 600_005, 0, -10, 5_300_000),
        Affine(10, 0, 600_000, 0, -10, 5_300_000.5),
        Affine(10, 1, 600_000, 0, -10, 5_300_000),
        Affine(10, 0, 600_000, 0, 10, 5_300_000),
        Affine(-10, 0, 600_000, 0, -10, 5_300_000),
        Affine(0, 0, 600_000, 0, -10, 5_300_000),
        Affine(10, 0, float("inf"), 0, -10, 5_300_000),
        Affine(10, 0, float("nan"), 0, -10, 5_300_000),
    ],
)
def test_what_does_not_lie_on_it(transform: Affine) -> None:
    assert place_of(box(transform)) is None


def test_a_hair_beside_it_is_on_it() -> None:
    assert place_of(box(Affine(10, 0, 600_000.01, 0, -10, 5_300_000))) is not None
