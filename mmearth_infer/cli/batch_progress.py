"""The progress of a job: scenes done and failed, Mpx/s of all workers, time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmearth_infer.cli.batch_text import MOST_RATES

if TYPE_CHECKING:
    from typing import Self

    from mmearth_infer.jobs.scene_task import Outcome


class SceneProgress:
    """Shows a job as a bar; as nothing where stderr is no terminal."""

    def __init__(self, *, quiet: bool) -> None:
        """Prepare the bar."""
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("scenes"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("scenes", total=0, rate="", failed="")
        self._pixels = self._failed = self._expected = 0
        self._of_workers: dict[str, list[float]] = {}
        self._began = time.perf_counter()

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

    def expect(self, more: int) -> None:
        """Show that there is more to be done."""
        self._expected += more
        self._bar.update(self._task, total=self._expected)

    def add(self, outcome: Outcome) -> None:
        """Show what became of a scene, or a mosaic."""
        self._pixels += outcome.pixels
        for work in outcome.work:
            done = self._of_workers.setdefault(work.worker, [0, 0.0])
            done[0] += work.pixels
            done[1] += work.elapsed_s
        self._failed += outcome.state == "failed"
        elapsed_s = time.perf_counter() - self._began
        self._bar.update(
            self._task,
            advance=1,
            rate=f"{self._pixels / 1e6 / elapsed_s:.2f} Mpx/s{self._each()}",
            failed=f"{self._failed} failed" if self._failed else "",
        )

    def _each(self) -> str:
        """Return the rate of each worker, where they are few."""
        rates = [
            pixels / 1e6 / seconds for pixels, seconds in self._of_workers.values()
        ]
        if not 1 < len(rates) <= MOST_RATES:
            return ""
        return f" ({', '.join(f'{rate:.2f}' for rate in rates)})"
