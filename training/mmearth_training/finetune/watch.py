"""What a user sees of a run: a progress line, and a line a validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mmearth_training.history import Record, append_record

if TYPE_CHECKING:
    from typing import Self

    from mmearth_training.finetune.run import FinetuneConfig
    from mmearth_training.finetune.scores import Scores

_LOSS = "cross-entropy"


class Watch:
    """Shows and records."""

    def __init__(self, config: FinetuneConfig, *, total: int, quiet: bool) -> None:
        """Prepare for a run of `total` steps."""
        self._config, self._quiet = config, quiet
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn(config.recipe.name),
            BarColumn(bar_width=20),
            TextColumn("step {task.completed}/{task.total}  {task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, figures="")

    def __enter__(self) -> Self:
        """Show the progress line."""
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave it as it is."""
        self._bar.stop()

    def saw(self, step: int, loss: float) -> None:
        """Count a step."""
        self._bar.update(self._task, completed=step, figures=f"loss {loss:.3f}")

    def record(
        self, step: int, epoch: float, loss: float, scores: Scores | None
    ) -> None:
        """Keep the loss of a step, and the scores on held-out tiles after it."""
        self._append("train", step, epoch, loss)
        said = f"epoch {epoch:g}: loss {loss:.3f}"
        if scores is not None:
            self._append("val", step, epoch, scores.loss)
            said += f", held out {scores.loss:.3f}, mean Jaccard {scores.mean_iou:.3f}"
        if not self._quiet:
            self._console.print(said, highlight=False)

    def _append(self, split: str, step: int, epoch: float, loss: float) -> None:
        """Add a record to the history."""
        record = Record(
            step=step,
            epoch=epoch,
            split="val" if split == "val" else "train",
            loss=loss,
            losses={_LOSS: loss},
            log_vars={},
            trivial={},
        )
        append_record(self._config.history, record)
