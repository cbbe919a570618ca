"""Cases of `test_trt.py`: run there, in a process of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mmearth_export.artifact import write_verified
from mmearth_infer.errors import ModelError
from mmearth_training.model.encoder import EncoderConfig, Size
from tests.conftest import mmearth
from tests.helpers.export import calibrated, manifest_of, random_encoder
from tests.helpers.stand_in.gpu import TRT, gpu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_infer.contract.manifest import Precision
    from tests.conftest import Ran
    from tests.helpers.stand_in.cuda import Runtime

__all__ = ["gpu", "mmearth"]  # fixtures

SMALL = Size(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))


@pytest.mark.parametrize("scope", ["window", "frozen"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_gate(precision: Precision, scope: str, tmp_path: Path) -> None:
    """Not bf16, which ONNX Runtime, the stand-in's arithmetic, has not on a CPU."""
    if (precision, scope) == ("int8", "window"):
        return  # refused (test_formats.py)
    encoder, tiles = calibrated(SMALL, scope)
    promised = replace(manifest_of(encoder.config, (2, 4)), precision=precision)
    made = write_verified(
        encoder, promised, tmp_path / "m.engine", kind="trt", tiles=tiles
    )
    assert made.verification is not None
    assert TRT.builds == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.engine"]


def test_an_engine_too_small_for_the_gate(tmp_path: Path) -> None:
    encoder = random_encoder(EncoderConfig(size=SMALL))
    with pytest.raises(ModelError, match="cannot be compared") as caught:
        write_verified(
            encoder,
            manifest_of(encoder.config),
            tmp_path / "m.engine",
            kind="trt",
            largest=(1, 64, 64),
        )
    assert "--window" in (caught.value.hint or "")
    assert not list(tmp_path.iterdir())


def test_embed_by_an_engine(
    mmearth: Callable[..., Ran], tmp_path: Path, gpu: Runtime
) -> None:
    """From the command line, with the warning, and what the store says of it."""
    encoder = random_encoder(EncoderConfig(size=SMALL))
    model = tmp_path / "m.engine"
    write_verified(encoder, manifest_of(encoder.config), model, kind="trt")
    out = tmp_path / "o.zarr"
    command = ("embed", "demo", "-o", out, "--model", model, "--json")
    refused = mmearth(*command)
    assert refused.code == 1
    assert "--trust-model" in refused.stderr
    ran = mmearth(*command, "--trust-model")
    assert ran.code == 0, ran.stderr
    assert "never run by those who wrote this" in ran.stderr
    attributes = json.loads((out / "zarr.json").read_text())["attributes"]["mmearth"]
    assert attributes["engine"]["name"] == "tensorrt"
    assert attributes["engine"]["device"] == "cuda:0"
    told = mmearth("info", model)
    assert "tensorrt on cuda: here, never run on hardware" in told.stdout
    too_large = mmearth(*command, "--trust-model", "--overwrite", "--batch-size", 99)
    assert too_large.code == 1
    assert "beyond the (8, 672, 672)" in too_large.stderr
    gpu.gpu = "NVIDIA Other"
    elsewhere = mmearth(*command, "--trust-model", "--overwrite")
    assert elsewhere.code == 1
    assert "was built for the GPU NVIDIA Stand-In" in elsewhere.stderr
    assert (out / "zarr.json").exists()
