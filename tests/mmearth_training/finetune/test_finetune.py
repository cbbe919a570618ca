"""Runs of fine-tuning: they learn, stop, go on, and say what they came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from mmearth_infer.errors import RecipeError, StoreError, TrainingError
from mmearth_training.data.scenes import SceneOptions
from mmearth_training.encoder_checkpoint import UnetCheckpoint
from mmearth_training.finetune.batches import Batches
from mmearth_training.finetune.loop import evaluate, finetune
from mmearth_training.finetune.recipe import load_recipe
from mmearth_training.finetune.run import FinetuneConfig
from mmearth_training.finetune.setup import choose_statistics
from mmearth_training.finetune.tiles import cut_labelled
from mmearth_training.history import read_history
from mmearth_training.load import load_encoder
from tests.helpers.planted import recipe_with, write_planted
from tests.helpers.trained import write_trained
from tests.helpers.unets import write_unet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from mmearth_training.finetune.loop import Finetuned
    from tests.conftest import Ran


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The network is so small that threads wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene with labels, a recipe, and an encoder to start from."""
    folder = write_planted(tmp_path_factory.mktemp("planted"))
    write_trained(folder / "encoder")
    return folder


def run(folder: Path, out: Path, **changes: Any) -> Finetuned:  # noqa: ANN401
    """Run the recipe with parts of it, or fields of the call, replaced."""
    recipe = load_recipe(str(folder / "recipe.toml"))
    fields = ("resume", "overwrite", "stop_after", "checkpoint")
    given = {name: changes.pop(name) for name in fields if name in changes}
    config = FinetuneConfig(
        recipe=recipe_with(recipe, **changes),
        data=folder,
        out=out,
        options=SceneOptions(),
        device="cpu",
        **{"checkpoint": folder / "encoder", **given},
    )
    return finetune(config, quiet=True)


def test_it_learns_what_was_planted(folder: Path, tmp_path: Path) -> None:
    """Three classes on ground it never saw, one of which only a neighbourhood tells.

    The model in the checkpoint is the one that was scored.
    """
    done = run(folder, tmp_path / "run")
    assert done.scores is not None
    assert done.scores.mean_iou > 0.85, done.scores
    assert done.picture is not None
    assert done.picture.read_bytes().startswith(b"\x89PNG")
    assert set(done.tiles) == {"train", "val", "test"}
    records = read_history(tmp_path / "run" / "history.jsonl")
    val = [record.loss for record in records if record.split == "val"]
    assert len(val) == 6
    assert val[-1] < val[0]

    checkpoint = load_encoder(tmp_path / "run")
    assert isinstance(checkpoint, UnetCheckpoint)
    assert [one.name for one in checkpoint.classes] == ["lake", "field", "town"]
    assert checkpoint.statistics_source == "the tiles it was fine-tuned on"
    assert checkpoint.facts["recipe"] == "planted"
    recipe = load_recipe(str(folder / "recipe.toml"))
    tiles = cut_labelled(
        recipe, folder, bands=checkpoint.bands, options=SceneOptions(), quiet=True
    )
    batches = Batches(
        tiles=tiles,
        statistics=checkpoint.statistics,
        size=4,
        seed=9,
        device=torch.device("cpu"),
    )
    again = evaluate(checkpoint.unet(), batches, recipe, "test")
    assert again.iou == pytest.approx(done.scores.iou)
    assert again.loss == pytest.approx(done.scores.loss)
    assert checkpoint.statistics == choose_statistics(recipe, tiles, checkpoint)


def weights(done: Finetuned) -> dict[str, torch.Tensor]:
    return load_file(done.checkpoint / "model.safetensors")


def test_the_encoder_stays_in_the_first_phase_and_moves_in_the_second(
    folder: Path, tmp_path: Path
) -> None:
    start = weights_of_encoder(folder)
    first = weights(run(folder, tmp_path / "1", optim={"epochs": 0}))
    both = weights(run(folder, tmp_path / "2", optim={"epochs": 1}))
    for name, weight in start.items():
        assert torch.equal(first[f"encoder.{name}"], weight)
    moved = [not torch.equal(both[f"encoder.{n}"], w) for n, w in start.items()]
    assert all(moved)


def weights_of_encoder(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_encoder(folder / "encoder").state)


@pytest.mark.parametrize("stop_after", [8, 10, 15])
def test_interrupted_and_resumed_equals_uninterrupted(
    stop_after: int, folder: Path, tmp_path: Path
) -> None:
    """In either phase, drop path and all."""
    short = {"optim": {"decoder_epochs": 2, "epochs": 2}}
    whole = run(folder, tmp_path / "whole", **short)
    part = run(folder, tmp_path / "part", stop_after=stop_after, **short)
    assert part.step == stop_after < whole.step
    on = run(folder, tmp_path / "part", resume=True, **short)
    assert on.step == whole.step
    for name, weight in weights(whole).items():
        assert torch.equal(weights(on)[name], weight), name
    assert on.scores == whole.scores
    again = run(folder, tmp_path / "part", resume=True, **short)
    assert again.scores == whole.scores  # there was nothing left to do


def test_runs_that_cannot_start_or_go_on(folder: Path, tmp_path: Path) -> None:
    short = {"optim": {"decoder_epochs": 1, "epochs": 0}}
    run(folder, tmp_path / "run", **short)
    with pytest.raises(StoreError, match="holds a run already"):
        run(folder, tmp_path / "run", **short)
    with pytest.raises(TrainingError, match=r"started with recipe\.seed = `0`"):
        run(folder, tmp_path / "run", resume=True, seed=1, **short)
    with pytest.raises(TrainingError, match="started with encoder = "):
        run(folder, tmp_path / "run", resume=True, checkpoint=None, **short)
    with pytest.raises(RecipeError, match="20 px are not made of patches of 8 px"):
        run(folder, tmp_path / "odd", data={"tile_px": 20, "stride_px": 20})
    with pytest.raises(TrainingError, match="not finite at step"):
        run(folder, tmp_path / "far", optim={"base_lr": 1e30})


def test_a_segmentation_model_can_be_started_from(folder: Path, tmp_path: Path) -> None:
    """Its encoder is taken, its decoder is not."""
    start = write_unet(tmp_path / "unet")
    done = run(
        folder,
        tmp_path / "run",
        checkpoint=start,
        optim={"decoder_epochs": 1, "epochs": 0, "base_lr": 1e-9},
    )
    before, after = load_file(start / "model.safetensors"), weights(done)
    assert torch.equal(after["encoder.stem.0.weight"], before["encoder.stem.0.weight"])
    assert after["decoder.head.bias"].shape == before["decoder.head.bias"].shape
    assert not torch.equal(after["decoder.head.weight"], before["decoder.head.weight"])


def test_the_command_line(
    folder: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """From files to a model with classes, and errors of two lines."""
    short = (folder / "recipe.toml").read_text()
    short = short.replace("epochs = 8", "epochs = 1")
    (tmp_path / "r.toml").write_text(short)
    asked = ("finetune", tmp_path / "r.toml", "--checkpoint", folder / "encoder")
    out = tmp_path / "run"
    ran = mmearth(*asked, "--data", folder, "-o", out, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["tiles"]["train"] > 0
    assert 0 < ran.report["scores"]["iou"]["lake"] <= 1
    for word in ("epoch 2", "lake", "mean", "accuracy", "mmearth export"):
        assert word in ran.stderr
    assert {path.name for path in out.iterdir()} >= {"map.png", "scores.json"}

    ran = mmearth(*asked, "--data", folder, "-o", out)
    assert ran.code == 1
    assert "holds a run already" in ran.stderr
    ran = mmearth(*asked, "--data", tmp_path / "nowhere", "-o", tmp_path / "x")
    assert (ran.code, "there is no folder" in ran.stderr) == (1, True)
    ran = mmearth(*asked, "--data", tmp_path, "-o", tmp_path / "x")
    assert (ran.code, "has no labels" in ran.stderr) == (1, True)
    assert not (tmp_path / "x").exists()
    assert "floods" in mmearth("finetune", "--list").stdout
