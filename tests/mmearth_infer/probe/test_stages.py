"""A probe of several stages reads the same of a scene, fitted, applied or fused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import zarr

from mmearth_infer import EmbedConfig, embed, probe_fit, segment
from mmearth_infer.disk import sha256_of
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import JobError, ModelError, StoreError
from mmearth_infer.jobs.steps import StepsTable, check_fit, check_steps, run_steps
from mmearth_infer.probe.apply import ApplyConfig, apply_in_memory, apply_probe
from mmearth_infer.probe.cells import features_of
from mmearth_infer.probe.fit import Fitted
from mmearth_infer.probe.fuse import FuseConfig, fuse
from mmearth_infer.probe.map_store import write_map_store
from mmearth_infer.probe.probe_file import open_probe
from tests.conftest import BUILTIN_MODEL, Ran
from tests.helpers.models import UNTRAINED, two_stage_manifest, write_echo_model
from tests.helpers.scenes import random_dn, write_scene
from tests.mmearth_infer.probe.fields import write_raster
from tests.mmearth_infer.probe.made import write_probe

SIDE = 20
"""Cells a side of the scene."""


def rough_hw() -> np.ndarray:
    """Patches of 2 x 2 cells of two classes, drawn by chance."""
    drawn = np.random.default_rng(1).integers(0, 2, (SIDE // 2, SIDE // 2))
    return drawn.repeat(2, 0).repeat(2, 1)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        band: np.ndarray = file.read(1)
    return band


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of one mean, whose classes differ within cells of 16 px, and its store.

    A class is squares of 4 px of changing brightness, the other is even; a corner holds
    no data.
    """
    folder = tmp_path_factory.mktemp("made")
    row, col = np.mgrid[: SIDE * 4, : SIDE * 4]
    uneven = np.where((row + col) % 2, 400, -400)
    fine = 900 + uneven * rough_hw().repeat(4, 0).repeat(4, 1)
    noise = np.random.default_rng(0).integers(-50, 50, (12, SIDE * 16, SIDE * 16))
    pixels = (fine.repeat(4, 0).repeat(4, 1) + noise).astype(np.uint16)
    pixels[:, :32, :48] = 0
    write_scene(folder / "scene.tif", pixels)
    write_raster(folder / "labels.tif", rough_hw().astype(np.uint8) + 1, nodata=0)
    write_echo_model(folder / "two.onnx", two_stage_manifest())
    embed(
        folder / "scene.tif",
        folder / "s.zarr",
        model=folder / "two.onnx",
        stages=(2, 4),
    )
    return folder


def fitted(made: Path, out: Path, *stages: int) -> Fitted:
    return probe_fit(made / "s.zarr", made / "labels.tif", out, stages=stages)


def accuracy(done: Fitted) -> float:
    assert done.manifest.validation is not None
    return done.manifest.validation.scores["accuracy"].value


def test_fit_apply_fuse_and_segment_agree(made: Path, tmp_path: Path) -> None:
    """Deviations tell what no mean does; maps are the same by all four ways."""
    probe, seg = tmp_path / "p.onnx", tmp_path / "seg.onnx"
    assert accuracy(fitted(made, tmp_path / "4.onnx", 4)) < 0.7
    done = fitted(made, probe, 4, 2)
    assert accuracy(done) == 1
    manifest = open_probe(probe).manifest
    assert manifest == done.manifest
    assert (manifest.stages, manifest.finer_stages) == ((2, 4), (2,))
    assert (manifest.stride_px, manifest.channels) == (16, 36)

    config = ApplyConfig(store=made / "s.zarr", probe=probe, out=tmp_path / "a.tif")
    mapped = apply_probe(config, lambda *_: None)
    expected = rough_hw()
    expected[:2, :3] = 255
    assert mapped.without_data == 6
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), expected)
    (held,) = apply_in_memory(config, lambda *_: None, probabilities=False)
    np.testing.assert_array_equal(held.stored_DHW[0], expected)
    in_store = replace(config, out=tmp_path / "a.zarr")
    write_map_store(in_store, probabilities=False)
    stored = zarr.open_array(tmp_path / "a.zarr" / "class", mode="r")
    np.testing.assert_array_equal(np.squeeze(stored[...]), expected)

    fused = fuse(FuseConfig(model=made / "two.onnx", probe=probe, out=seg))
    assert fused.max_relative <= 1e-5
    assert fused.stride_px == 16
    segment(made / "scene.tif", tmp_path / "b.tif", model=seg, window_px=96)
    np.testing.assert_array_equal(read(tmp_path / "b.tif"), expected)


@pytest.mark.parametrize(
    ("stages", "kind"), [((1, 2, 3, 4), "logistic"), ((1, 3), "knn"), ((2, 4), "ridge")]
)
def test_the_model_in_the_box(
    stages: tuple[int, ...], kind: str, tmp_path: Path
) -> None:
    """Fused, logits are those of a probe that reads the maps of its stages."""
    encoder = open_model(BUILTIN_MODEL, engine="onnxruntime", device="cpu")
    outputs = encoder.file.manifest.outputs_of(stages)
    channels = 2 * sum(one.channels for one in outputs[:-1]) + outputs[-1].channels
    probe = write_probe(
        tmp_path / "p.onnx",
        channels=channels,
        kind=kind,  # type: ignore[arg-type]
        stage=stages[-1],
        finer_stages=stages[:-1],
        digest=f"sha256:{sha256_of(BUILTIN_MODEL)}",
    )
    done = fuse(FuseConfig(model=BUILTIN_MODEL, probe=probe, out=tmp_path / "seg.onnx"))
    assert done.max_relative <= 1e-5
    model = open_model(tmp_path / "seg.onnx", engine="onnxruntime", device="cpu")
    (logits,) = model.file.manifest.outputs
    assert (logits.stage, logits.stride_px) == (stages[-1], outputs[-1].stride_px)
    assert logits.receptive_radius_px == outputs[-1].receptive_radius_px
    assert model.file.manifest.multiple_px == encoder.file.manifest.multiple_px
    dn = random_dn(height=48, width=80)[None]
    *finer, deepest = encoder.engines(level="l2a", outputs=outputs)(dn)
    rows = features_of([one[0] for one in finer], deepest[0]).reshape(channels, -1).T
    expected = open_probe(probe).logits(rows)
    found = model.engine(level="l2a", output=logits)(dn)[0].reshape(3, -1).T
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_other_engines(made: Path, tmp_path: Path) -> None:
    """The operators belong to ONNX; OpenVINO runs them alike."""
    pytest.importorskip("openvino", reason="needs the openvino extra")
    probe, seg = tmp_path / "p.onnx", tmp_path / "seg.onnx"
    fitted(made, probe, 2, 4)
    fuse(FuseConfig(model=made / "two.onnx", probe=probe, out=seg))
    assert {node.domain for node in onnx.load(seg).graph.node} == {""}
    logits = []
    for engine in ("onnxruntime", "openvino"):
        model = open_model(seg, engine=engine, device="cpu")  # type: ignore[arg-type]
        (output,) = model.file.manifest.outputs
        dn = random_dn(height=64, width=96)[None]
        logits.append(model.engine(level="l2a", output=output)(dn))
    size = np.abs(logits[0]).max()
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4 * size, rtol=0)


def test_stages_that_are_missing(made: Path, tmp_path: Path) -> None:
    """Of a store and of an encoder all are named, and what gives them."""
    probe = write_probe(
        tmp_path / "p.onnx", channels=9, stage=4, finer_stages=(1, 2, 3)
    )
    config = ApplyConfig(store=made / "s.zarr", probe=probe, out=tmp_path / "a.tif")
    with pytest.raises(StoreError, match="does not hold stage 1, 3") as caught:
        apply_probe(config, lambda *_: None)
    assert "--stage 1 --stage 2 --stage 3 --stage 4" in str(caught.value.hint)
    out = tmp_path / "seg.onnx"
    with pytest.raises(ModelError, match="does not give stage 1, 2, 3") as lacking:
        fuse(FuseConfig(model=UNTRAINED, probe=probe, out=out))
    hint = "it gives stage 4; export it with `--stage 1 --stage 2 --stage 3 --stage 4`"
    assert lacking.value.hint == hint
    own = f"sha256:{sha256_of(made / 'two.onnx')}"
    write_probe(probe, channels=24, stage=4, finer_stages=(2,), digest=own)
    with pytest.raises(ModelError, match="reads 24 channels, these embeddings have 36"):
        fuse(FuseConfig(model=made / "two.onnx", probe=probe, out=out))
    with pytest.raises(ModelError, match="reads 24 channels, these embeddings have 36"):
        apply_probe(config, lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == ["p.onnx"]


def test_jobs_keep_what_their_probe_reads(made: Path, tmp_path: Path) -> None:
    """All of its stages, or nothing is begun."""
    model = made / "two.onnx"
    own = f"sha256:{sha256_of(model)}"
    write_probe(
        tmp_path / "p.onnx", channels=36, stage=4, finer_stages=(2,), digest=own
    )
    steps = check_steps(StepsTable(probe="p.onnx"), tmp_path)
    config = EmbedConfig(scene="", model=model, stages=(4, 2))
    check_fit(steps, config)
    with pytest.raises(JobError, match="is of stage 2, which the job does not keep"):
        check_fit(steps, replace(config, stages=(4,)))
    store = shutil.copytree(made / "s.zarr", tmp_path / "s.zarr")
    (out,) = run_steps(store, steps)
    assert out.name == "s.map.tif"
    assert (read(out) == 255).sum() == 6


def test_the_command_line(
    made: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """`--stage` again and again; the summary and `info` say what was read."""
    probe = tmp_path / "p.onnx"
    asked = (made / "s.zarr", "--labels", made / "labels.tif", "-o", probe)
    both = ("--stage", 4, "--stage", 2)
    ran = mmearth("probe", "fit", *asked, *both)
    assert ran.code == 0, ran.stderr
    assert f"logistic probe of 394 cells on stage 2, 4 -> {probe}" in ran.stderr
    assert "6 of 400 labelled cells hold no data (NaN)" in ran.stderr
    facts = mmearth("info", probe, "--json").report
    assert (facts["stage"], facts["finer stages"]) == (4, [2])
    ran = mmearth("probe", "fit", *asked, *both, "--overwrite", "--json")
    assert ran.report["manifest"]["finer_stages"] == [2]
    ran = mmearth("probe", "fit", *asked, "--stage", 1, "--stage", 4, "--overwrite")
    assert ran.code == 1
    assert "does not hold stage 1" in ran.stderr
    help_text = " ".join(mmearth("probe", "fit", "--help").stdout.split())
    assert "the deepest decides the cells" in help_text
