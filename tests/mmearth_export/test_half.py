"""Weights kept in half precision: half the file, and the graph that it was."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from mmearth_export import artifact
from mmearth_export.half import LEAST_VALUES, halve_weights
from mmearth_export.precision import KEPT, check_pair
from mmearth_export.to_onnx import network_graph, write_onnx
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import ModelError, VerificationError
from mmearth_training.model.encoder import EncoderConfig, Size
from tests.conftest import Ran
from tests.helpers.export import manifest_of, random_encoder
from tests.helpers.scenes import random_dn
from tests.helpers.trained import write_trained

CONFIG = EncoderConfig(size=Size(depths=(1, 1, 1, 1), dims=(24, 32, 48, 64)))
ALL = (1, 2, 3, 4)
CARD = """
about = "small"
trained_on = "nothing"
trained_for = "no time"
good_for = "tests"
not_good_for = "all else"
licence = "as this package"
attribution = "nobody"
"""


@pytest.fixture(scope="module")
def graphs() -> dict[str, onnx.ModelProto]:
    """The graph of an encoder, and the same with its weights in half precision."""
    whole = network_graph(random_encoder(CONFIG), manifest_of(CONFIG, ALL))
    half = copy_of(whole)
    halve_weights(half)
    return {"whole": whole, "half": half}


def copy_of(graph: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.load_from_string(graph.SerializeToString())


def optimised(graph: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return what ONNX Runtime makes of a graph when it opens it."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(path)


def test_the_file_is_half_as_large(graphs: dict[str, onnx.ModelProto]) -> None:
    onnx.checker.check_model(graphs["half"], full_check=True)
    sizes = {name: graph.ByteSize() for name, graph in graphs.items()}
    assert sizes["half"] < 0.6 * sizes["whole"]
    for weight in graphs["half"].graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            assert numpy_helper.to_array(weight).size < LEAST_VALUES


def test_opened_it_is_the_graph_that_it_was(
    graphs: dict[str, onnx.ModelProto], tmp_path: Path
) -> None:
    """Every cast of a weight is done once: it costs nothing at run time."""
    whole, half = (
        optimised(graph, tmp_path / f"{name}.onnx") for name, graph in graphs.items()
    )
    operators = [
        Counter(node.op_type for node in one.graph.node) for one in (whole, half)
    ]
    assert operators[0] == operators[1]
    kinds = {weight.data_type for weight in half.graph.initializer}
    assert TensorProto.FLOAT16 not in kinds


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_features_are_nearly_the_same(
    engine: str, graphs: dict[str, onnx.ModelProto], tmp_path: Path
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="it is an extra")
    manifest = manifest_of(CONFIG, ALL)
    dn = random_dn(height=64, width=96)[None]
    found = []
    for name, graph in graphs.items():
        write_onnx(graph, manifest, tmp_path / f"{name}.onnx")
        model = open_model(tmp_path / f"{name}.onnx", engine=engine)  # type: ignore[arg-type]
        found.append(model.engine(level="l2a", output=manifest.output(4))(dn))
    whole, half = found
    apart = np.abs(whole - half).max() / np.abs(whole).max()
    assert 0 < apart < KEPT["fp16"].max_relative


def test_a_weight_that_half_precision_does_not_hold() -> None:
    weight = numpy_helper.from_array(np.full(LEAST_VALUES, 7e4, np.float32), "w")
    graph = onnx.helper.make_graph([], "g", [], [], [weight])
    with pytest.raises(ModelError, match="`w` is beyond 65504") as caught:
        halve_weights(onnx.helper.make_model(graph))
    assert caught.value.hint == "leave --weights out"


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("onnx", "int8"), ("onnx", "fp16"), ("openvino", "fp32"), ("pt2", "fp32")],
)
def test_what_is_not_kept_in_half_precision(kind: str, precision: str) -> None:
    with pytest.raises(ModelError, match=f"{kind} models in {precision}") as caught:
        check_pair(kind, precision, frozen=True, weights="fp16")  # type: ignore[arg-type]
    assert "--format onnx with --precision fp32" in str(caught.value.hint)


def test_the_gate_has_a_tolerance_of_its_own(
    graphs: dict[str, onnx.ModelProto],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wider than fp32, narrower than fp16; what is beyond it is not kept."""
    monkeypatch.setattr(
        "mmearth_export.to_onnx.network_graph", lambda *_: copy_of(graphs["whole"])
    )
    encoder, out = random_encoder(CONFIG), tmp_path / "m.onnx"
    manifest = replace(manifest_of(CONFIG, ALL), weights="fp16")
    kept = artifact.write_verified(encoder, manifest, out)
    assert kept.verification is not None
    assert kept.verification.tolerance == KEPT["fp16"].max_relative
    assert 1e-5 < kept.verification.max_relative < kept.verification.tolerance
    out.unlink()

    def rounded(graph: onnx.ModelProto) -> None:
        for weight in graph.graph.initializer:
            values = numpy_helper.to_array(weight)
            if values.dtype == np.float32 and values.ndim > 1:
                rough = np.round(values, 1)
                weight.CopyFrom(numpy_helper.from_array(rough, weight.name))

    monkeypatch.setattr("mmearth_export.to_onnx.halve_weights", rounded)
    with pytest.raises(VerificationError, match=r"fp32 of fp16 weights may by 0\.005"):
        artifact.write_verified(encoder, manifest, out)
    assert not out.exists()


def test_the_command(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    """With the card, which `mmearth info` shows."""
    run, out, card = (
        write_trained(tmp_path / "run"),
        tmp_path / "m.onnx",
        tmp_path / "c",
    )
    card.write_text(CARD)
    asked = ("--weights", "fp16", "--card", card)
    ran = mmearth("export", run, "-o", out, *asked)
    assert ran.code == 0, ran.stderr
    facts = mmearth("info", out, "--json").report
    assert (facts["precision"], facts["weights kept in"]) == ("fp32", "fp16")
    assert facts["not good for"] == "all else"
    assert facts["warnings"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the card"),
        (b"\xff", "it is no text"),
        (b'about = "x"', "missing required field `trained_on`"),
    ],
)
def test_a_card_that_is_none(
    content: bytes | None, message: str, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """It is said before the checkpoint is read."""
    if content is not None:
        (tmp_path / "c").write_bytes(content)
    out = tmp_path / "m.onnx"
    ran = mmearth("export", tmp_path / "no", "-o", out, "--card", tmp_path / "c")
    assert ran.code == 1
    assert message in ran.stderr
    assert "hint: " in ran.stderr
