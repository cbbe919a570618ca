"""How a zone is cut into what is merged at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmearth_infer.grid.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmearth_infer.jobs.zones import Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A strip of a panel that scenes reach."""

    window: Window
    """Where, in cells of the coarsest map."""

    scenes: tuple[int, ...]
    """Numbers of these scenes in the zone, in the order of the job."""


def pieces_of(zone: Zone, *, height: int, width: int) -> Iterator[Piece]:
    """Yield the strips that scenes reach, panel by panel, from north to south.

    Args:
        zone: The stores.
        height: Rows of cells of a strip.
        width: Columns of cells of a panel.

    """
    box = zone.box
    whole = Window(row=0, col=0, height=box.height, width=box.width)
    for col in range(0, box.width, width):
        panel = replace(whole, col=col, width=min(width, box.width - col))
        within = [n for n, p in enumerate(zone.places) if p.shared_with(panel)]
        for row in range(0, box.height, height):
            window = replace(panel, row=row, height=min(height, box.height - row))
            scenes = tuple(n for n in within if zone.places[n].shared_with(window))
            if scenes:
                yield Piece(window=window, scenes=scenes)
