"""Hands the scenes of a job to workers, a few at a time, and collects what became.

Dask decides who runs what, and blames a worker's death on every scene that it had. A
scene is therefore given up for deaths only after its last try, for which it is alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from distributed import KilledWorker, as_completed
from msgspec.structs import replace

from mmearth_infer.errors import JobError
from mmearth_infer.jobs.scene_task import Outcome, SceneTask, failed, run_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dask.typing import Key
    from distributed import Client, Future

DIED: Final = "its worker died each time: killed, or out of memory"
"""What is said of a scene that no worker survives."""

GONE: Final = ("cancelled", "lost")
"""What futures are when there is no scheduler any more."""


def drive(
    client: Client,
    tasks: Iterable[SceneTask],
    *,
    tries: int,
    run: Callable[[SceneTask], Outcome] = run_scene,
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
    died: list[SceneTask] = []
    for task, outcome in _run_all(client, tasks, run, tries=tries, at_once=None):
        if outcome is None and tries > 1:
            died.append(task)
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
    tasks: Iterable[SceneTask],
    run: Callable[[SceneTask], Outcome],
    *,
    tries: int,
    at_once: int | None,
) -> Iterator[tuple[SceneTask, Outcome | None]]:
    """Yield each scene with what became of it; None where workers died.

    What failed goes to the end of the queue until it has had its tries; of deaths, one
    fewer.
    """
    new, again = iter(tasks), deque[tuple[SceneTask, int]]()
    under_way: dict[Key, tuple[SceneTask, int]] = {}
    ended = as_completed()

    def submit() -> bool:
        """Hand over the next scene, if there is one."""
        task = next(new, None)
        if task is not None:
            attempt = 1
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
        most = tries if outcome is not None else max(tries - 1, 1)
        if attempt < most and (outcome is None or outcome.state == "failed"):
            again.append((task, attempt + 1))
        else:
            yield task, outcome and replace(outcome, tries=attempt)
        fill()


def _outcome(future: Future[Outcome], task: SceneTask) -> Outcome | None:
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
        return future.result()
    if isinstance(error, KilledWorker):
        return None
    return failed(
        task,
        f"{type(error).__name__}: {error}",
        hint="`mmearth embed` or `mmearth segment` of this scene alone says more",
    )
