"""Real kills of real runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def command(*args: object) -> list[str]:
    """Return how `mmearth` is started in a process of its own."""
    return [sys.executable, "-m", "mmearth_infer.cli", *map(str, args)]


def kill_after(args: Sequence[object], seconds: float, *, env: dict[str, str]) -> bool:
    """Start a command, kill it with SIGKILL, and tell whether it was still running."""
    with subprocess.Popen(
        command(*args), env={**os.environ, **env}, stderr=subprocess.DEVNULL
    ) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def seconds_of(args: Sequence[object]) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command(*args), check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def left_in(folder: Path) -> list[str]:
    """Return the names of everything in a folder."""
    return sorted(path.name for path in folder.iterdir())
