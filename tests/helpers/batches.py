"""Batch jobs over many scenes, and what they are compared with."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import psutil
import rasterio
from rasterio.windows import Window

from tests.helpers.data import MAJORTOM
from tests.helpers.digest import digest
from tests.helpers.killing import command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def cut_scenes(folder: Path, *, count: int, side: int) -> list[Path]:
    """Cut squares that overlap out of the real scene, on its grid of pixels."""
    paths = []
    with rasterio.open(MAJORTOM) as file:
        across = -(-count // 4)
        for number in range(count):
            row, col = divmod(number, across)
            window = Window(
                round(col * (file.width - side) / max(across - 1, 1)),
                round(row * (file.height - side) / 3),
                side,
                side,
            )
            path = folder / f"s{number:02}.tif"
            profile = {**file.profile, "width": side, "height": side}
            profile["transform"] = file.window_transform(window)
            with rasterio.open(path, "w", **profile) as out:
                out.write(file.read(window=window))
                out.descriptions = file.descriptions
                out.update_tags(**file.tags())
            paths.append(path)
    return paths


def write_job(
    path: Path,
    scenes: str,
    *,
    model: Path | None = None,
    settings: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
) -> Path:
    """Write a job file over scenes of a pattern, and return it."""
    tables = {
        "scenes": {"globs": [scenes]},
        "outputs": {"folder": "stores", **(outputs or {})},
        "settings": settings or {},
        "run": run or {},
    }
    lines = [] if model is None else [f"model = {json.dumps(str(model))}"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def single_runs(scenes: Sequence[Path], folder: Path, *flags: object) -> dict[str, str]:
    """Embed each scene by itself, and return the digests of the stores."""
    found = {}
    for scene in scenes:
        out = folder / f"{scene.stem}.zarr"
        subprocess.run(
            command("embed", scene, "-o", out, *flags, "-q"),
            check=True,
            capture_output=True,
        )
        found[scene.stem] = digest(out)
    return found


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of the stores in a folder."""
    return {path.stem: digest(path) for path in sorted(folder.glob("*.zarr"))}


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes of a job that run scenes."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def run_watched(job: Path, *flags: object) -> tuple[dict[str, Any], int]:
    """Run a job, and return its report and the most memory that the client took."""
    most = 0
    with subprocess.Popen(
        command("batch", job, "--json", *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    ) as process:
        client = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                most = max(most, client.memory_info().rss)
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
        said, _ = process.communicate()
    return json.loads(said.splitlines()[-1]), most
