"""Whole runs: resumed, stopped, refused, pictured, exported."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmearth_infer.errors import DataError, RecipeError, StoreError, TrainingError
from mmearth_training.checkpoint import MODEL, OPTIMIZER, find_checkpoints, read_facts
from mmearth_training.config import Recipe, changed
from mmearth_training.history import read_history
from mmearth_training.load import load_encoder
from mmearth_training.loop import pretrain
from tests.helpers.mmearth_data import write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


def test_accumulated_micro_batches(
    run_config: Callable[..., RunConfig], small_recipe: Recipe
) -> None:
    """Two micro batches of two are one step; nothing else than GRN's batch differs."""
    recipe = changed(small_recipe, optim={"micro_batch": 2})
    assert pretrain(run_config(recipe=recipe), quiet=True).step == 4


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
        with pytest.raises(StoreError, match="is no folder of a pretraining run"):
            pretrain(run_config("mine", **flags), quiet=True)
    assert (foreign / "thesis.txt").read_text() == "years of work"


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
    with pytest.raises(DataError, match="64 px, and the recipe crops 112 px"):
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
