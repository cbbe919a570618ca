"""Runs that start from the encoder of another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from mmearth_infer.errors import ModelError, RecipeError, TrainingError
from mmearth_training.checkpoint import MODEL
from mmearth_training.config import Recipe, changed
from mmearth_training.distributed import World
from mmearth_training.loop import build, pretrain
from mmearth_training.start import open_start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.run import RunConfig
    from tests.conftest import Ran


def test_the_encoder_is_the_others_and_the_decoder_is_not(
    run_config: Callable[..., RunConfig],
) -> None:
    first = pretrain(run_config(), quiet=True)
    config = run_config("second", init=first.checkpoint)
    start = open_start(config.init, config.recipe)
    world = World(rank=0, size=1, device=torch.device("cpu"))
    model, fresh = (build(config, world, one).model for one in (start, None))
    before = load_file(first.checkpoint / MODEL)
    own, drawn = model.state_dict(), fresh.state_dict()
    for name, value in own.items():
        same = before if name.startswith("encoder.") else drawn
        torch.testing.assert_close(value, same[name], rtol=0, atol=0)
    assert any(not torch.equal(own[name], drawn[name]) for name in own)
    second = pretrain(config, quiet=True)
    assert second.step == 4
    facts = json.loads((second.checkpoint / "checkpoint.json").read_text())
    assert facts["facts"]["init"] == first.checkpoint.name


def test_a_run_goes_on_with_what_it_started_from(
    run_config: Callable[..., RunConfig],
) -> None:
    """Interrupted it ends as if it had not been, and with no other start."""
    first = pretrain(run_config(), quiet=True).checkpoint
    whole = pretrain(run_config("whole", init=first), quiet=True)
    pretrain(run_config("parts", init=first, stop_after=2), quiet=True)
    with pytest.raises(TrainingError, match="was started with init = "):
        pretrain(run_config("parts", resume=True), quiet=True)
    resumed = pretrain(run_config("parts", init=first, resume=True), quiet=True)
    one, other = (load_file(run.checkpoint / MODEL) for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_encoder_than_the_recipes(
    run_config: Callable[..., RunConfig], small_recipe: Recipe, tmp_path: Path
) -> None:
    """Refused before anything is written."""
    first = pretrain(run_config(), quiet=True).checkpoint
    other = changed(small_recipe, model={"size": "femto"})
    with pytest.raises(RecipeError, match=r"holds depths .* builds depths"):
        pretrain(run_config("x", recipe=other, init=first), quiet=True)
    rgb = changed(small_recipe, model={"tasks": "rgb"})
    with pytest.raises(RecipeError, match=r"12 bands, and .* 3 bands"):
        pretrain(run_config("x", recipe=rgb, init=first), quiet=True)
    with pytest.raises(ModelError, match="there is no checkpoint"):
        pretrain(run_config("x", init=tmp_path / "none"), quiet=True)
    assert not (tmp_path / "x").exists()


def test_bands_in_another_order(
    run_config: Callable[..., RunConfig],
    small_recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = pretrain(run_config(), quiet=True).checkpoint
    found = open_start(first, small_recipe)
    assert found is not None
    turned = replace(found, bands=found.bands[::-1])
    monkeypatch.setattr("mmearth_training.start.load_encoder", lambda _: turned)
    with pytest.raises(RecipeError, match="reads B12, B11"):
        open_start(first, small_recipe)


def test_the_command_line(
    run_config: Callable[..., RunConfig],
    small_data: Path,
    tmp_path: Path,
    mmearth: Callable[..., Ran],
) -> None:
    """`--init` takes a run's folder; another shape is one line and a hint."""
    pretrain(run_config("first"), quiet=True)
    ran = mmearth(
        "pretrain",
        "builtin-atto",
        *("--data", small_data, "-o", tmp_path / "second"),
        *("--init", tmp_path / "first", "-q"),
    )
    assert ran.code != 0
    assert not (tmp_path / "second").exists()
    assert ran.stderr.count("\n") == 2
    assert "hint: " in ran.stderr
