"""Scenes in parts: what follows when one is begun, and when a part of it has ended.

A scene in parts is begun by one worker; then its parts are anybody's; then it is run as
any other, which finds little to do. A part that fails is left to that run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

if TYPE_CHECKING:
    from mmearth_infer.jobs.scene_task import Outcome, Task, Work

T = TypeVar("T", bound="Task")


@dataclass(slots=True)
class _Scene:
    """A scene in parts that is under way."""

    left: int = 0
    """Parts that have not ended."""

    failures: int = 0
    """How often a part has failed, or its worker died."""

    work: list[Work] = field(default_factory=list)
    """What was computed of it."""


class Splits:
    """The scenes in parts that are under way."""

    def __init__(self, *, tries: int) -> None:
        """Begin with none.

        Args:
            tries: How many failures of parts a scene has before they are no longer
                tried again.

        """
        self._tries = tries
        self._scenes: dict[str, _Scene] = {}

    @staticmethod
    def first(task: T) -> T:
        """Return what is done first of a scene: begin it if it may have parts."""
        return task.asking("begin") if task.parts > 1 else task

    def following(self, task: T, outcome: Outcome | None) -> list[T]:
        """Return what is to be done next of a scene.

        Args:
            task: The beginning or the part that has ended.
            outcome: What became of it; None if its worker died.

        """
        whole = task.asking(None)
        there = outcome is not None and outcome.state != "failed"
        if task.part == "begin":
            rows = outcome.rows if outcome is not None and there else ()
            self._scenes[task.name] = _Scene(left=len(rows))
            return [task.asking(range(*one)) for one in rows] or [whole]
        scene = self._scenes[task.name]
        if outcome is not None:
            scene.work += outcome.work
        if not there:
            scene.failures += 1
            if scene.failures < self._tries:
                return [task]
        scene.left -= 1
        return [] if scene.left else [whole]

    def total(self, outcome: Outcome) -> Outcome:
        """Return the outcome of a scene, with what its parts have done."""
        scene = self._scenes.pop(outcome.name, None)
        if scene is None or not scene.work:
            return outcome
        state = "done" if outcome.state == "complete" else outcome.state
        return replace(outcome, state=state, work=(*scene.work, *outcome.work))
