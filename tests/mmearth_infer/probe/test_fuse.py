"""A fused model gives the logits of encoder and probe, and says what it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mmearth_infer.disk import sha256_of
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import ModelError, StoreError, VerificationError
from mmearth_infer.probe import fuse as fusing
from mmearth_infer.probe.fuse import FuseConfig, Fused, fuse
from mmearth_infer.probe.probe_file import open_probe
from tests.helpers.models import (
    UNTRAINED,
    echo_manifest,
    two_stage_manifest,
    write_echo_model,
)
from tests.helpers.scenes import random_dn
from tests.mmearth_infer.probe.made import write_probe


def fused_with(model: Path, folder: Path, probe: Path, **more: object) -> Fused:
    config = FuseConfig(model=model, probe=probe, out=folder / "seg.onnx")
    return fuse(replace(config, **more))  # type: ignore[arg-type]


def digest(path: Path) -> str:
    return f"sha256:{sha256_of(path)}"


@pytest.mark.parametrize("kind", ["logistic", "knn"])
@pytest.mark.parametrize("level", ["l1c", "l2a"])
def test_the_built_in_encoder(kind: str, level: str, tmp_path: Path) -> None:
    """On tiles of any size, with pixels that hold no data."""
    probe = write_probe(
        tmp_path / "p.onnx",
        channels=64,
        kind=kind,  # type: ignore[arg-type]
        digest=digest(UNTRAINED),
    )
    done = fused_with(UNTRAINED, tmp_path, probe)
    assert done.max_relative <= 1e-5
    encoder, model = open_model(UNTRAINED), open_model(tmp_path / "seg.onnx")
    manifest = model.file.manifest
    assert manifest.task == "segmentation"
    assert [one.name for one in manifest.classes] == list(done.classes)
    (logits,) = manifest.outputs
    (stage4,) = encoder.file.manifest.outputs
    assert logits == replace(stage4, name="logits", channels=3, int8_scale=None)
    assert manifest.bands == encoder.file.manifest.bands
    assert manifest.statistics == encoder.file.manifest.statistics
    assert manifest.grn == encoder.file.manifest.grn
    assert manifest.provenance.facts["encoder_sha256"] == encoder.file.digest
    assert manifest.verification is not None
    assert {row.level for row in manifest.verification.compared} == {"l1c", "l2a"}
    for height, width in ((64, 112), (160, 32)):
        dn = random_dn(height=height, width=width)[None]
        dn[:, :, :20, :20] = 0
        features = encoder.engine(level=level, output=stage4)(dn)  # type: ignore[arg-type]
        found = model.engine(level=level, output=logits)(dn)  # type: ignore[arg-type]
        rows = np.moveaxis(features, 1, -1).reshape(-1, 64)
        expected = open_probe(probe).logits(rows)
        expected = np.moveaxis(expected.reshape(1, height // 16, -1, 3), -1, 1)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_one_stage_of_several(tmp_path: Path) -> None:
    """The other is not computed; cells are those of the probe's stage."""
    model = write_echo_model(tmp_path / "two.onnx", two_stage_manifest())
    probe = write_probe(
        tmp_path / "p.onnx",
        channels=12,
        stage=2,
        stride_px=4,
        scale=3000,
        digest=digest(model),
    )
    done = fused_with(model, tmp_path, probe, name="mine")
    assert (done.name, done.stride_px) == ("mine", 4)
    graph = onnx.load(tmp_path / "seg.onnx").graph
    assert [one.name for one in graph.output] == ["logits"]
    assert sum(node.op_type == "AveragePool" for node in graph.node) == 1
    model_again = open_model(tmp_path / "seg.onnx")
    (logits,) = model_again.file.manifest.outputs
    dn = random_dn(height=32, width=48)
    found = model_again.engine(level="l2a", output=logits)(dn[None])[0]
    means = dn.reshape(12, 8, 4, 12, 4).mean((2, 4)).reshape(12, -1).T
    expected = open_probe(probe).logits(means.astype(np.float32))
    np.testing.assert_allclose(
        found.reshape(3, -1).T, expected, atol=1e-5 * np.abs(expected).max()
    )


def test_an_encoder_of_another_opset(tmp_path: Path) -> None:
    path = write_echo_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.opset_import[0].version = 21
    onnx.save(model, path)
    probe = write_probe(
        tmp_path / "p.onnx", channels=12, scale=3000, digest=digest(path)
    )
    assert fused_with(path, tmp_path, probe).max_relative <= 1e-5


def test_what_cannot_be_fused(tmp_path: Path, echo_model: Path) -> None:
    probe = write_probe(tmp_path / "p.onnx", channels=12, scale=3000)
    with pytest.raises(ModelError, match="was fitted on embeddings of") as caught:
        fused_with(echo_model, tmp_path, probe)
    assert "--allow-other-model" in str(caught.value.hint)
    fused_with(echo_model, tmp_path, probe, allow_other_model=True)
    with pytest.raises(StoreError, match="exists already"):
        fused_with(echo_model, tmp_path, probe, allow_other_model=True)
    again = tmp_path / "again.onnx"
    with pytest.raises(ModelError, match="logits of classes, not embeddings"):
        fused_with(tmp_path / "seg.onnx", tmp_path, probe, out=again)
    two = write_probe(tmp_path / "2.onnx", channels=12, stage=2)
    with pytest.raises(ModelError, match="does not give stage 2"):
        fused_with(echo_model, tmp_path, two, out=again)
    wide = write_probe(tmp_path / "3.onnx", channels=13, digest=digest(echo_model))
    with pytest.raises(ModelError, match="reads 13 channels"):
        fused_with(echo_model, tmp_path, wide, out=again)
    with pytest.raises(StoreError, match=r"does not end in \.onnx") as wrong:
        fused_with(tmp_path / "m.xml", tmp_path, probe, out=again)
    assert str(wrong.value.hint).startswith("--model")
    assert not again.exists()


def test_neighbours_of_fine_cells(tmp_path: Path) -> None:
    fine = echo_manifest(stride_px=2, stage=1)
    model = write_echo_model(tmp_path / "m.onnx", fine)
    probe = write_probe(
        tmp_path / "p.onnx",
        channels=12,
        kind="knn",
        stage=1,
        cells=2000,
        digest=digest(model),
    )
    with pytest.raises(ModelError, match=r"2\.5 GiB of distances") as caught:
        fused_with(model, tmp_path, probe)
    assert "--max-cells" in str(caught.value.hint)


def test_nothing_is_left_of_a_model_that_differs(
    tmp_path: Path, echo_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fusing.fuse_graphs

    def shifted(*args: bytes, **reads: Any) -> onnx.ModelProto:  # noqa: ANN401
        model = real(*args, **reads)
        model.graph.node[-1].output[0] = "right"
        model.graph.initializer.append(
            helper.make_tensor("much", TensorProto.FLOAT, [], [0.01])
        )
        model.graph.node.append(helper.make_node("Add", ["right", "much"], ["logits"]))
        return model

    monkeypatch.setattr(fusing, "fuse_graphs", shifted)
    probe = write_probe(
        tmp_path / "p.onnx", channels=12, scale=3000, digest=digest(echo_model)
    )
    with pytest.raises(VerificationError, match="differs from encoder and probe by"):
        fused_with(echo_model, tmp_path, probe)
    assert [path.name for path in tmp_path.iterdir()] == ["p.onnx"]


@pytest.mark.parametrize(
    ("precision", "scope"),
    [("fp32", "window"), ("fp32", "frozen"), ("fp16", "frozen"), ("int8", "frozen")],
)
def test_encoders_of_every_precision(
    precision: str, scope: str, tmp_path: Path
) -> None:
    """Fused, they give the logits of what they gave before."""
    pytest.importorskip("torch", reason="encoders are exported with torch")
    from mmearth_export.artifact import write_verified  # noqa: PLC0415 -- needs torch
    from mmearth_training.model.encoder import Size  # noqa: PLC0415 -- likewise
    from tests.helpers.export import calibrated, manifest_of  # noqa: PLC0415 -- likewise

    encoder, tiles = calibrated(Size(depths=(1, 1, 1, 1), dims=(8, 16, 16, 32)), scope)
    promised = replace(manifest_of(encoder.config), precision=precision)
    model = tmp_path / "m.onnx"
    write_verified(encoder, promised, model, kind="onnx", tiles=tiles)
    probe = write_probe(tmp_path / "p.onnx", channels=32, digest=digest(model))
    assert fused_with(model, tmp_path, probe).max_relative <= 1e-5
    manifest = open_model(tmp_path / "seg.onnx").file.manifest
    assert (manifest.precision, manifest.grn.scope) == (precision, scope)
