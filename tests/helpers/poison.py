"""What workers do with scenes in tests of what drives them, by the scene's name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mmearth_infer.jobs.scene_task import Outcome, Work, failed

if TYPE_CHECKING:
    from mmearth_infer.jobs.scene_task import SceneTask


def act(task: SceneTask) -> Outcome:
    """Note that the scene was begun, and do as its name says."""
    out = Path(str(task.config.target))
    with out.open("a") as file:
        file.write("begun\n")
    begun = out.read_text().count("begun")
    kind = task.name.partition("-")[0]
    if kind == "poison" or (kind == "killed" and begun == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hungry":
        _eat()
    if kind == "fault":
        raise RuntimeError("a fault of a library")
    if kind == "corrupt" or (kind == "flaky" and begun == 1):
        return failed(task, "it cannot be read")
    return Outcome(name=task.name, scene="", out=str(out), state="done")


def act_in_parts(task: SceneTask) -> Outcome:
    """Do as the scene's name says with its part in the north; all else is well."""
    out = Path(str(task.config.target))
    part = task.part.start if isinstance(task.part, range) else task.part or "whole"
    with out.open("a") as file:
        file.write(f"{part}\n")
    begun = out.read_text().split().count("0")
    kind = task.name.partition("-")[0]
    done = Outcome(name=task.name, scene="", out=str(out), state="done")
    if task.part == "begin":
        return replace(done, rows=((0, 1), (1, 2), (2, 3)))
    if task.part is None:
        return done
    if part == 0 and kind == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if part == 0 and (kind == "corrupt" or (kind == "flaky" and begun == 1)):
        return failed(task, "it cannot be read")
    return replace(done, work=(Work(worker="w", pixels=1, elapsed_s=1),))


def _eat() -> None:
    """Take memory, for ever, slowly enough to be seen."""
    eaten = []
    while True:
        eaten.append(b"x" * (20 * 2**20))
        time.sleep(0.05)
