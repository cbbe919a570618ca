"""Progress of commands that take steps, each with so many parts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TaskID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def steps_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Give what shows how far each step is; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    with Progress(
        console=console, disable=quiet or not console.is_terminal, transient=True
    ) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(step: str, done: int, of: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=of)
            bar.update(tasks[step], completed=done)

        yield tell
