"""From hand-drawn labels of a real scene to a verified model that maps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio

pytest.importorskip("torchmetrics", reason="fine-tuning needs the train extra")

import torch

from mmearth_infer.engine.open import open_model
from tests.helpers.data import SEN1FLOODS, needs_data
from tests.helpers.trained import BANDS, STATISTICS, write_trained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Ran

RECIPE = """
name = "short"
validate_every_epochs = 6

[data]
images = "*_S2Hand.tif"
labels = "*_LabelHand.tif"
ignored = [-1]
tile_px = 64
test_share = 0.25

[[classes]]
name = "dry"
value = 0
rgb = [222, 205, 160]

[[classes]]
name = "water"
value = 1
rgb = [0, 114, 178]

[optim]
decoder_epochs = 4
epochs = 8
warmup_epochs = 1
batch = 8
base_lr = 0.5
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The network is so small that threads wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_data
def test_water_on_a_real_chip(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    """Held-out blocks are mapped far better than by the larger class alone; the ONNX
    file gives eager PyTorch's logits on the whole chip, and probabilities sum to one.
    """
    from mmearth_training.load import load_encoder  # noqa: PLC0415 -- an extra

    (tmp_path / "short.toml").write_text(RECIPE)
    encoder = write_trained(tmp_path / "encoder")
    ran = mmearth(
        *("finetune", tmp_path / "short.toml", "--data", SEN1FLOODS.parent),
        *("-o", tmp_path / "run", "--checkpoint", encoder),
        *("--allow-resolution", "--json", "-q"),
    )
    assert ran.code == 0, ran.stderr
    scores = ran.report["scores"]
    assert scores["mean_iou"] > 0.6
    assert min(scores["iou"].values()) > 0.4

    out = tmp_path / "seg.onnx"
    ran = mmearth("export", tmp_path / "run", "-o", out)
    assert ran.code == 0, ran.stderr
    model = open_model(out)
    manifest = model.file.manifest
    assert [one.name for one in manifest.classes] == ["dry", "water"]
    with rasterio.open(SEN1FLOODS) as file:
        names = [file.descriptions.index(band) + 1 for band in BANDS]
        dn = file.read(names).astype(np.uint16)[None]
    logits = model.engine(level="l1c", output=manifest.outputs[0])(dn)
    mean, std = (
        np.array(STATISTICS[key], np.float32)[:, None, None] for key in ("mean", "std")
    )
    checkpoint = load_encoder(tmp_path / "run")
    with torch.inference_mode():
        eager = checkpoint.unet()(torch.from_numpy((dn - mean) / std))  # type: ignore[attr-defined]
    assert logits.shape == (1, 2, 512, 512)
    assert np.abs(logits - eager.numpy()).max() < 1e-4 * eager.abs().max()
    shares = torch.from_numpy(logits).softmax(1)
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 512, 512))
