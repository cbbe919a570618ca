"""Whole runs: resumed, stopped, refused, pictured, exported."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmearth_infer.errors import DataError, RecipeError, StoreError, TrainingError
from mmearth_training.checkpoint import (
    MODEL,
    OPTIMIZER,
    find_checkpoints,
    prune_checkpoints,
    read_facts,
)
from mmearth_training.config import Recipe, changed
from mmearth_training.distributed import World
from mmearth_training.history import Record, read_history
from mmearth_training.load import load_encoder
from mmearth_training.loop import build, pretrain
from mmearth_training.step import Losses
from mmearth_training.watch import Watch
from tests.helpers.mmearth_data import write_dataset
from tests.helpers.pretraining import gradients
from tests.helpers.two_processes import joint_batches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.data.loader import Batch
    from mmearth_training.run import RunConfig


def tensors_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, weights and averages."""
    return load_file(checkpoint / MODEL) | load_file(checkpoint / OPTIMIZER)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    run_config: Callable[..., RunConfig],
) -> None:
    """Stopped in the middle of an epoch; weights, averages and history agree."""
    whole = pretrain(run_config("whole"), quiet=True)
    assert whole.step == 4
    stopped = pretrain(run_config("parts", stop_after=3), quiet=True)
    assert stopped.step == 3
    resumed = pretrain(run_config("parts", resume=True, workers=1), quiet=True)
    one, other = tensors_of(whole.checkpoint), tensors_of(resumed.checkpoint)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert resumed.losses == whole.losses
    histories = [
        [r for r in read_history(run_config(out).history) if r.split == "train"]
        for out in ("whole", "parts")
    ]
    assert histories[0] == histories[1]
    assert [record.step for record in histories[0]] == [1, 2, 3, 4]


def test_a_run_out_of_time_keeps_what_it_has(
    run_config: Callable[..., RunConfig],
) -> None:
    """It stops after a step, with a checkpoint and a validation, and can go on."""
    stopped = pretrain(run_config(minutes=1e-9), quiet=True)
    assert stopped.step == 1
    assert stopped.losses
    assert pretrain(run_config(resume=True, minutes=60.0), quiet=True).step == 4


def test_training_changes_what_it_should(run_config: Callable[..., RunConfig]) -> None:
    """Every weight moves; a finished run resumed takes no step."""
    done = pretrain(run_config(), quiet=True)
    first = load_file(find_checkpoints(run_config().checkpoints)[3] / MODEL)
    last = load_file(done.checkpoint / MODEL)
    still = [name for name in last if torch.equal(first[name], last[name])]
    assert not still
    again = pretrain(run_config(resume=True), quiet=True)
    assert again.checkpoint == done.checkpoint


def test_the_last_and_the_best_checkpoints_stay(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    recipe = changed(small_recipe, validate_every_epochs=0.5)
    config = run_config(recipe=recipe, keep=1)
    pretrain(config, quiet=True)
    kept = find_checkpoints(config.checkpoints)
    history = [r for r in read_history(config.history) if r.split == "val"]
    best = min(history, key=lambda record: (record.loss, record.step)).step
    assert set(kept) == {4, best}
    assert read_facts(kept[4])["val_loss"] == history[-1].loss


@pytest.mark.parametrize("tasks", ["s2", "rgb", "image", ("sentinel2", "month")])
def test_any_subset_of_tasks(
    tasks: str | tuple[str, ...],
    run_config: Callable[..., RunConfig],
    small_recipe: Recipe,
) -> None:
    recipe = changed(
        small_recipe,
        model={"tasks": tasks, "decoders": "separate"},
        loss={"weighting": "equal"},
    )
    done = pretrain(run_config(recipe=recipe), quiet=True)
    assert set(done.losses) == set(recipe.tasks)
    encoder = load_encoder(done.checkpoint)
    assert encoder.bands == recipe.bands


def test_accumulated_micro_batches_weigh_equally(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    """The gradient of a step is the mean of those of its micro batches."""
    recipe = changed(small_recipe, model={"decoders": "separate"})
    alone = World(rank=0, size=1, device=torch.device("cpu"))

    def gradients_of(batches: list[Batch]) -> dict[str, torch.Tensor]:
        trainer = build(run_config(recipe=recipe), alone)
        trainer.step(batches, 1)
        return dict(gradients(trainer.model))

    one, other = joint_batches(2)
    parts = [gradients_of([one]), gradients_of([other])]
    for name, found in gradients_of([one, other]).items():
        expected = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_run_of_accumulated_micro_batches(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    recipe = changed(small_recipe, optim={"micro_batch": 2})
    done = pretrain(run_config(recipe=recipe, plots=True), quiet=True)
    assert done.step == 4


def test_only_a_checkpoint_that_was_judged_has_a_loss(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    """Saved at every step, judged at 3 and at the end; each judgement is saved."""
    recipe = changed(
        small_recipe,
        validate_every_epochs=1.5,
        save_every_epochs=0.5,
        optim={"epochs": 4, "warmup_epochs": 1.0},
    )
    config = run_config(recipe=recipe, keep=99)
    pretrain(config, quiet=True)
    kept = find_checkpoints(config.checkpoints)
    said = {step: read_facts(path)["val_loss"] for step, path in kept.items()}
    judged = {r.step: r.loss for r in read_history(config.history) if r.split == "val"}
    assert set(judged) == {3, 6, 8}
    assert said == {step: judged.get(step) for step in range(1, 9)}


def test_pictures_and_tensorboard(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(plots=True)
    pretrain(config, quiet=True)
    names = {path.name for path in (config.out / "plots").iterdir()}
    assert names == {"losses.png", "reconstructions.png", "uncertainties.png"}
    assert list((config.out / "tensorboard").glob("events.*"))


def test_a_loss_that_is_not_finite_is_named(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Statistics that are absurd make era5 overflow; the run says so and stops."""
    broken = {"mean": [0.0] * 12, "std": [1e-30] * 12, "min": [0.0] * 12}
    splits = {"train": [*range(10)], "val": [10], "test": []}
    data = write_dataset(
        tmp_path / "data",
        tiles=11,
        tile_px=64,
        splits=splits,
        statistics={"era5": {**broken, "max": [1.0] * 12}},
    )
    config = run_config(data=data)
    with pytest.raises(TrainingError, match=r"`era5` is not finite at step 1"):
        pretrain(config, quiet=True)
    assert not find_checkpoints(config.checkpoints)


@pytest.mark.parametrize("loader", ["workers", "resident"])
def test_an_input_that_is_not_finite_is_told_from_a_loss(
    run_config: Callable[..., RunConfig], small_recipe: Recipe, loader: str
) -> None:
    """Brightness that overflows is no matter of the learning rate."""
    recipe = changed(small_recipe, data={"loader": loader}, augment={"gain": 1e4})
    config = run_config(recipe=recipe)
    with pytest.raises(TrainingError, match=r"input of \d of \d+ samples .* at step 1"):
        pretrain(config, quiet=True)
    assert not find_checkpoints(config.checkpoints)


def test_a_run_is_not_resumed_with_another_recipe(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    config = run_config()
    done = pretrain(config, quiet=True)
    before = tensors_of(done.checkpoint)
    other = changed(small_recipe, optim={"weight_decay": 0.1})
    with pytest.raises(TrainingError, match=r"optim\.weight_decay = `0.05`, not `0.1`"):
        pretrain(run_config(recipe=other, resume=True), quiet=True)
    after = tensors_of(done.checkpoint)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_is_there_is_not_touched_unasked(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = run_config()
    pretrain(config, quiet=True)
    with pytest.raises(StoreError, match="holds a run already"):
        pretrain(config, quiet=True)
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for flags in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(StoreError, match="is no folder of a training run"):
            pretrain(run_config("mine", **flags), quiet=True)
    assert (foreign / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("device", ["cuda:99", "no such", "mps"])
def test_what_cannot_start_removes_nothing(
    device: str, run_config: Callable[..., RunConfig]
) -> None:
    done = pretrain(run_config(stop_after=1), quiet=True)
    with pytest.raises(RecipeError, match=f"no device `{device}`") as caught:
        pretrain(run_config(overwrite=True, device=device), quiet=True)
    assert caught.value.hint
    assert (done.checkpoint / MODEL).exists()


def test_overwrite_starts_anew(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(stop_after=2)
    pretrain(config, quiet=True)
    (config.out / "note.txt").touch()
    done = pretrain(run_config(stop_after=1, overwrite=True), quiet=True)
    assert done.step == 1
    assert not (config.out / "note.txt").exists()
    assert [path.name for path in config.out.parent.iterdir()] == [config.out.name]


def test_a_full_disk_is_named_and_cleared(tmp_path: Path) -> None:
    """A real limit on the size of files, in a process of its own."""
    code = """
import resource, sys, pathlib, torch
from mmearth_infer.errors import StoreError
from mmearth_training.checkpoint import write_checkpoint
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
model = torch.nn.Linear(512, 512)
folder = pathlib.Path(sys.argv[1])
try:
    write_checkpoint(folder, model, torch.optim.AdamW(model.parameters()), {"step": 1})
except StoreError as error:
    print(error, "|", error.hint, "|", list(folder.iterdir()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    said, hint, left = done.stdout.strip().split(" | ")
    assert said.startswith("cannot write")
    assert "File too large" in said
    assert "--resume" in hint
    assert left == "[]"


def test_pruning_passes_over_what_it_cannot_read(tmp_path: Path) -> None:
    """A broken JSON is no reason to stop a run; what a kill left is cleared."""
    for step in (1, 2, 3):
        folder = tmp_path / f"step-{step:07d}"
        folder.mkdir()
        (folder / MODEL).touch()
        (folder / "checkpoint.json").write_text("{" if step == 1 else '{"format": 1}')
    (tmp_path / ".step-0000000.removed").mkdir()
    prune_checkpoints(tmp_path, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000003"]


def test_a_task_that_cannot_vary_is_shown(
    run_config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_config()
    config.out.mkdir()
    losses = {"month": 0.5}
    with Watch(config, total=2, done=0, quiet=False, writes=True) as watch:
        watch.show(
            Record(
                step=1,
                epoch=1.0,
                split="val",
                loss=0.5,
                losses=losses,
                log_vars={},
                trivial={"month": 0.0},
            ),
            Losses(total=0.5, tasks=losses),
        )
    row = next(line for line in capsys.readouterr().err.splitlines() if "month" in line)
    assert row.replace("│", " ").split() == ["month", "0.500", "0.500", "0.000", "-"]


def test_a_damaged_checkpoint_is_named(run_config: Callable[..., RunConfig]) -> None:
    done = pretrain(run_config(stop_after=2), quiet=True)
    file = done.checkpoint / OPTIMIZER
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(TrainingError, match="is damaged"):
        pretrain(run_config(resume=True), quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": ("aster",)}, "`aster`"),
        ({"statistics": {"sentinel2_l2a": None}}, "sentinel2_l2a"),
        (
            {"statistics": {"sentinel1": {"mean": [0.0], "std": [1.0]}}},
            "1 values of `sentinel1` for 8 channels",
        ),
        ({"splits": {"train": [0, 1, 99], "val": [2], "test": []}}, "99"),
    ],
)
def test_data_that_lack_something(
    options: dict[str, Any],
    message: str,
    run_config: Callable[..., RunConfig],
    tmp_path: Path,
) -> None:
    data = write_dataset(tmp_path / "data", tiles=6, tile_px=64, **options)
    config = run_config(data=data)
    with pytest.raises(DataError, match=message) as caught:
        pretrain(config, quiet=True)
    assert caught.value.hint
    assert not config.out.exists()


def test_a_corrupted_file_stops_the_run_with_its_row(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Also from a worker process, hint included."""
    splits = {"train": [*range(10)], "val": [10], "test": []}
    data = write_dataset(tmp_path / "data", tiles=11, tile_px=64, splits=splits)
    with h5py.File(data / "data.h5", "r") as file:
        where = file["aster"].id.get_chunk_info(7)
    with (data / "data.h5").open("r+b") as handle:
        handle.seek(where.byte_offset)
        handle.write(b"\xff" * where.size)
    with pytest.raises(DataError, match=r"`aster`.*7") as caught:
        pretrain(run_config(data=data, workers=1), quiet=True)
    assert caught.value.hint


def test_tiles_and_batches_that_do_not_fit(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    large = changed(
        small_recipe,
        data={"tile_px": 128, "crop_px": 112},
        model={"patch_px": 16},
    )
    with pytest.raises(DataError, match="64 px, and the recipe looks at 112 px"):
        pretrain(run_config(recipe=large), quiet=True)
    many = changed(small_recipe, optim={"batch": 16})
    with pytest.raises(DataError, match="10 training tiles do not fill a batch of 16"):
        pretrain(run_config(recipe=many), quiet=True)
    with pytest.raises(RecipeError, match="hides every patch of 49"):
        changed(small_recipe, model={"mask_ratio": 0.99})


def test_facts_of_a_checkpoint(run_config: Callable[..., RunConfig]) -> None:
    """Enough to export: bands, statistics of both levels, where they come from."""
    done = pretrain(run_config(), quiet=True)
    facts = json.loads((done.checkpoint / "checkpoint.json").read_text())
    assert set(facts["statistics"]) == {"l1c", "l2a"}
    encoder = load_encoder(done.checkpoint)
    weights = load_file(done.checkpoint / MODEL)
    for name, value in encoder.state.items():
        np.testing.assert_array_equal(value, weights[f"encoder.{name}"])
