"""Segmentation models: through the same gate as encoders, classes in the manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch

from mmearth_export.artifact import write_verified
from mmearth_export.calibrate import Tile, freeze, read_windows
from mmearth_export.describe import of_segmentation
from mmearth_export.formats import SUFFIXES, Format
from mmearth_export.wrapper import standardise
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.classes import MapClass
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.engine.open import open_model, read_file
from mmearth_infer.errors import VerificationError
from mmearth_infer.read.options import SceneOptions
from mmearth_training.load import load_encoder
from mmearth_training.model.encoder import EncoderConfig, Size
from mmearth_training.model.unet import Unet, unet_radius_px
from tests.helpers.export import manifest_of
from tests.helpers.pretraining import randomise
from tests.helpers.scenes import random_dn
from tests.helpers.trained import write_trained
from tests.helpers.unets import CLASSES, write_unet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_infer.contract.manifest import Manifest, Precision
    from tests.conftest import Ran

SMALL = Size(depths=(1, 1, 1, 1), dims=(40, 40, 48, 48))


def unet_of(config: EncoderConfig) -> Unet:
    unet = Unet(config, len(CLASSES))
    randomise(unet)
    if config.grn == "frozen":
        freeze(unet.encoder, [tile.standardised() for tile in demo_tiles()])
    return unet.eval()


def demo_tiles() -> tuple[Tile, ...]:
    return read_windows(
        ["demo"],
        bands=MMEARTH_BANDS,
        statistics=pretraining_statistics(MMEARTH_BANDS),
        options=SceneOptions(),
        most=2,
    ).tiles


def promised(config: EncoderConfig) -> Manifest:
    return of_segmentation(manifest_of(config), config, CLASSES)


def made(
    folder: Path, config: EncoderConfig, kind: Format, precision: Precision = "fp32"
) -> tuple[Path, Manifest]:
    out = folder / f"m{SUFFIXES[kind][0]}"
    manifest = replace(promised(config), precision=precision)
    return out, write_verified(unet_of(config), manifest, out, kind=kind)


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(size=SMALL, patch_px=8),
        EncoderConfig(size=SMALL, patch_px=16),
        EncoderConfig(size=SMALL, patch_px=32, original_stem=True),
        EncoderConfig(size=SMALL, patch_px=16, grn="frozen"),
    ],
    ids=["patch 8", "patch 16", "original stem", "frozen"],
)
def test_onnx_equals_pytorch(config: EncoderConfig, tmp_path: Path) -> None:
    """At a size and batch that the gate did not see; probabilities sum to one."""
    out, manifest = made(tmp_path, config, "onnx")
    assert manifest.verification is not None
    assert manifest.verification.max_relative < 1e-5
    model = open_model(out)
    dn = np.concatenate([random_dn(height=96, width=160, seed=n)[None] for n in (1, 2)])
    (output,) = manifest.outputs
    logits = model.engine(level="l2a", output=output)(dn)
    numbers = manifest.statistics["l2a"]
    x = standardise(
        torch.from_numpy(dn), torch.tensor(numbers.mean), torch.tensor(numbers.std)
    )
    with torch.inference_mode():
        eager = unet_of(config)(x)
    assert logits.shape == (2, len(CLASSES), 96, 160)
    assert np.abs(logits - eager.numpy()).max() < 1e-5 * eager.abs().max()
    shares = torch.from_numpy(logits).softmax(1)
    torch.testing.assert_close(shares, eager.softmax(1), rtol=0, atol=1e-4)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 96, 160))
    assert len(shares.argmax(1).unique()) > 1  # or the map would show nothing


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("onnx", "fp16"), ("openvino", "fp32"), ("openvino", "fp16"), ("pt2", "fp32")],
)
def test_every_format_passes_the_gate(
    kind: Format, precision: Precision, tmp_path: Path
) -> None:
    out, manifest = made(tmp_path, EncoderConfig(size=SMALL), kind, precision)
    assert manifest.verification is not None
    assert read_file(out).manifest == manifest
    assert {path.suffix for path in tmp_path.iterdir()} == set(SUFFIXES[kind])


def test_a_decoder_that_disagrees_is_not_written(tmp_path: Path) -> None:
    config = EncoderConfig(size=SMALL)
    unet, other = unet_of(config), unet_of(config)
    other.decoder.head.weight.data[0] *= 1.01
    out, manifest = made(tmp_path, config, "onnx")
    model = open_model(out)
    from mmearth_export.verify import verify  # noqa: PLC0415

    assert verify(model, unet, manifest).max_relative < 1e-5
    with pytest.raises(VerificationError, match="`logits` differs"):
        verify(model, other, manifest)


def test_a_checkpoint_becomes_a_model_with_classes(
    tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """From the command line, with window GRN and with GRN measured on a scene."""
    checkpoint = write_unet(tmp_path / "run/checkpoints/step-0000007", step=7)
    for grn in (("window",), ("frozen", "--calibrate", "demo", "--product", "l2a")):
        out = tmp_path / f"{grn[0]}.onnx"
        ran = mmearth("export", tmp_path / "run", "-o", out, "--grn", *grn, "--json")
        assert ran.code == 0, ran.stderr
        manifest = open_model(out).file.manifest
        assert manifest.task == "segmentation"
        assert manifest.name == "custom-8-unet"
        assert manifest.classes == CLASSES
        assert manifest.classes[1] == MapClass(name="water", rgb=(0, 0, 255))
        assert manifest.provenance.facts["step"] == 7
        assert ran.report["classes"][1]["rgb"] == [0, 0, 255]
        (output,) = manifest.outputs
        config = load_encoder(checkpoint).config
        assert output.receptive_radius_px == unet_radius_px(config)
        assert (output.name, output.stride_px, output.channels) == ("logits", 1, 3)
        assert (output.int8_scale, manifest.multiple_px) == (None, 8)
        (given,) = onnxruntime.InferenceSession(out).get_outputs()
        assert (given.name, given.type) == ("logits", "tensor(float)")


def test_export_refuses(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    """Stages of a model without any, and weights that are not those of the classes."""
    out = tmp_path / "m.onnx"
    ran = mmearth("export", write_unet(tmp_path / "a"), "-o", out, "--stage", 2)
    assert ran.code == 1
    assert "gives logits and no stages" in ran.stderr
    assert "hint: leave --stage out" in ran.stderr
    one_more = [{"name": name, "rgb": [0, 0, 0]} for name in "abcd"]
    wrong = write_unet(tmp_path / "b", segmentation={"classes": one_more})
    ran = mmearth("export", wrong, "-o", out)
    assert ran.code == 1
    assert "`decoder.head.bias` is (3,), expected (4,)" in ran.stderr
    alone = write_trained(tmp_path / "c", segmentation={"classes": one_more})
    assert mmearth("export", alone, "-o", out).code == 1
    assert not out.exists()
