"""Every kind of model file: built, verified, run by its engine, refused elsewhere."""

import functools
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from mmearth_export.artifact import ExportConfig, check_place, write_verified
from mmearth_export.calibrate import Tile, freeze, read_windows
from mmearth_export.formats import FORMATS, SUFFIXES, Format
from mmearth_export.precision import SUPPORTED, TOLERANCES, check_pair
from mmearth_export.verify import passed
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.manifest import Manifest, Precision
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.contract.verification import Compared
from mmearth_infer.engine.open import open_model, read_file
from mmearth_infer.errors import ModelError, StoreError
from mmearth_infer.read.options import SceneOptions
from mmearth_training.model.encoder import Encoder, EncoderConfig, Size
from tests.helpers.export import manifest_of, random_encoder
from tests.helpers.scenes import random_dn

BUILT_HERE = [kind for kind in FORMATS if kind != "trt"]  # see test_trt.py

SMALL = Size(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))


@functools.cache
def tiles() -> tuple[Tile, ...]:
    """Windows of the demo scene."""
    return read_windows(
        ["demo"],
        bands=MMEARTH_BANDS,
        statistics=pretraining_statistics(MMEARTH_BANDS),
        options=SceneOptions(),
        most=4,
    ).tiles


def encoder_of(scope: str) -> Encoder:
    encoder = random_encoder(EncoderConfig(size=SMALL, grn=scope))  # type: ignore[arg-type]
    if scope == "frozen":
        freeze(encoder, [tile.standardised() for tile in tiles()])
    return encoder


def made(folder: Path, kind: Format, scope: str) -> tuple[Path, Manifest]:
    encoder = encoder_of(scope)
    out = folder / f"m{SUFFIXES[kind][0]}"
    return out, write_verified(
        encoder, manifest_of(encoder.config, (2, 4)), out, kind=kind
    )


@pytest.mark.parametrize("scope", ["window", "frozen"])
@pytest.mark.parametrize("kind", BUILT_HERE)
def test_every_format_passes_the_gate(kind: Format, scope: str, tmp_path: Path) -> None:
    """Two outputs, several sizes and batches; one file, and what lies beside it."""
    out, manifest = made(tmp_path, kind, scope)
    assert manifest.verification is not None
    assert manifest.verification.max_relative < 1e-5
    files = {path.suffix for path in tmp_path.iterdir()}
    assert files == set(SUFFIXES[kind])
    assert read_file(out).manifest == manifest
    model = open_model(out, trusted=True)
    dn = random_dn(height=48, width=80)[None]
    encoder = encoder_of(scope)
    for output in manifest.outputs:
        found = model.engine(level="l2a", output=output)(dn)
        stride = output.stride_px
        assert found.shape == (1, output.channels, 48 // stride, 80 // stride)
    numbers = manifest.statistics["l2a"]
    mean = np.array(numbers.mean, np.float32)[:, None, None]
    std = np.array(numbers.std, np.float32)[:, None, None]
    with torch.inference_mode():
        expected = encoder(torch.from_numpy((dn - mean) / std)).numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


LOWER = [
    (kind, precision)
    for kind, able in SUPPORTED.items()
    for precision in able
    if kind in BUILT_HERE and precision != "fp32"
]


@pytest.mark.parametrize(("kind", "precision"), LOWER)
def test_every_precision_passes_the_gate(
    kind: Format, precision: Precision, tmp_path: Path
) -> None:
    """And is not fp32 in disguise."""
    encoder = encoder_of("frozen")
    promised = replace(manifest_of(encoder.config), precision=precision)
    out = tmp_path / f"m{SUFFIXES[kind][0]}"
    manifest = write_verified(encoder, promised, out, kind=kind, tiles=tiles())
    assert manifest.verification is not None
    rows = manifest.verification.compared
    assert min(row.p1_cosine or 0 for row in rows) >= TOLERANCES[precision].p1_cosine
    if not (kind == "openvino" and precision == "fp16"):  # may be computed in fp32
        assert manifest.verification.max_relative > 1e-5
    assert read_file(out).manifest.precision == precision


@pytest.mark.parametrize(
    ("kind", "precision", "frozen", "message"),
    [
        ("onnx", "bf16", True, "onnx models are not made in bf16"),
        ("pt2", "int8", True, "pt2 models are not made in int8"),
        ("onnx", "int8", False, "int8 needs weights that stay"),
    ],
)
def test_pairs_that_cannot_be(
    kind: Format,
    precision: Precision,
    frozen: bool,  # noqa: FBT001
    message: str,
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_pair(kind, precision, frozen=frozen)
    assert "--" in (caught.value.hint or "")


@pytest.mark.parametrize("precision", TOLERANCES)
def test_the_tolerance_of_a_precision(precision: Precision) -> None:
    """Both figures count, and NaN passes neither."""
    allowed = TOLERANCES[precision]
    fits = Compared(
        output="stage4",
        level="l2a",
        shape=(1, 12, 16, 16),
        max_relative=allowed.max_relative,
        mean_relative=0.0,
        min_cosine=-1.0,
        p1_cosine=allowed.p1_cosine,
    )
    assert passed(fits, allowed)
    for field in ("max_relative", "p1_cosine"):
        assert not passed(replace(fits, **{field: float("nan")}), allowed)
    assert not passed(replace(fits, max_relative=allowed.max_relative * 1.01), allowed)
    assert not passed(replace(fits, p1_cosine=allowed.p1_cosine - 1e-6), allowed)


def test_grn_vanishes_from_a_frozen_graph(tmp_path: Path) -> None:
    """And LayerNorm stays one operator."""
    operators = {}
    for scope in ("window", "frozen"):
        out, _ = made(tmp_path, "onnx", scope)
        operators[scope] = {node.op_type for node in onnx.load(out).graph.node}
    assert "ReduceL2" in operators["window"]
    assert operators["frozen"] == {
        *("Add", "Cast", "Conv", "Div", "Gelu", "Greater", "LayerNormalization"),
        *("MatMul", "Mul", "ReduceMax", "Sub", "Transpose", "Unsqueeze"),
    }


def test_machine_code_for_another_machine(tmp_path: Path) -> None:
    """Found out before it is loaded."""
    out, _ = made(tmp_path, "pt2", "frozen")
    other = tmp_path / "other.pt2"
    with zipfile.ZipFile(out) as package, zipfile.ZipFile(other, "w") as copy:
        for item in package.infolist():
            content = package.read(item)
            if item.filename.endswith("mmearth.host.json"):
                content = json.dumps({"cpu": "AVX1024", "torch": "9.9"}).encode()
            copy.writestr(item, content)
    with pytest.raises(ModelError, match=r"was made for .*AVX1024") as caught:
        open_model(other, trusted=True)
    assert caught.value.hint


def test_weights_of_another_model(tmp_path: Path) -> None:
    """OpenVINO's `.xml` without its `.bin`, or with one that is cut off."""
    out, _ = made(tmp_path, "openvino", "frozen")
    beside = out.with_suffix(".bin")
    whole = beside.read_bytes()
    beside.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is not an OpenVINO model"):
        open_model(out)
    beside.unlink()
    with pytest.raises(ModelError, match=r"no model file .*m\.bin"):
        open_model(out)


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not end in `\.xml`") as caught:
        check_place(tmp_path / "m.onnx", "openvino", overwrite=False)
    assert caught.value.hint == "-o m.xml"
    (tmp_path / "m.bin").touch()
    with pytest.raises(StoreError, match=r"m\.bin` exists already"):
        check_place(tmp_path / "m.xml", "openvino", overwrite=False)
    with pytest.raises(ModelError, match="measured on scenes"):
        ExportConfig(checkpoint=tmp_path, out=tmp_path / "m.onnx", grn="frozen")


def test_what_is_there_is_replaced_whole(tmp_path: Path) -> None:
    """A second export takes the place of both files; a failed one of neither."""
    out, _ = made(tmp_path, "openvino", "frozen")
    before = out.read_bytes(), out.with_suffix(".bin").read_bytes()
    made(tmp_path, "openvino", "window")
    assert out.read_bytes() != before[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]
