"""Frozen GRN: measured as pretraining pools it, folded without a trace, or refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from affine import Affine

from mmearth_export.calibrate import WINDOW_PX, freeze, int8_scales, read_windows
from mmearth_export.fold import grn_into_linear, norm_into_conv, norm_into_linear
from mmearth_export.wrapper import ExportEncoder
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.normalize import pretraining_statistics
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import CalibrationError, SceneError
from mmearth_infer.read.options import SceneOptions
from mmearth_training.model.blocks import GRN
from mmearth_training.model.encoder import Encoder, EncoderConfig, Size
from tests.conftest import Ran
from tests.helpers.areas import without_a_quarter
from tests.helpers.data import MAJORTOM, needs_data
from tests.helpers.golden import write_checkpoint
from tests.helpers.pretraining import randomise, relative
from tests.helpers.scenes import random_dn, write_scene

SMALL = Size(depths=(1, 2, 1, 1), dims=(8, 16, 16, 32))
STATISTICS = pretraining_statistics(MMEARTH_BANDS)


def small(scope: str) -> Encoder:
    encoder = Encoder(EncoderConfig(size=SMALL, grn=scope, grn_eps=1e-6))  # type: ignore[arg-type]
    randomise(encoder)
    return encoder.eval()


def windows(count: int = 3, px: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(1, 12, px, px, generator=generator) for _ in range(count)]


def test_frozen_on_windows_is_the_batch_of_those_windows() -> None:
    frozen, batch = small("frozen"), small("batch")
    given = windows()
    freeze(frozen, given)
    with torch.inference_mode():
        together = batch(torch.cat(given))
        apart = torch.cat([frozen(x) for x in given])
    assert relative(apart, together) < 1e-5
    other = windows(5)[3:]
    with torch.inference_mode():
        moved = relative(frozen(other[0]), batch(other[0]))
    assert moved > 1e-4  # on other windows they differ, or the test shows nothing


def test_a_frozen_encoder_is_local() -> None:
    """Far from a change nothing moves; with window GRN everything does."""
    frozen, window = small("frozen"), small("window")
    freeze(frozen, windows())
    x = torch.randn(1, 12, 16, 512, generator=torch.Generator().manual_seed(1))
    y = x.clone()
    y[..., :16] += 1
    with torch.inference_mode():
        moved = [(e(x) - e(y)).abs().amax(dim=(0, 1, 2)) for e in (frozen, window)]
    assert moved[0][0] > 0
    assert moved[0][-1] == 0
    assert moved[1][-1] > 0


@pytest.mark.parametrize("scope", ["window", "frozen"])
def test_folded_equals_unfolded(scope: str) -> None:
    encoder = small(scope)
    if scope == "frozen":
        freeze(encoder, windows())
    exported = ExportEncoder(encoder, (1, 2, 3, 4))
    zero, one = torch.zeros(12), torch.ones(12)
    dn = torch.randint(
        1, 9, (2, 12, 48, 64), generator=torch.Generator().manual_seed(2)
    )
    dn = dn.to(torch.uint16)
    with torch.inference_mode():
        found = exported(dn, zero, one)
        expected = encoder.forward_stages(dn.float())
    assert all(relative(a, b) < 1e-5 for a, b in zip(found, expected, strict=True))


def test_each_fold_by_itself() -> None:
    x = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    norm, linear = torch.nn.LayerNorm(4), torch.nn.Linear(4, 3)
    conv, grn = torch.nn.Conv2d(4, 3, 2, 2), GRN(4, scope="frozen")
    for layer in (norm, linear, conv, grn):
        randomise(layer)
    norm.weight.data += 0.5
    grn.get_buffer("response_E").copy_(torch.tensor([0.5, 1.0, 1.5, 2.0]))
    rows = x.permute(0, 2, 3, 1)
    plain = torch.nn.functional.layer_norm(rows, (4,))
    normed = norm(rows)
    turned = normed.permute(0, 3, 1, 2)
    pairs = [
        (norm_into_linear(norm, linear)(plain), linear(normed)),
        (norm_into_conv(norm, conv)(plain.permute(0, 3, 1, 2)), conv(turned)),
        (grn_into_linear(grn, linear)(rows), linear(grn(rows))),
    ]
    assert all(relative(a, b) < 1e-5 for a, b in pairs)


def read(*scenes: Path, **options: object) -> list[torch.Tensor]:
    found = read_windows(
        [str(scene) for scene in scenes],
        bands=MMEARTH_BANDS,
        statistics=STATISTICS,
        options=SceneOptions(**options),  # type: ignore[arg-type]
    )
    return [tile.standardised() for tile in found.tiles]


def test_windows_are_spread_and_standardised(tmp_path: Path) -> None:
    dn = random_dn(height=3 * WINDOW_PX, width=2 * WINDOW_PX)
    scene = write_scene(tmp_path / "a.tif", dn)
    found = read(scene, product="l2a")
    assert len(found) == 6
    mean = np.array(STATISTICS["l2a"].mean)[:, None, None]
    std = np.array(STATISTICS["l2a"].std)[:, None, None]
    corner = (dn[:, :WINDOW_PX, :WINDOW_PX] - mean) / std
    apart = [np.abs(x[0].numpy() - corner).max() for x in found]
    assert min(apart) < 1e-3 < sorted(apart)[1]


def test_an_area_is_all_that_is_measured_on(tmp_path: Path) -> None:
    """A window beyond it is left out, pixels beyond it in others are nodata."""
    side = 2 * WINDOW_PX
    scene = write_scene(tmp_path / "a.tif", random_dn(height=side, width=side))
    area = without_a_quarter(tmp_path / "a.geojson", side)
    assert len(read(scene, product="l2a")) == 4
    assert len(read(scene, product="l2a", aoi=str(area))) == 3
    area = without_a_quarter(tmp_path / "b.geojson", side - 8)
    found = read(scene, product="l2a", aoi=str(area))
    empty = [(x == 0).all(dim=1).sum().item() for x in found]
    assert max(empty) > 0
    assert len(found) == 3


def test_calibrations_that_make_no_sense(tmp_path: Path) -> None:
    side = 2 * WINDOW_PX
    nothing = write_scene(
        tmp_path / "nothing.tif", random_dn(height=side, width=side) * 0
    )
    with pytest.raises((CalibrationError, SceneError)) as caught:
        read(nothing, product="l2a")
    assert caught.value.hint
    one = write_scene(
        tmp_path / "one.tif", random_dn(height=WINDOW_PX, width=WINDOW_PX)
    )
    with pytest.raises(
        CalibrationError, match="1 windows of 224 px hold data"
    ) as caught:
        read(one, product="l2a")
    assert caught.value.hint
    name = "S2A_MSIL1C_20200223T034759_N0214_R104_T48QUE_20200223T073154.tif"
    other = write_scene(
        tmp_path / name,
        random_dn(height=side, width=side),
        transform=Affine(10, 0, 600_000, 0, -10, 5_000_000),
    )
    with pytest.raises(CalibrationError, match="is L1C, --product says L2A") as caught:
        read(other, product="l2a")
    assert caught.value.hint
    assert len(read(other)) == 4


@needs_data
def test_the_command_line(tmp_path: Path, mmearth: Callable[..., Ran]) -> None:
    write_checkpoint(tmp_path / "pt.pth")
    out = tmp_path / "m.onnx"
    ran = mmearth("export", tmp_path / "pt.pth", "--grn", "frozen", "-o", out)
    assert ran.code == 1
    assert "hint: --grn frozen --calibrate SCENE" in ran.stderr
    ran = mmearth(
        *("export", tmp_path / "pt.pth", "--grn", "frozen", "-o", out),
        *("--calibrate", MAJORTOM, "--json"),
    )
    assert ran.code == 0, ran.stderr
    assert ran.report["grn"]["scope"] == "frozen"
    assert "majortom_199U_1099R.tif (L2A)" in ran.report["grn"]["source"]
    model = open_model(out)
    assert model.file.manifest.grn.source == ran.report["grn"]["source"]
    assert model.file.manifest.verification is not None
    assert "frozen" in mmearth("info", out).stdout


def test_the_scale_of_int8_holds_nearly_all_values() -> None:
    """127 steps are the value that one of ten thousand exceeds, stage by stage."""
    encoder = small("window")
    given = windows()
    scales = int8_scales(encoder, given, (2, 4))
    assert set(scales) == {2, 4}
    with torch.inference_mode():
        maps = [encoder.forward_stages(x, deepest=4) for x in given]
    for stage, scale in scales.items():
        sizes = [np.abs(found[stage - 1].numpy()).ravel() for found in maps]
        for size in sizes:  # of so few values one may be beyond
            assert (size > 127 * scale).sum() <= 1 + 1e-4 * size.size
        largest = max(float(size.max()) for size in sizes)
        assert 0.5 * largest <= 127 * scale <= largest * 1.0001
