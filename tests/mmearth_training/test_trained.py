"""Checkpoints of our own training: read whole, and refused where they do not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import PRETRAINING_SOURCE, Statistics
from mmearth_infer.errors import ModelError, TrainingError, UnsafeFileError
from mmearth_training.checkpoint import read_facts
from mmearth_training.load import load_encoder
from mmearth_training.trained import load_trained
from tests.helpers.data import needs_golden
from tests.helpers.golden import write_checkpoint
from tests.helpers.trained import (
    BANDS,
    CONFIG,
    SOURCE,
    STATISTICS,
    about,
    small_weights,
    write_trained,
)


def test_everything_comes_back(tmp_path: Path) -> None:
    read = load_trained(write_trained(tmp_path / "step-0000123"))
    assert read.config == CONFIG
    assert (read.bands, read.crop_px, read.size_name) == (BANDS, 56, "custom")
    assert read.name == "step-0000123/model.safetensors"
    assert read.statistics_source == SOURCE
    (level,) = read.statistics
    assert level == "l1c"
    assert read.statistics["l1c"] == Statistics(
        mean=tuple(STATISTICS["mean"]), std=tuple(STATISTICS["std"])
    )
    assert read.facts == {
        "recipe": "tiny-cpu",
        "data": "small",
        "epochs": 5,
        "amp": False,
        "step": 123,
        "epoch": 3.0,
    }
    weights = small_weights()
    for name, weight in read.encoder().state_dict().items():
        assert torch.equal(weight, weights[f"encoder.{name}"]), name


def test_the_weights_fit_both_scopes_of_grn(tmp_path: Path) -> None:
    """A sample alone is its own batch, so that training's `batch` equals `window`."""
    read = load_trained(write_trained(tmp_path / "step-1"))
    window = replace(CONFIG, grn="window")
    x_NCHW = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        batch_map, window_map = read.encoder()(x_NCHW), read.encoder(window)(x_NCHW)
    torch.testing.assert_close(batch_map, window_map)


def test_what_the_path_is_decides(tmp_path: Path) -> None:
    """A run gives its last complete step, by number and not by name."""
    run = tmp_path / "run"
    for step in ("step-0000009", "step-0000010", "step-9"):
        write_trained(run / "checkpoints" / step)
    last = write_trained(run / "checkpoints" / "step-10000000", step=10_000_000)
    (run / "checkpoints" / "step-20000000").mkdir()
    unfinished = write_trained(run / "checkpoints" / "step-30000000")
    (unfinished / "checkpoint.json").unlink()
    without = write_trained(run / "checkpoints" / "step-40000000")
    (without / "model.safetensors").unlink()
    write_trained(run / "checkpoints" / ".step-50000000.partial")
    for path in (run, last, last / "checkpoint.json"):
        assert load_encoder(path).facts["step"] == 10_000_000


@needs_golden
def test_a_published_file_has_the_statistics_of_pretraining(tmp_path: Path) -> None:
    read = load_encoder(write_checkpoint(tmp_path / "pt.pth"))
    assert (read.name, read.bands) == ("pt.pth", MMEARTH_BANDS)
    assert set(read.statistics) == {"l1c", "l2a"}
    assert read.statistics_source == PRETRAINING_SOURCE


def test_paths_that_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    weights = write_trained(tmp_path / "step-1") / "model.safetensors"
    for path, message in [
        (tmp_path / "absent", "there is no checkpoint"),
        (tmp_path / "empty", "is neither run nor checkpoint"),
        (tmp_path / "run", "has no checkpoint yet"),
        (weights, "not what they are of"),
    ]:
        with pytest.raises(ModelError, match=message) as error:
            load_encoder(path)
        assert error.value.hint is not None


def test_a_pickle_under_the_name_of_weights_is_not_run(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "step-1")
    path = folder / "model.safetensors"
    torch.save({"encoder.x": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="is damaged"):
        load_trained(folder)
    (folder / "checkpoint.json").unlink()
    path.rename(folder / "checkpoint.pth")
    torch.save({"model": print}, folder / "checkpoint.pth")
    with pytest.raises(UnsafeFileError):
        load_encoder(folder / "checkpoint.pth")


@pytest.mark.parametrize("name", ["checkpoint.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_trained(tmp_path / "step-1")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"lacks `{name}`") as error:
        load_trained(folder)
    assert error.value.hint is not None


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    folder = write_trained(tmp_path / "step-1")
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is damaged: its SHA-256") as error:
        load_trained(folder)
    assert error.value.hint is not None


def test_weights_that_are_no_safetensors(tmp_path: Path) -> None:
    digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    folder = write_trained(tmp_path / "step-1", sha256={"model.safetensors": digest})
    (folder / "model.safetensors").write_text("hello")
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load_trained(folder)


def encoder(**changes: object) -> dict[str, object]:
    return {"encoder": {**about()["encoder"], **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2; this version reads up to 1"),
        ({"format": 0}, "has format 0"),
        ({"format": "1"}, "does not describe a checkpoint"),
        ({"sha256": {}}, "has no digest of `model.safetensors`"),
        ({"crop_px": 0}, "crop_px"),
        ({"step": "many"}, "is not valid.*step"),
        ({"statistics": {}}, "is not valid.*statistics"),
        ({"statistics": {"l3": STATISTICS}}, "is not valid.*l3"),
        (
            {"statistics": {"l2a": {"mean": [1.0] * 2, "std": [1.0] * 2}}},
            "has 3 bands but statistics of 2 for L2A",
        ),
        (
            {"statistics": {"l2a": {"mean": [1.0] * 3, "std": [1.0, 0.0, 1.0]}}},
            "is not valid: a standard deviation is 0.0",
        ),
        (encoder(bands=["B4", "B8A", "B13"]), "names the band `B13`"),
        (encoder(bands=["B4", "B8A", "B4"]), "names a band twice"),
        (encoder(bands=["B4"]), "bands but statistics of 3"),
        (encoder(size="atto"), "says its size is `atto`"),
        (encoder(patch_px=10), "patch size of 10 px"),
        (encoder(patch_px=16), r"stem.0.weight` is \(8, 1, 1, 1\), expected \(8, 1, 2"),
        (encoder(original_stem=True), "do not fit"),
        (encoder(depths=[1, 1, 3, 1]), "stages.2.2.* is missing"),
        (encoder(depths=[1, 1, 10**9, 1]), "is not valid.*depths"),
        (encoder(dims=[8, 16, 24]), "is not valid.*dims"),
        (encoder(grn="frozen"), "is not valid.*grn"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = write_trained(tmp_path / "step-1", **changes)
    with pytest.raises(ModelError, match=message) as error:
        load_trained(folder)
    assert error.value.hint is not None


def test_json_that_is_cut_off(tmp_path: Path) -> None:
    path = write_trained(tmp_path / "step-1") / "checkpoint.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ModelError, match="does not describe a checkpoint"):
        load_trained(path.parent)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = small_weights()
    del weights["encoder.stem.1.bias"]
    weights["encoder.stages.2.1.grn.gamma"] = torch.zeros(3)
    folder = write_trained(tmp_path / "step-1", weights=weights)
    with pytest.raises(ModelError, match="2 tensors") as error:
        load_trained(folder)
    assert "stages.2.1.grn.gamma" in str(error.value)


def test_the_weights_of_a_run_that_diverged(tmp_path: Path) -> None:
    weights = small_weights()
    weights["encoder.stem.1.bias"][2] = float("nan")
    folder = write_trained(tmp_path / "step-1", weights=weights)
    with pytest.raises(ModelError, match="the run diverged"):
        load_trained(folder)


def test_json_that_is_nested_without_end(tmp_path: Path) -> None:
    path = write_trained(tmp_path / "step-1") / "checkpoint.json"
    deep = "[" * 10_000 + "]" * 10_000
    path.write_text(path.read_text().rstrip().removesuffix("}") + f', "x": {deep}}}')
    with pytest.raises(ModelError):
        load_trained(path.parent)
    with pytest.raises(TrainingError):
        read_facts(path.parent)
