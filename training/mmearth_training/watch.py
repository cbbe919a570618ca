"""What a user sees of a run: a progress line, records, TensorBoard, pictures."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from mmearth_training.history import Record, append_record

if TYPE_CHECKING:
    from typing import Self

    from matplotlib.figure import Figure

    from mmearth_training.run import RunConfig
    from mmearth_training.step import Losses


class Watch:
    """Shows and records; silent in all processes but the first."""

    def __init__(
        self, config: RunConfig, *, total: int, done: int, quiet: bool, writes: bool
    ) -> None:
        """Prepare for the steps from `done` to `total`."""
        self._config, self._writes = config, writes
        self._images = 0
        self._started = time.perf_counter()
        self._console = Console(stderr=True)
        self._quiet = quiet or not writes
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}"),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeft(),
            console=self._console,
            disable=self._quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            config.recipe.name, total=total, completed=done, figures=""
        )
        self._board = (
            SummaryWriter(str(config.out / "tensorboard"), purge_step=done + 1)
            if writes
            else None
        )

    def __enter__(self) -> Self:
        """Show the progress line."""
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave everything written."""
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def saw(self, step: int, images: int, losses: Losses) -> None:
        """Count a step."""
        self._images += images
        self._bar.update(
            self._task,
            completed=step,
            figures=f"loss {losses.total:.3f}  {self.images_per_s:.1f} img/s  "
            f"{peak_memory_mb() / 1024:.1f} GiB",
        )

    @property
    def images_per_s(self) -> float:
        """Images a second since the run was started or resumed."""
        return self._images / (time.perf_counter() - self._started)

    def record(self, record: Record, *, lr: float | None = None) -> None:
        """Keep a record, in the history and on TensorBoard."""
        if not self._writes:
            return
        append_record(self._config.history, record)
        assert self._board is not None
        self._board.add_scalar(f"{record.split}/loss", record.loss, record.step)
        for name, loss in record.losses.items():
            self._board.add_scalar(f"{record.split}/{name}", loss, record.step)
        for name, value in record.log_vars.items():
            self._board.add_scalar(f"log_var/{name}", value, record.step)
        if lr is not None:
            self._board.add_scalar("train/learning_rate", lr, record.step)
            self._board.add_scalar("train/img_per_s", self.images_per_s, record.step)
        self._board.flush()

    def show(self, record: Record, train: Losses | None) -> None:
        """Print the losses of a validation beside those of the trivial predictor."""
        if self._quiet:
            return
        table = Table(
            title=f"step {record.step}, epoch {record.epoch:.1f}: loss on held-out "
            f"tiles, {self.images_per_s:.1f} img/s"
        )
        for name in ("task", "train", "held out", "trivial", "of trivial"):
            table.add_column(name, justify="left" if name == "task" else "right")
        for name, loss in record.losses.items():
            trivial = record.trivial.get(name, float("nan"))
            before = train.tasks[name] if train else float("nan")
            table.add_row(
                name,
                *(f"{value:.3f}" for value in (before, loss, trivial)),
                f"{loss / trivial:.0%}" if trivial else "-",
            )
        self._console.print(table)

    def picture(self, name: str, figure: Figure, step: int) -> None:
        """Put a picture on TensorBoard."""
        if self._board is not None:
            self._board.add_figure(name, figure, step, close=False)


def peak_memory_mb() -> float:
    """Return the most memory that was used: the GPU's if there is one, else ours."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 2**10)
