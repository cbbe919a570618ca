"""Checkpoints of our own training through `mmearth export` and `mmearth embed`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from mmearth_export.wrapper import standardise
from mmearth_infer.contract.normalize import Statistics
from mmearth_infer.engine.open import open_model
from mmearth_training.trained import load_trained
from tests.conftest import Ran
from tests.helpers.scenes import random_dn, write_scene
from tests.helpers.trained import BANDS, SOURCE, STATISTICS, write_trained

FIGURES = Statistics(mean=tuple(STATISTICS["mean"]), std=tuple(STATISTICS["std"]))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two checkpoints."""
    for step in (100, 123):
        write_trained(tmp_path / f"run/checkpoints/step-{step:07}", step=step)
    return tmp_path / "run"


def test_a_run_becomes_a_model_that_embeds(
    run: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """The features of a scene are those of eager PyTorch with the run's statistics.

    A scene of the other product level is refused: the run saw none of it.
    """
    model = tmp_path / "m.onnx"
    ran = mmearth("export", run, "-o", model, "--grn-eps", 1e-3)
    assert ran.code == 0, ran.stderr
    manifest = open_model(model).file.manifest
    assert (manifest.bands, manifest.training_crop_px) == (BANDS, 56)
    assert manifest.statistics == {"l1c": FIGURES}
    assert (manifest.grn.scope, manifest.grn.eps) == ("window", 1e-3)
    made = manifest.provenance
    assert made.trained
    assert made.checkpoint == "step-0000123/model.safetensors"
    assert made.statistics == SOURCE
    assert made.facts["recipe"] == "tiny-cpu"
    assert made.facts["step"] == 123
    assert manifest.verification is not None
    assert {row.level for row in manifest.verification.compared} == {"l1c"}

    dn = random_dn(3)
    scene = write_scene(tmp_path / "s.tif", dn, bands=BANDS)
    asked = ("--model", model, "--offset", "none", "--window", 64, "--halo", 0)
    out = tmp_path / "s.zarr"
    ran = mmearth("embed", scene, "-o", out, *asked, "--product", "l1c")
    assert ran.code == 0, ran.stderr
    with xarray.open_zarr(out) as store:
        features = store["embedding"].to_numpy()
    checkpoint = load_trained(run / "checkpoints" / "step-0000123")
    encoder = checkpoint.encoder(replace(checkpoint.config, grn="window", grn_eps=1e-3))
    mean, std = torch.tensor(FIGURES.mean), torch.tensor(FIGURES.std)
    with torch.inference_mode():
        eager = encoder(standardise(torch.from_numpy(dn[None]), mean, std))[0].numpy()
    assert features.shape == eager.shape == (32, 8, 8)
    assert np.abs(features - eager).max() / np.abs(eager).max() < 1e-5

    out = tmp_path / "other.zarr"
    ran = mmearth("embed", scene, "-o", out, *asked, "--product", "l2a")
    assert ran.code == 1
    assert "has no statistics for L2A" in ran.stderr
    assert "hint: it knows L1C" in ran.stderr
    assert not out.exists()


def test_export_refuses(run: Path, tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    weights = run / "checkpoints" / "step-0000123" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    ran = mmearth("export", run, "-o", tmp_path / "m.onnx")
    assert ran.code == 1
    assert "is damaged" in ran.stderr
    assert "hint: " in ran.stderr
    assert not (tmp_path / "m.onnx").exists()
