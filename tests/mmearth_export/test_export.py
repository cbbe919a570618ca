"""Exported models: equal to eager PyTorch and to the published code, or not kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import torch
import xarray
from click.testing import CliRunner

import mmearth_export.verify
from mmearth_export.artifact import write_verified
from mmearth_export.to_onnx import network_graph, write_onnx
from mmearth_export.wrapper import standardise
from mmearth_infer.cli.main import cli
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import Statistics
from mmearth_infer.engine.compiled import BoundEngine
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import ModelError, VerificationError
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig, Size
from mmearth_training.published import load_published
from tests.conftest import Ran
from tests.helpers.data import GOLDEN, needs_golden
from tests.helpers.export import manifest_of, random_encoder
from tests.helpers.golden import golden_input, write_checkpoint
from tests.helpers.models import UNTRAINED
from tests.helpers.scenes import random_dn, write_scene
from tests.helpers.untrained import CONFIG, untrained_encoder, write_untrained

ENTRY = Size(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))


@pytest.fixture(scope="module")
def golden_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint, exported by the command line."""
    folder = tmp_path_factory.mktemp("golden")
    write_checkpoint(folder / "pt.pth")
    result = CliRunner().invoke(
        cli,
        ["export", str(folder / "pt.pth"), "-o", str(folder / "m.onnx")],
    )
    assert result.exit_code == 0, result.stderr
    return folder / "m.onnx"


def golden_dn() -> tuple[np.ndarray, Statistics]:
    """Return digital numbers and statistics that standardise to the golden input.

    A normal deviate of float32 has more digits than 65 535 numbers can tell apart, so
    the nearest numbers stand for it: 1 in 6000 of a standard deviation.
    """
    steps = 6000.0
    dn = np.rint(golden_input() * steps + 32768).astype(np.uint16)
    same = Statistics(mean=(32768.0,) * 12, std=(steps,) * 12)
    return dn, same


@needs_golden
def test_golden_outputs_through_onnx_runtime(golden_model: Path) -> None:
    """The golden map to 1e-5 relative, on exactly the golden input.

    Pixels are uint16 in the file, so the golden input, which is real numbers, enters
    behind the cast: the graph is cut there, nothing else of it is touched.
    """
    graph = onnx.load(golden_model)
    (cast,) = [n for n in graph.graph.node if n.op_type == "Cast" and "dn" in n.input]
    for node in graph.graph.node:
        for n, name in enumerate(node.input):
            if name == cast.output[0]:
                node.input[n] = "dn"
    graph.graph.node.remove(cast)
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    cut = golden_model.with_name("cut.onnx")
    onnx.save(graph, cut)
    # All above 0, or a pixel would count as missing; 8 costs 5e-7 of rounding.
    model = open_model(cut)
    numbers = Statistics(mean=(8.0,) * 12, std=(1.0,) * 12)
    engine = BoundEngine(model.runtime, numbers, [model.file.manifest.output(4)])
    golden = np.load(GOLDEN / "dense_atto_patch16.npz")["padded_map"]
    (ours,) = engine(golden_input() + np.float32(8))
    apart = np.abs(ours - golden).max() / np.abs(golden).max()
    assert apart < 1e-5


@needs_golden
def test_golden_input_as_digital_numbers_through_embed(
    golden_model: Path, tmp_path: Path, mmearth: Callable[..., Ran]
) -> None:
    """`mmearth embed --window 112 --halo 0` on a GeoTIFF of the golden input gives
    eager PyTorch's map of the same numbers to 1e-5 relative, and the golden map as
    nearly as the rounding to uint16 allows.
    """
    dn, statistics = golden_dn()
    manifest = open_model(golden_model).file.manifest
    model = tmp_path / "m.onnx"
    graph = onnx.load(golden_model)
    write_onnx(
        graph,
        replace(manifest, statistics={"l1c": statistics, "l2a": statistics}),
        model,
    )
    scene = write_scene(tmp_path / "s.tif", np.concatenate(list(dn), axis=2))
    out = tmp_path / "s.zarr"
    ran = mmearth(
        *("embed", scene, "-o", out, "--model", model, "--offset", "none"),
        *("--window", 112, "--halo", 0),
    )
    assert ran.code == 0, ran.stderr
    with xarray.open_zarr(out) as store:
        features = store["embedding"].to_numpy()
    golden = np.load(GOLDEN / "dense_atto_patch16.npz")["padded_map"]
    golden = np.concatenate(list(golden), axis=2)
    assert features.shape == golden.shape
    apart = np.abs(features - golden).max() / np.abs(golden).max()
    assert apart < 1e-4

    encoder = load_published(golden_model.with_name("pt.pth")).encoder()
    mean, std = torch.tensor(statistics.mean), torch.tensor(statistics.std)
    with torch.inference_mode():
        maps = encoder(standardise(torch.from_numpy(dn), mean, std)).numpy()
    eager = np.concatenate(list(maps), axis=2)
    assert np.abs(features - eager).max() / np.abs(eager).max() < 1e-5


@needs_golden
def test_the_file_says_what_it_is(golden_model: Path) -> None:
    file = open_model(golden_model).file
    manifest = file.manifest
    assert manifest.name == "atto-16"
    assert manifest.bands == MMEARTH_BANDS
    assert manifest.outputs[0].receptive_radius_px == 277
    assert manifest.provenance.trained
    assert manifest.verification is not None
    assert manifest.verification.max_relative < 1e-5
    assert len(manifest.verification.compared) == 4
    content = golden_model.read_bytes()
    for path in (b"/home", b"site-packages", b".py"):
        assert path not in content


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig(size=ENTRY, patch_px=8),
        EncoderConfig(size=ENTRY, patch_px=16, bands=3),
        EncoderConfig(size=ENTRY, patch_px=32, original_stem=True),
        EncoderConfig(size=ENTRY, patch_px=16, grn_eps=1e-6),
    ],
    ids=["patch 8", "rgb", "original stem", "eps"],
)
def test_every_shape_passes_the_gate(config: EncoderConfig, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    manifest = write_verified(random_encoder(config), manifest_of(config), out)
    assert open_model(out).file.manifest == manifest
    assert manifest.verification is not None
    assert min(row.min_cosine for row in manifest.verification.compared) > 0.999999


@pytest.mark.parametrize("stages", [(1,), (2, 4), (1, 2, 3, 4)])
def test_stages(stages: tuple[int, ...], tmp_path: Path) -> None:
    """A file gives the stages it was asked for, and ends behind the deepest."""
    config = EncoderConfig(size=ENTRY)
    out = tmp_path / "m.onnx"
    manifest = write_verified(random_encoder(config), manifest_of(config, stages), out)
    assert [o.stage for o in manifest.outputs] == list(stages)
    assert manifest.multiple_px == 2 * 2 ** (max(stages) - 1)
    model = open_model(out)
    dn = np.ones((1, 12, 48, 32), dtype=np.uint16)
    for output in manifest.outputs:
        features = model.engine(level="l2a", output=output)(dn)
        stride = output.stride_px
        assert features.shape == (1, output.channels, 48 // stride, 32 // stride)


def test_a_model_that_disagrees_is_not_written(tmp_path: Path) -> None:
    """One weight off by a tenth of itself is enough; what was there stays."""
    config = EncoderConfig(size=ENTRY)
    encoder, other = random_encoder(config), random_encoder(config)
    weight = other.get_parameter("stages.1.0.pwconv2.weight")
    weight.data[0, 0] *= 1.1
    out = tmp_path / "m.onnx"
    out.write_text("what was there")
    original = mmearth_export.verify.verify

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mmearth_export.artifact.verify",
            lambda model, _, manifest: original(model, other, manifest),
        )
        with pytest.raises(VerificationError, match="nothing was written") as error:
            write_verified(encoder, manifest_of(config), out)
    assert "<- too far" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert out.read_text() == "what was there"


def test_a_graph_with_other_axes_is_refused(tmp_path: Path) -> None:
    config = EncoderConfig(size=ENTRY)
    encoder = random_encoder(config)
    out = tmp_path / "m.onnx"
    manifest = write_verified(encoder, manifest_of(config), out)
    wrong = replace(manifest, outputs=(replace(manifest.outputs[0], channels=31),))
    with pytest.raises(VerificationError, match="`stage4` has the axes"):
        mmearth_export.verify.verify(open_model(out), encoder, wrong)


def test_huge_is_too_large_for_one_file() -> None:
    """Said before anything is traced; the largest that fits is large."""
    config = EncoderConfig(size=SIZES["huge"])
    with torch.device("meta"):
        encoder = Encoder(config)
    with pytest.raises(ModelError, match=r"take 2\.\d GiB"):
        network_graph(encoder, manifest_of(config))


def test_missing_pixels_enter_as_0() -> None:
    """A pixel that is 0 in all bands is the mean; one that is 0 in some is not."""
    dn = torch.tensor([[0, 5], [0, 0]], dtype=torch.uint16).reshape(1, 2, 1, 2)
    mean, std = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    expected = torch.tensor([[0.0, 2.0], [0.0, -0.5]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(standardise(dn, mean, std), expected)


def test_the_untrained_network_is_the_one_the_code_makes(tmp_path: Path) -> None:
    """At most 1 MB, saying what it is, and made again by its own script."""
    assert UNTRAINED.stat().st_size < 2**20
    file = open_model(UNTRAINED).file
    assert not file.manifest.provenance.trained
    assert "UNTRAINED" in file.warnings[0]
    write_untrained(tmp_path / "again.onnx")
    again = open_model(tmp_path / "again.onnx")
    assert again.file.manifest.architecture == file.manifest.architecture
    kept = open_model(UNTRAINED)
    dn = random_dn(height=64, width=64)[None]
    maps = [
        model.engine(level="l2a", output=model.file.manifest.output(None))(dn)
        for model in (kept, again)
    ]
    np.testing.assert_allclose(*maps, rtol=1e-4, atol=1e-4)
    assert untrained_encoder().config == CONFIG


def test_export_refuses(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    """Outputs that exist, folders, places that cannot be written."""
    there = tmp_path / "there.onnx"
    there.touch()
    absent = tmp_path / "absent.pth"
    for out, message in [
        (there, "exists already"),
        (tmp_path, "is a folder"),
        (tmp_path / "new.onnx", "there is no checkpoint"),
    ]:
        ran = mmearth("export", absent, "-o", out)
        assert ran.code == 1
        assert message in ran.stderr
        assert "hint: " in ran.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there.onnx"]


def test_rasterio_reads_what_the_helper_writes(tmp_path: Path) -> None:
    """The scenes of these tests are real files with the pixels they claim."""
    dn = random_dn()
    with rasterio.open(write_scene(tmp_path / "s.tif", dn)) as file:
        np.testing.assert_array_equal(file.read(), dn)
