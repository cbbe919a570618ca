"""Integer windows: a rectangle of pixels, or of cells, in a grid."""

from __future__ import annotations

from dataclasses import dataclass

from mmearth_infer.errors import WindowError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of a grid; row 0 is the northern edge."""

    row: int
    """First row."""

    col: int
    """First column."""

    height: int
    """Rows covered, at least 1."""

    width: int
    """Columns covered, at least 1."""

    def __post_init__(self) -> None:
        """Refuse empty windows here, so that no consumer has to."""
        if self.height < 1 or self.width < 1:
            raise WindowError(f"window covers nothing: {self.height} x {self.width}")

    @property
    def slices(self) -> tuple[slice, slice]:
        """Numpy index of this window, `image[window.slices]`."""
        return (
            slice(self.row, self.row + self.height),
            slice(self.col, self.col + self.width),
        )

    def seen_from(self, frame: Window) -> Window:
        """Return the same place, counted from the corner of `frame`.

        `image[frame.slices][w.seen_from(frame).slices] == image[w.slices]`
        for every `w` inside `frame`.
        """
        return Window(
            row=self.row - frame.row,
            col=self.col - frame.col,
            height=self.height,
            width=self.width,
        )

    def shared_with(self, other: Window) -> Window | None:
        """Return what two windows of one grid share, None for nothing."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row + self.height, other.row + other.height) - row
        width = min(self.col + self.width, other.col + other.width) - col
        if height < 1 or width < 1:
            return None
        return Window(row=row, col=col, height=height, width=width)

    def times(self, factor: int) -> Window:
        """Return the same place on a grid that is `factor` times as fine."""
        return Window(
            row=self.row * factor,
            col=self.col * factor,
            height=self.height * factor,
            width=self.width * factor,
        )

    def clipped(self, height: int, width: int) -> Window:
        """Return the part that lies inside an image of `height` x `width`.

        Raises:
            WindowError: If none does.

        """
        row, col = max(self.row, 0), max(self.col, 0)
        return Window(
            row=row,
            col=col,
            height=min(self.row + self.height, height) - row,
            width=min(self.col + self.width, width) - col,
        )
