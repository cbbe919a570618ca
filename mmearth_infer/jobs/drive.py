"""Hands the scenes of a job to workers, a few at a time, and collects what became.

Dask decides who runs what, and blames a worker's death on every scene that it had. A
scene is therefore given up for deaths only after its last try, for which it is alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from distributed import KilledWorker, as_completed
from msgspec.structs import replace

from mmearth_infer.errors import JobError
from mmearth_infer.jobs.scene_task import Outcome, failed
from mmearth_infer.jobs.split import Splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dask.typing import Key
    from distributed import Client, Future

    from mmearth_infer.jobs.scene_task import Task

T = TypeVar("T", bound="Task")

DIED: Final = "its worker died each time: killed, or out of memory"
"""What is said of a scene that no worker survives."""

GONE: Final = ("cancelled", "lost")
"""What futures are when there is no scheduler any more."""


def drive(
    client: Client,
    tasks: Iterable[T],
    *,
    tries: int,
    run: Callable[[T], Outcome],
) -> Iterator[Outcome]:
    """Yield what becomes of each scene, as it does.

    As many scenes are with the scheduler as it has threads, so that neither side
    holds more than that, however long the job is.

    Args:
        client: Leads to the workers.
        tasks: The scenes.
        tries: How often one is begun before it counts as failed.
        run: What a worker does with one.

    Raises:
        JobError: If the scheduler is gone.

    """
    died: list[T] = []
    for task, outcome in _run_all(client, tasks, run, tries=tries, at_once=None):
        if outcome is None and tries > 1:
            died.append(task.alone())
        else:
            yield outcome or failed(task, DIED)
    for task, outcome in _run_all(client, died, run, tries=1, at_once=1):
        found = outcome or failed(task, DIED)
        yield replace(found, tries=tries)


def deaths(client: Client) -> int:
    """Return how many workers the scheduler has lost that were not sent away."""
    events = client.get_events("all") or ()
    return sum(
        event.get("action") == "remove-worker" and not event.get("expected", True)
        for _, event in events
        if isinstance(event, dict)
    )


def _run_all(
    client: Client,
    tasks: Iterable[T],
    run: Callable[[T], Outcome],
    *,
    tries: int,
    at_once: int | None,
) -> Iterator[tuple[T, Outcome | None]]:
    """Yield each scene with what became of it; None where workers died.

    Parts of scenes come before other scenes. What failed goes to the end of the queue
    until it has had its tries; of deaths, one fewer.
    """
    new, again = iter(tasks), deque[tuple[T, int]]()
    next_parts, splits = deque[T](), Splits(tries=tries)
    under_way: dict[Key, tuple[T, int]] = {}
    ended = as_completed()

    def submit() -> bool:
        """Hand over the next scene, if there is one."""
        attempt = 1
        if next_parts:
            task = next_parts.popleft()
        elif (found := next(new, None)) is not None:
            task = splits.first(found)
        elif again:
            task, attempt = again.popleft()
        else:
            return False
        future = client.submit(run, task, pure=False)
        under_way[future.key] = task, attempt
        ended.add(future)
        return True

    def fill() -> None:
        """Keep the workers busy."""
        room = at_once or max(sum(client.nthreads().values()), 1)
        while len(under_way) < room and submit():
            pass

    fill()
    for future in ended:
        task, attempt = under_way.pop(future.key)
        outcome = _outcome(future, task)
        future.release()
        if task.part is not None:
            next_parts.extend(splits.following(task, outcome))
            fill()
            continue
        most = tries if outcome is not None else max(tries - 1, 1)
        if attempt < most and (outcome is None or outcome.state == "failed"):
            again.append((task, attempt + 1))
        else:
            yield task, outcome and splits.total(replace(outcome, tries=attempt))
        fill()


def _outcome(future: Future[Outcome], task: Task) -> Outcome | None:
    """Return what became of a scene; None if its workers died.

    Raises:
        JobError: If the scheduler is gone.

    """
    if future.status in GONE:
        raise JobError(
            "the scheduler is gone; what is written is kept",
            hint="the same command goes on",
        )
    error = future.exception()
    if error is None:
        try:
            return future.result()
        except KilledWorker:  # with the result, before it came here
            return None
    if isinstance(error, KilledWorker):
        return None
    return failed(
        task,
        f"{type(error).__name__}: {error}",
        hint="`mmearth embed` or `mmearth segment` of this scene alone says more",
    )
