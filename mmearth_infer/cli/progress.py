"""The progress bar: share, Mpx/s, time left, on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from typing import Self

    from mmearth_infer.run.report import Stopwatch


class _Rate(ProgressColumn):
    """Pixels a second, in millions."""

    def render(self, task: Task) -> Text:
        """Return the rate, or a dash while there is none."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed / 1e6:.2f} Mpx/s" if speed else "- Mpx/s")


class BarProgress:
    """Shows a run as a bar; as nothing where stderr is no terminal."""

    def __init__(self, *, quiet: bool) -> None:
        """Prepare the bar."""
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("embedding"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[bound]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._pixels_a_cell = 1.0
        self._watch: Stopwatch | None = None

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave it as it is."""
        self._bar.stop()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()

    def start(self, *, cells: int, pixels: int, watch: Stopwatch) -> None:
        """Begin a run of `cells` cells made from `pixels` pixels."""
        self._pixels_a_cell = pixels / cells
        self._watch = watch
        self._task = self._bar.add_task("embedding", total=pixels, bound="")

    def skip(self, cells: int) -> None:
        """Show that an earlier run has done the first `cells` cells.

        The clock starts anew, so that the time left is that of this run's speed.
        """
        if cells:
            self._bar.reset(self._task, completed=int(cells * self._pixels_a_cell))

    def reach(self, cells: int) -> None:
        """Show that the first `cells` cells are done, and which stage decides."""
        assert self._watch is not None
        self._bar.update(
            self._task,
            completed=cells * self._pixels_a_cell,
            bound=f"bound by {self._watch.bound_by}",
        )
