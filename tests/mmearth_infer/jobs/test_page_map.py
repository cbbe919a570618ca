"""Where the footprints of scenes are drawn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.jobs.page_map import (
    MOST_SHAPES,
    Placed,
    draw_map,
    side_by_side,
    unwrapped,
)

if TYPE_CHECKING:
    from mmearth_infer.grid.footprint import Outline
    from mmearth_infer.jobs.scene_task import State


def box(west: float, south: float, side: float = 1.0) -> Outline:
    """Return an outline whose longitudes leap as those of a report do."""
    corners = [(0, 0), (side, 0), (side, side), (0, side), (0, 0)]
    return tuple(((west + x + 180) % 360 - 180, south + y) for x, y in corners)


def placed(outline: Outline, state: State = "done", name: str = "a") -> Placed:
    return Placed(name=name, state=state, outline=outline)


def points(path: str) -> list[tuple[float, float]]:
    assert re.fullmatch(r"M(-?[\d.]+,-?[\d.]+ ?)+z", path)
    pairs = [pair.split(",") for pair in path.strip("Mz").split()]
    return [(float(x), float(y)) for x, y in pairs]


@given(
    st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-80, 80), st.floats(0.01, 5)),
        min_size=1,
        max_size=20,
    )
)
def test_outlines_are_turned_by_whole_circles(
    boxes: list[tuple[float, float, float]],
) -> None:
    """And by nothing else; none leaps, and all of them begin within one circle."""
    outlines = [box(*one) for one in boxes]
    turned = side_by_side([unwrapped(one) for one in outlines])
    for before, after in zip(outlines, turned, strict=True):
        for (lon, lat), (new_lon, new_lat) in zip(before, after, strict=True):
            assert (new_lon - lon + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
            assert lat == new_lat
    wests = [min(lon for lon, _ in one) for one in turned]
    easts = [max(lon for lon, _ in one) for one in turned]
    assert all(b - a < 6 for a, b in zip(wests, easts, strict=True))
    assert max(wests) - min(wests) < 360
    assert -185 < (min(wests) + max(easts)) / 2 < 185


@given(
    st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-80, 80), st.floats(0.01, 5)),
        min_size=1,
        max_size=20,
    )
)
def test_everything_is_inside_the_drawing(
    boxes: list[tuple[float, float, float]],
) -> None:
    drawn = draw_map([placed(box(*one)) for one in boxes])
    for shape in drawn.shapes:
        for x, y in points(shape.path):
            assert 0 <= x <= drawn.width
            assert 0 <= y <= drawn.height
    assert all(0 <= line.at <= drawn.width for line in drawn.meridians)
    assert all(0 <= line.at <= drawn.height for line in drawn.parallels)
    assert 240 <= drawn.height <= 640.1


def test_a_square_on_the_ground_is_one_on_the_map() -> None:
    """At 60 degrees, one degree of latitude is two of longitude; north is up."""
    drawn = draw_map(
        [placed(((10.0, 59.5), (12.0, 59.5), (12.0, 60.5), (10.0, 60.5), (10.0, 59.5)))]
    )
    (left, bottom), (right, _), (_, top), _ = points(drawn.shapes[0].path)
    assert right - left == pytest.approx(bottom - top, rel=1e-3)
    assert right > left
    labels = {line.label: line.at for line in drawn.meridians}
    assert labels["10° E"] == pytest.approx(left, abs=0.1)
    assert labels["12° E"] == pytest.approx(right, abs=0.1)


def test_scenes_on_both_sides_of_the_antimeridian_lie_side_by_side() -> None:
    drawn = draw_map([placed(box(178.5, -18)), placed(box(-179.5, -18))])
    first, second = (points(shape.path) for shape in drawn.shapes)
    assert max(x for x, _ in first) < min(x for x, _ in second)
    labels = [line.label for line in drawn.meridians]
    assert "180°" in labels
    assert any(label.endswith("E") for label in labels)
    assert any(label.endswith("W") for label in labels)


def test_scenes_that_look_alike_are_one_shape() -> None:
    """Those of another state lie on top."""
    drawn = draw_map(
        [
            placed(box(1, 1), "failed", "x"),
            placed(box(1, 1), name="a"),
            placed(box(1, 1), name="b"),
        ]
    )
    assert [(one.state, one.names) for one in drawn.shapes] == [
        ("done", ("a", "b")),
        ("failed", ("x",)),
    ]


def test_of_very_many_scenes_those_of_a_state_are_one_shape() -> None:
    many = [placed(box(n % 60, n // 60)) for n in range(MOST_SHAPES + 100)]
    one, other = draw_map([*many, placed(box(1, 1), "failed")]).shapes
    assert (one.state, one.names, one.path.count("M")) == ("done", (), len(many))
    assert (other.state, other.path.count("M")) == ("failed", 1)
