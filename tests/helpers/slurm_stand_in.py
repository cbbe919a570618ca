"""A stand-in for Slurm: its commands as scripts, which run jobs as processes here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_COMMANDS: Final = {
    # a job is a process group, and its number the group's
    "sbatch": """
if [ "$1" = --test-only ]; then
    if grep -q "^#SBATCH -p nowhere" "$2"; then
        echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1
    fi
    exit 0
fi
if [ -e "$SLURM_FULL" ]; then echo "sbatch: error: too many jobs" >&2; exit 1; fi
cp "$1" "$SLURM_HERE/$$.sh"
setsid bash "$SLURM_HERE/$$.sh" >"$SLURM_HERE/$$.log" 2>&1 </dev/null &
echo $! >>"$SLURM_HERE/jobs"
echo "Submitted batch job $!"
""",
    "squeue": """
for job in $(cat "$SLURM_HERE/jobs"); do
    kill -0 -- "-$job" 2>/dev/null && echo "$job"
done
exit 0
""",
    "scancel": 'kill -TERM -- "-$1"',
}


def stand_in_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the commands on the path; return a file that, once there, refuses jobs."""
    for name, script in _COMMANDS.items():
        command = folder / name
        command.write_text(f"#!/bin/bash\n{script.strip()}\n")
        command.chmod(0o755)
    full = folder / "full"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_HERE", str(folder))
    monkeypatch.setenv("SLURM_FULL", str(full))
    return full
