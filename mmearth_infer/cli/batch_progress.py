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

if TYPE_CHECKING:
    from typing import Self

    from mmearth_infer.jobs.scene_task import Outcome


class SceneProgress:
    """Shows a job as a bar; as nothing where stderr is no terminal."""

    def __init__(self, scenes: int, *, quiet: bool) -> None:
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
        self._task = self._bar.add_task("scenes", total=scenes, rate="", failed="")
        self._pixels = self._failed = 0
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

    def add(self, outcome: Outcome) -> None:
        """Show what became of a scene."""
        self._pixels += outcome.pixels
        self._failed += outcome.state == "failed"
        elapsed_s = time.perf_counter() - self._began
        self._bar.update(
            self._task,
            advance=1,
            rate=f"{self._pixels / 1e6 / elapsed_s:.2f} Mpx/s",
            failed=f"{self._failed} failed" if self._failed else "",
        )
