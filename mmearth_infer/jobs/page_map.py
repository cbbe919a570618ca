"""Footprints of scenes as shapes of a drawing, with a graticule around them.

Longitudes and latitudes are the axes, and a degree of longitude is as much narrower as
it is on the ground at the middle of the map. Longitudes are turned by whole circles so
that scenes on both sides of the antimeridian lie side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mmearth_infer.grid.footprint import Outline
    from mmearth_infer.jobs.scene_task import State

WIDTH: Final = 960.0
"""Of the drawing, in its own units."""

HEIGHTS: Final = (240.0, 640.0)
"""Least and most of its height."""

MARGIN: Final = 0.06
"""Share of the extent that is left around the scenes."""

LEAST_DEG: Final = 0.02
"""Extent that a map has at least."""

BETWEEN_LINES: Final = 120.0
"""Least distance of lines of the graticule."""

STEPS_DEG: Final = (
    *(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0, 90.0),
)
"""Distances of lines of the graticule."""

MOST_SHAPES: Final = 2000
"""Shapes that are drawn one by one; of more, those of a state are one."""

CIRCLE: Final = 360.0
"""Degrees."""

ROUNDING_DEG: Final = 1e-6
"""What sums of longitudes may be off by."""

POLE: Final = 90.0
"""Latitude of a pole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A scene whose footprint is known."""

    name: str
    """What the job calls it."""

    state: State
    """What became of it."""

    outline: Outline
    """Longitudes and latitudes, closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Scenes that look alike on the map."""

    state: State
    """What became of them."""

    path: str
    """As SVG has it."""

    names: tuple[str, ...]
    """What the job calls them; empty where all of a state are one shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the graticule."""

    at: float
    """Where it is, from the left or from the top."""

    label: str
    """Its degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A drawing."""

    width: float
    """In its own units."""

    height: float
    """Likewise."""

    shapes: tuple[Shape, ...]
    """Scenes, those last that are drawn on top."""

    meridians: tuple[Line, ...]
    """From west to east."""

    parallels: tuple[Line, ...]
    """From north to south."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What part of the Earth is drawn, and how large."""

    west: float
    """Longitude of the left edge."""

    north: float
    """Latitude of the upper edge."""

    x_scale: float
    """Units a degree of longitude."""

    y_scale: float
    """Units a degree of latitude."""

    height: float
    """Of the drawing."""

    def x(self, lon: float) -> float:
        """Return the distance from the left."""
        return (lon - self.west) * self.x_scale

    def y(self, lat: float) -> float:
        """Return the distance from the top."""
        return (self.north - lat) * self.y_scale


def draw_map(scenes: Sequence[Placed]) -> Map:
    """Draw scenes, at least one.

    Args:
        scenes: With outlines of finite numbers.

    """
    rings = side_by_side([unwrapped(one.outline) for one in scenes])
    frame = _frame(rings)
    drawn: dict[tuple[State, str], list[str]] = {}
    for one, ring in zip(scenes, rings, strict=True):
        drawn.setdefault((one.state, _path(ring, frame)), []).append(one.name)
    on_top: tuple[State, ...] = ("done", "complete", "failed")
    shapes = tuple(
        Shape(state=state, path=path, names=tuple(names))
        for wanted in on_top
        for (state, path), names in drawn.items()
        if state == wanted
    )
    if len(shapes) > MOST_SHAPES:
        shapes = tuple(
            Shape(state=state, path="".join(paths), names=())
            for state in on_top
            if (paths := [one.path for one in shapes if one.state == state])
        )
    east, south = (
        frame.west + WIDTH / frame.x_scale,
        frame.north - (frame.height / frame.y_scale),
    )
    return Map(
        width=WIDTH,
        height=round(frame.height, 1),
        shapes=shapes,
        meridians=tuple(
            Line(at=round(frame.x(lon), 1), label=_label(_turned(lon), "EW"))
            for lon in _lines(frame.west, east, BETWEEN_LINES / frame.x_scale)
        ),
        parallels=tuple(
            Line(at=round(frame.y(lat), 1), label=_label(lat, "NS"))
            for lat in reversed(
                _lines(
                    max(south, -POLE),
                    min(frame.north, POLE),
                    BETWEEN_LINES / frame.y_scale,
                )
            )
        ),
    )


def unwrapped(outline: Outline) -> Outline:
    """Return an outline that does not leap at the antimeridian."""
    turns, found = 0.0, [outline[0]]
    for (before, _), (lon, lat) in pairwise(outline):
        turns -= CIRCLE * round((lon - before) / CIRCLE)
        found.append((lon + turns, lat))
    return tuple(found)


def side_by_side(outlines: Sequence[Outline]) -> list[Outline]:
    """Return outlines, turned so that the widest gap between them is left out."""
    spans = sorted(_span(one) for one in outlines)
    farthest = max(start + width for start, width in spans) - CIRCLE
    widest, cut = -math.inf, 0.0
    for start, width in spans:
        if start - farthest > widest:
            widest, cut = start - farthest, start
        farthest = max(farthest, start + width)
    ends = [(start - cut) % CIRCLE + width for start, width in spans]
    cut -= CIRCLE * round((cut + max(ends) / 2) / CIRCLE)  # the middle is near 0
    return [_shifted(one, cut) for one in outlines]


def _span(outline: Outline) -> tuple[float, float]:
    """Return the westernmost longitude, 0 to 360, and how wide an outline is."""
    lons = [lon for lon, _ in outline]
    return min(lons) % CIRCLE, max(lons) - min(lons)


def _shifted(outline: Outline, cut: float) -> Outline:
    """Return an outline that begins within a circle east of a longitude."""
    west = min(lon for lon, _ in outline)
    shift = CIRCLE * math.ceil((cut - west - ROUNDING_DEG) / CIRCLE)
    return tuple((lon + shift, lat) for lon, lat in outline)


def _frame(rings: Iterable[Outline]) -> _Frame:
    """Return what is drawn."""
    points = [point for ring in rings for point in ring]
    west, east = _padded([lon for lon, _ in points])
    south, north = _padded([lat for _, lat in points])
    middle = min(max((south + north) / 2, -85.0), 85.0)
    narrow = math.cos(math.radians(middle))
    scale = min(WIDTH / ((east - west) * narrow), HEIGHTS[1] / (north - south))
    height = max((north - south) * scale, HEIGHTS[0])
    x_scale = scale * narrow
    return _Frame(
        west=(west + east) / 2 - WIDTH / x_scale / 2,
        north=(south + north) / 2 + height / scale / 2,
        x_scale=x_scale,
        y_scale=scale,
        height=height,
    )


def _padded(numbers: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest number, with a margin."""
    low, high = min(numbers), max(numbers)
    more = max((high - low) * MARGIN, (LEAST_DEG - (high - low)) / 2)
    return low - more, high + more


def _path(ring: Outline, frame: _Frame) -> str:
    """Return an outline as SVG has it, of points that can be told apart."""
    points = [(round(frame.x(lon), 1), round(frame.y(lat), 1)) for lon, lat in ring]
    apart = [points[0], *(b for a, b in pairwise(points) if a != b)]
    if len(apart) > 1 and apart[0] == apart[-1]:
        apart.pop()
    return f"M{' '.join(f'{x:g},{y:g}' for x, y in apart)}z"


def _lines(low: float, high: float, least: float) -> list[float]:
    """Return round numbers between two, at least so far from each other."""
    step = next((one for one in STEPS_DEG if one >= least), STEPS_DEG[-1])
    first = math.ceil(low / step)
    return [n * step for n in range(first, math.floor(high / step) + 1)]


def _turned(lon: float) -> float:
    """Return a longitude from -180 to 180."""
    return (lon + CIRCLE / 2) % CIRCLE - CIRCLE / 2


def _label(degrees: float, sides: str) -> str:
    """Return degrees as they are written beside a map.

    >>> _label(-12.5, "EW"), _label(0, "NS")
    ('12.5° W', '0°')
    """
    size = round(abs(degrees), 3)
    if not size or size == CIRCLE / 2:
        return f"{size:g}°"
    return f"{size:g}° {sides[degrees < 0]}"
