"""Two real processes under `torchrun` equal one process on the joint batch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from torch.multiprocessing import spawn

from mmearth_training.checkpoint import MODEL, find_checkpoints
from mmearth_training.config import Recipe, changed
from mmearth_training.distributed import World
from mmearth_training.history import read_history
from mmearth_training.loop import pretrain
from tests.helpers.recipes import write_recipe
from tests.helpers.two_processes import joint_batches, take_step, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.run import RunConfig


def run_two(recipe: Recipe, data: Path, out: Path, *flags: str) -> None:
    """Run `mmearth pretrain` in two processes that talk over gloo."""
    file = out.with_suffix(".toml")
    write_recipe(recipe, file)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    command += ["--standalone", "-m", "mmearth_infer.cli", "pretrain", str(file)]
    command += ["--data", str(data), "-o", str(out), "--workers", "0", "-q"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--log-every", "1", "--keep", "9", *flags],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def training_losses(run: Path) -> list[dict[str, float]]:
    """Losses a task of each step, and the total."""
    return [
        {**record.losses, "total": record.loss}
        for record in read_history(run / "history.jsonl")
        if record.split == "train"
    ]


def apart(some: list[dict[str, float]], others: list[dict[str, float]]) -> list[float]:
    """Largest relative difference of a loss at each step."""
    return [
        max(abs(one[name] / other[name] - 1) for name in one if one[name])
        for one, other in zip(some, others, strict=True)
    ]


@pytest.mark.parametrize(("sync", "count"), [(True, 1), (True, 2), (False, 1)])
def test_two_processes_have_the_gradients_of_one(
    sync: bool,  # noqa: FBT001
    count: int,
    tmp_path: Path,
) -> None:
    """Losses and gradients of the joint batch, with GRN in sync.

    Without, each process pools GRN over its own half, and they differ.
    """
    alone, joint = tmp_path / "alone.safetensors", tmp_path / "joint.safetensors"
    take_step(
        World(rank=0, size=1, device=torch.device("cpu")),
        joint_batches(count),
        sync=sync,
        out=alone,
    )
    spawn(work, (str(tmp_path / "meet"), count, sync, joint), nprocs=2)
    expected, found = load_file(alone), load_file(joint)
    assert expected.keys() == found.keys()
    apart = {
        name: float((found[name] - value).abs().max() / value.abs().max())
        for name, value in expected.items()
        if value.any()
    }
    if sync:
        assert max(apart.values()) < 1e-4
    else:
        assert max(apart.values()) > 1e-2


def test_a_run_of_two_processes_is_the_run_of_one(
    run_config: Callable[..., RunConfig],
    small_recipe: Recipe,
    small_data: Path,
    tmp_path: Path,
) -> None:
    """Through the command line, every loss of every step."""
    pretrain(run_config("one"), quiet=True)
    alone = training_losses(tmp_path / "one")
    halves = changed(small_recipe, optim={"micro_batch": 2, "sync_grn": True})
    run_two(halves, small_data, tmp_path / "two")
    together = training_losses(tmp_path / "two")
    assert len(together) == len(alone) == 4
    assert max(apart(together, alone)) < 1e-4


def test_one_process_draws_while_grn_is_in_sync(
    small_recipe: Recipe, small_data: Path, tmp_path: Path
) -> None:
    """The others do not wait for it, and do not answer its GRN."""
    halves = changed(
        small_recipe,
        optim={"micro_batch": 2, "sync_grn": True},
        validate_every_epochs=1.0,
    )
    run_two(halves, small_data, tmp_path / "two", "--plots")
    assert (tmp_path / "two" / "plots" / "reconstructions.png").exists()
    assert len(training_losses(tmp_path / "two")) == 4


def test_two_processes_resume_bit_for_bit(
    small_recipe: Recipe, small_data: Path, tmp_path: Path
) -> None:
    halves = changed(small_recipe, optim={"micro_batch": 2})
    run_two(halves, small_data, tmp_path / "whole")
    run_two(halves, small_data, tmp_path / "parts")
    for step in find_checkpoints(tmp_path / "parts" / "checkpoints"):
        if step > 2:
            shutil.rmtree(tmp_path / "parts" / "checkpoints" / f"step-{step:07d}")
    run_two(halves, small_data, tmp_path / "parts", "--resume")
    one, other = (
        load_file(tmp_path / run / "checkpoints" / "step-0000004" / MODEL)
        for run in ("whole", "parts")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
