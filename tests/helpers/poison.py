"""What workers do with scenes in tests of what drives them, by the scene's name."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from mmearth_infer.jobs.scene_task import Outcome, failed

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
    if kind == "fault":
        raise RuntimeError("a fault of a library")
    if kind == "corrupt" or (kind == "flaky" and begun == 1):
        return failed(task, "it cannot be read")
    return Outcome(name=task.name, scene="", out=str(out), state="done")
