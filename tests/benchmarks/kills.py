"""A hundred runs, each killed at a random moment and resumed: a hundred equal stores.

    python -m tests.benchmarks.kills [--runs 100]

SIGKILL, at a moment drawn evenly over the time that an undisturbed run takes, so that
some fall on starting, writing and finishing; every third run replaces a store. A killed
run is resumed, and killed again with a chance of one in three. The last line is JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import click
import numpy as np

from tests.helpers.digest import digest
from tests.helpers.killing import command, kill_after, left_in, seconds_of
from tests.helpers.models import UNTRAINED


@click.command()
@click.option("--runs", default=100, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(*, runs: int, seed: int) -> None:
    """Kill and resume, and compare."""
    rng = np.random.default_rng(seed)
    how = ["--model", UNTRAINED, "--window", 96, "--halo", 16, "--batch-size", 1, "-q"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = folder / "whole.zarr"
        seconds = seconds_of(["embed", "demo", "-o", whole, *how])
        expected = digest(whole)
        kills, states = 0, dict.fromkeys(("nothing", "partial", "store"), 0)
        equal = 0
        for number in range(runs):
            place = folder / f"run-{number}"
            place.mkdir()
            out = place / "s.zarr"
            replaces = number % 3 == 0
            if replaces:
                shutil.copytree(whole, out)
            args = ["embed", "demo", "-o", out, *how]
            args += ["--overwrite"] if replaces else []
            while kill_after(args, rng.uniform(0.3, 1.05) * seconds, env={}):
                kills += 1
                states[_state(out)] += 1
                if replaces and not out.exists():
                    states["between renames"] = states.get("between renames", 0) + 1
                if "--resume" not in args:
                    args.append("--resume")
                if rng.uniform() > 1 / 3:
                    break
            subprocess.run(
                command(*dict.fromkeys([*args, "--resume"])),
                check=True,
                capture_output=True,
            )
            same = digest(out) == expected and left_in(place) == ["s.zarr"]
            equal += same
            print(f"run {number}: {'equal' if same else 'DIFFERENT'}", flush=True)
            shutil.rmtree(place)
    report = {"runs": runs, "kills": kills, "equal": equal, "killed with": states}
    print(json.dumps(report))
    if equal != runs:
        raise SystemExit(1)


def _state(out: Path) -> str:
    """Return what a kill left: a ledger with work in it, a store, or nothing."""
    if out.with_name(f"{out.name}.ledger").exists():
        return "partial"
    return "store" if out.exists() else "nothing"


if __name__ == "__main__":
    main()
