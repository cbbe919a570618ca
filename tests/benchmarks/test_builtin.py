"""The benchmarks of the built-in encoder run, so that they do not rot."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("torch", reason="the encoder is trained with PyTorch")

from mmearth_infer.errors import TrainingError
from mmearth_training.config import changed, load_recipe
from mmearth_training.load import load_encoder
from mmearth_training.loop import pretrain
from mmearth_training.run import RunConfig
from tests.benchmarks import builtin_proof, builtin_sweep
from tests.benchmarks.builtin_labels import Samples
from tests.helpers.data import needs_data
from tests.helpers.mmearth_data import write_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.loop import Pretrained

SMALL = """
name = "small"

[data]
tile_px = 64
crop_px = 56
loader = "resident"

[model]
patch_px = 8
decoder_width = 16
tasks = ["sentinel2", "indices"]

[optim]
epochs = 20
warmup_epochs = 1
batch = 4
micro_batch = 4
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    splits = {"train": [*range(8)], "val": [8], "test": []}
    return write_dataset(tmp_path / "data", tiles=9, tile_px=64, splits=splits)


def test_a_sweep_keeps_what_a_failing_run_had(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies leaves its last checkpoint, and the next one goes on."""
    monkeypatch.setattr(builtin_sweep, "_WARM_UP", 1)
    monkeypatch.setattr(builtin_sweep, "_TIMED", 1)

    def dies(config: RunConfig) -> Pretrained:
        result = pretrain(config)
        if config.recipe.tasks == ("sentinel2",):
            raise TrainingError("a gain is infinite", hint="none")
        return result

    monkeypatch.setattr(builtin_sweep, "pretrain", dies)
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    out = tmp_path / "out"
    words = ["--data", str(data), "--out", str(out), "--recipe", str(recipe)]
    words += ["--minutes", "0.5", "--no-check", "--only", "s2", "--only", "short"]
    builtin_sweep.main(words)
    report = json.loads((out / "report.json").read_text())
    assert report["s2"]["failed"] == "a gain is infinite"
    assert report["short"]["steps"] > 0
    with tarfile.open(out / "short-0.tar") as packed:
        packed.extractall(tmp_path, filter="data")
    for name in ("s2", "short"):
        assert load_encoder(tmp_path / name).config.patch_px == 8


@needs_data
def test_an_encoder_is_judged_beside_bands_and_untrained_ones(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    small = changed(
        load_recipe(str(recipe)),
        data={"crop_px": 48},
        model={"patch_px": 16},
        optim={"epochs": 1, "warmup_epochs": 0.5},
    )
    pretrain(
        RunConfig(recipe=small, data=data, out=tmp_path / "run", workers=0), quiet=True
    )
    for name, value in (
        ("SEEDS", range(1)),
        ("UNTRAINED", range(1)),
        ("DRAWS", 50),
        ("STRENGTHS", (1.0,)),
        ("STAGES", {"stage 4": (4,)}),
    ):
        monkeypatch.setattr(builtin_proof, name, value)
    found = tmp_path / "found.json"
    builtin_proof.main([str(tmp_path / "run"), "--json", str(found)])
    results = json.loads(found.read_text())
    assert set(results) == {"bands", "untrained", "run"}
    tasks = {"eurosat stage 4", "water cells of 16 px"}
    tasks |= {f"amazon cells of {px} px" for px in (8, 16)}
    assert all(set(one) == tasks for one in results.values())
    assert float(results["bands"]["water cells of 16 px"].split()[0]) > 0.9


def test_a_probe_tells_what_is_plain_and_not_what_is_noise() -> None:
    """Whole groups are held out: what tells groups apart says nothing of classes."""
    rng = np.random.default_rng(0)
    groups_N = np.repeat(np.arange(40), 5)
    labels_N = groups_N % 2
    own_ND = np.eye(40, dtype=np.float32)[groups_N]
    plain = Samples(
        features_ND=labels_N[:, None].astype(np.float32),
        labels_N=labels_N,
        groups_N=groups_N,
    )
    noise = Samples(
        features_ND=own_ND + rng.normal(0, 0.01, own_ND.shape).astype(np.float32),
        labels_N=labels_N,
        groups_N=groups_N,
    )
    assert builtin_proof.probe(plain).accuracy == 1
    verdict = builtin_proof.probe(noise)
    assert verdict.accuracy < 0.7
    low, high = np.quantile(verdict.draws_R, [0.025, 0.975])
    assert low < verdict.accuracy < high
