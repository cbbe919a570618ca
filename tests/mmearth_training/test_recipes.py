"""Recipes, the learning rate they mean, and the predictor they are measured by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import MMEarthError, RecipeError
from mmearth_training.cli import pretrain, resume_command
from mmearth_training.config import Recipe, changed, load_recipe, recipe_names
from mmearth_training.data.folder import open_folder
from mmearth_training.data.loader import held_out, iterate
from mmearth_training.distributed import World
from mmearth_training.loop import build, open_samples
from mmearth_training.modalities import SETS
from mmearth_training.model.mpmae import MpMae
from mmearth_training.optim import build_optimizer, warmup_cosine
from mmearth_training.trivial import fit_trivial, trivial_losses
from tests.helpers.recipes import write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.run import RunConfig
    from tests.conftest import Ran


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    with torch.device("meta"):
        MpMae(recipe.network())


def test_the_paper_in_numbers() -> None:
    """Reference: MMEarth paper, sections 4 and 5.2."""
    recipe = load_recipe("all-atto-mmearth-128")
    assert (recipe.patches, recipe.visible) == (49, 19)
    assert recipe.tasks == SETS["all"]
    assert len(recipe.bands) == 12
    assert load_recipe("rgb-atto-mmearth64").bands == ("B2", "B3", "B4")
    optim = recipe.optim
    assert (optim.epochs, optim.warmup_epochs, optim.batch) == (200, 40, 4096)
    assert (optim.base_lr, optim.weight_decay) == (1.5e-4, 0.05)
    assert optim.betas == (0.9, 0.95)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 3", "Expected `str`"),
        ('name = "x"\nnonsense = 1', "nonsense"),
        ('name = "x"\n[model]\ntasks = "everything"', "no set of tasks `everything`"),
        ('name = "x"\n[model]\ntasks = ["s3"]', "`s3` is no modality"),
        ('name = "x"\n[model]\nsize = "enormous"', "no size `enormous`"),
        ('name = "x"\n[model]\nmask_ratio = 1.0', "hides every patch"),
        ('name = "x"\n[model]\nmask_ratio = 0.0', "hides no patch"),
        ('name = "x"\n[model]\nmask_ratio = -3', "not between 0 and 1"),
        ('name = "x"\n[model]\npatch_px = 9', "patch size of 9 px"),
        ('name = "x"\n[data]\ncrop_px = 100', "crop of 100 px"),
        ('name = "x"\n[optim]\nmicro_batch = 100', "micro batches of 100"),
        ('name = "x"\n[optim]\nwarmup_epochs = 300', "300.0 warm-up epochs"),
        ('name = "x"\n[optim]\nbase_lr = -1.0', "optim.base_lr is -1.0"),
        ('name = "x"\nseed = -1', "seed is -1"),
        ('name = "x"\nsave_every_epochs = inf', "save_every_epochs is inf"),
        ('name = "x"\n[optim]\nbatch = 0', "optim.batch is 0"),
        ('name = "x"\n[optim]\nbatch = -256', "optim.batch is -256"),
        ('name = "x"\n[optim]\nweight_decay = -0.1', "weight_decay is -0.1"),
        ('name = "x"\n[optim]\nbetas = [1.5, 0.9]', "do not lie from 0 to 1"),
        ("name = ", "cannot be read"),
    ],
)
def test_recipes_that_cannot_be(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(MMEarthError, match=message) as caught:
        load_recipe(str(file))
    assert caught.value.hint


def test_an_unknown_recipe_names_the_known() -> None:
    with pytest.raises(RecipeError, match="no recipe `nope`") as caught:
        load_recipe("nope")
    assert "tiny-cpu" in (caught.value.hint or "")


@given(warmup=st.integers(0, 50), rest=st.integers(1, 200), step=st.integers(0, 300))
def test_the_learning_rate(warmup: int, rest: int, step: int) -> None:
    """Rises to 1 at the end of the warm-up, falls to 0 at the end of the run."""
    total = warmup + rest

    def at(number: int) -> float:
        return warmup_cosine(number, warmup=warmup, total=total)

    assert at(warmup) == 1
    assert at(total) == 0
    assert 0 <= at(step) <= 1
    if step < warmup:
        assert at(step) < at(step + 1)
    elif step < total:
        assert at(step) > at(step + 1)
    middle = warmup + rest / 2
    if middle.is_integer():
        assert math.isclose(at(int(middle)), 0.5)


def test_weight_decay_spares_vectors(small_recipe: Recipe) -> None:
    model = MpMae(small_recipe.network())
    decayed, spared = build_optimizer(model, small_recipe.optim).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in decayed["params"]} == {"weight"}
    vectors = {names[id(p)].rpartition(".")[2] for p in spared["params"]}
    assert {"bias", "gamma", "beta", "mask_token", "log_vars_T"} <= vectors
    assert spared["weight_decay"] == 0
    assert decayed["lr"] == small_recipe.optim.base_lr * 4 / 256
    held = len(decayed["params"]) + len(spared["params"])
    assert held == len(list(model.parameters()))


def test_the_trivial_predictor(
    small_data: Path, run_config: Callable[..., RunConfig]
) -> None:
    """On the data it was fitted to no constant is better; classes have frequencies."""
    config = run_config()
    samples = open_samples(config, open_folder(small_data))
    model = build(config, World(rank=0, size=1, device=torch.device("cpu"))).model
    batches = list(iterate(samples, held_out(tuple(range(8)), 4), workers=0))
    said = fit_trivial(model, batches)
    best = trivial_losses(model, said, batches)
    for name in ("sentinel1", "era5", "aster"):
        for change in (0.3, -0.3):
            other = {**said, name: said[name] + change}
            assert trivial_losses(model, other, batches)[name] > best[name]
    assert math.isclose(float(said["dynamic_world"].exp().sum()), 1, rel_tol=1e-5)
    assert best["dynamic_world"] <= math.log(9) + 0.01


def test_the_command_line(
    mmearth: Callable[..., Ran], small_data: Path, small_recipe: Recipe, tmp_path: Path
) -> None:
    """A run from the command line ends with what `mmearth export` takes."""
    file = tmp_path / "small.toml"
    write_recipe(small_recipe, file)
    out = tmp_path / "run"
    options = ("--data", small_data, "-o", out, "--workers", 0, "--device", "cpu")
    ran = mmearth("pretrain", file, *options, "--epochs", 1, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["step"] == 2
    assert "held out" in ran.stderr
    again = mmearth("pretrain", file, *options, "--epochs", 1)
    assert again.code == 1
    assert "hint: --resume" in again.stderr
    exported = mmearth("export", out, "-o", tmp_path / "m.onnx", "--json")
    assert exported.code == 0, exported.stderr
    assert exported.report["provenance"]["facts"]["recipe"] == "small"
    assert "tiny-cpu" in mmearth("pretrain", "--list").stdout


def test_the_command_that_goes_on() -> None:
    """It repeats what was said, and nothing that was not."""
    words = ["my recipe.toml", "--data", "d", "-o", "r", "--epochs", "3"]
    words += ["--overwrite", "--plots"]
    with pretrain.make_context("pretrain", words) as ctx:
        said = resume_command(ctx)
    assert said == (
        "mmearth pretrain 'my recipe.toml' --data d --out r --epochs 3 --plots --resume"
    )


def test_changed_values_are_checked(small_recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="micro batches of 3"):
        changed(small_recipe, optim={"micro_batch": 3})
