"""The encoder against golden outputs, and its geometry against arithmetic."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmearth_infer.errors import ModelError
from mmearth_training.model.blocks import GRN
from mmearth_training.model.encoder import (
    SIZES,
    Encoder,
    EncoderConfig,
    Geometry,
    Size,
    receptive_radius_px,
)
from mmearth_training.published import load_published
from tests.helpers.data import GOLDEN, needs_golden
from tests.helpers.golden import golden_input, write_checkpoint

SMALL = EncoderConfig(size=Size(depths=(1, 1, 2, 1), dims=(4, 6, 8, 10)), bands=3)


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def randomise(encoder: Encoder) -> Encoder:
    """Give every parameter a value that matters, GRN's zeros among them."""
    generator = torch.Generator().manual_seed(0)
    for weight in encoder.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.data = noise / max(weight[0].numel(), 4) ** 0.5
    return encoder.eval()


@needs_golden
@pytest.mark.parametrize("geometry", ["padded", "published"])
def test_golden_outputs_of_the_published_code(
    tmp_path: Path, geometry: Geometry
) -> None:
    """Eager PyTorch from a published checkpoint, every stage, to 1e-5 relative."""
    golden = np.load(GOLDEN / "dense_atto_patch16.npz")
    checkpoint = load_published(write_checkpoint(tmp_path / "pt.pth"))
    encoder = checkpoint.encoder(replace(checkpoint.config, geometry=geometry))
    with torch.inference_mode():
        maps = encoder.forward_stages(torch.from_numpy(golden_input()))
    if geometry == "padded":
        assert relative(maps[3].numpy(), golden["padded_map"]) < 1e-5
        for stage in range(3):
            ours = maps[stage][:, :, ::7, ::7].numpy()
            assert relative(ours, golden[f"padded_stage{stage}"]) < 1e-5
    else:
        assert relative(maps[3].numpy(), golden["unpadded_map"]) < 1e-5
        pooled = torch.nn.functional.layer_norm(maps[3].mean((2, 3)), (320,), eps=1e-6)
        assert relative(pooled.numpy(), golden["unpadded_pooled"]) < 1e-5


def test_sizes_have_the_published_number_of_parameters() -> None:
    """3.39 M for atto and 28 M for tiny, 12 bands (MMEarth paper, table A1)."""
    with torch.device("meta"):
        counts = {
            name: sum(
                weight.numel()
                for weight in Encoder(EncoderConfig(size=size)).parameters()
            )
            for name, size in SIZES.items()
        }
    assert counts["atto"] == 3_389_440
    assert round(counts["tiny"] / 1e6) == 28
    assert list(counts.values()) == sorted(counts.values())
    assert len(counts) == 8


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("patch_px", "original_stem"), [(8, False), (16, False), (32, True)]
)
def test_shapes_of_every_size(size: str, patch_px: int, *, original_stem: bool) -> None:
    """Stage i gives dims[i] channels on a grid of strides_px[i]."""
    config = EncoderConfig(
        size=SIZES[size], patch_px=patch_px, original_stem=original_stem
    )
    with torch.device("meta"):
        maps = Encoder(config).forward_stages(torch.empty(2, 12, 64, 96))
    assert config.strides_px == tuple(patch_px // 8 * 2**i for i in range(4))
    for features, channels, stride in zip(
        maps, config.size.dims, config.strides_px, strict=True
    ):
        assert features.shape == (2, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize(("patch_px", "crop", "cells"), [(16, 112, 7), (8, 56, 6)])
def test_published_geometry_shrinks_patch_8(
    patch_px: int, crop: int, cells: int
) -> None:
    """The unpadded path realigns for patch 16 and loses a cell for patch 8."""
    config = replace(SMALL, patch_px=patch_px, geometry="published")
    features = Encoder(config)(torch.zeros(1, 3, crop, crop))
    assert features.shape[-2:] == (cells, cells)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("patch_px", "original_stem"), [(8, False), (16, False), (32, True)]
)
def test_receptive_radius(stage: int, patch_px: int, *, original_stem: bool) -> None:
    """A pixel within the radius moves a cell, one beyond it does not.

    Without GRN, which reaches everywhere: its scope is frozen at zero.
    """
    config = replace(
        SMALL, patch_px=patch_px, original_stem=original_stem, grn="frozen"
    )
    encoder = randomise(Encoder(config)).double()  # so that little is not nothing
    for name, buffer in encoder.named_buffers():
        assert name.endswith("response_E")
        buffer.zero_()
    radius = receptive_radius_px(config, stage)
    stride = config.strides_px[stage - 1]
    cell = -(-radius // patch_px) * patch_px // stride + 1
    first_px = cell * stride - radius
    side = -(-(cell * stride + radius + 2 * patch_px) // patch_px) * patch_px

    def value(changed_row: int | None) -> torch.Tensor:
        x = torch.zeros(1, 3, side, patch_px, dtype=torch.float64)
        if changed_row is not None:
            x[:, :, changed_row] = 100.0
        with torch.inference_mode():
            return encoder.forward_stages(x)[stage - 1][0, :, cell]

    assert first_px >= 1
    assert torch.equal(value(first_px - 1), value(None))
    assert not torch.equal(value(first_px), value(None))


def test_receptive_radius_of_the_published_sizes() -> None:
    for size, patch_px, radius in [("atto", 16, 277), ("tiny", 16, 415)]:
        config = EncoderConfig(size=SIZES[size], patch_px=patch_px)
        assert receptive_radius_px(config, 4) == radius
    assert receptive_radius_px(EncoderConfig(size=SIZES["atto"]), 2) == 37


class TestGRN:
    """The three scopes of the norm."""

    def grn(self, scope: str) -> GRN:
        layer = GRN(5, scope=scope, eps=1e-4)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(1)
        layer.gamma.data = torch.randn(5, generator=generator)
        layer.beta.data = torch.randn(5, generator=generator)
        return layer

    def test_window_is_the_formula_of_the_paper(self) -> None:
        x = torch.randn(1, 4, 3, 5)
        layer = self.grn("window")
        gx = (x**2).sum((1, 2)).sqrt()
        nx = gx / (gx.mean() + 1e-4)
        expected = layer.gamma * (x * nx) + layer.beta + x
        torch.testing.assert_close(layer(x), expected)

    def test_window_takes_each_sample_by_itself(self) -> None:
        x = torch.randn(3, 4, 3, 5)
        layer = self.grn("window")
        one_by_one = torch.cat([layer(sample[None]) for sample in x])
        torch.testing.assert_close(layer(x), one_by_one)

    def test_batch_pools_all_samples(self) -> None:
        """It is the window norm of all samples laid side by side."""
        x = torch.randn(3, 4, 3, 5)
        side_by_side = x.reshape(1, 12, 3, 5)
        expected = self.grn("window")(side_by_side).reshape(x.shape)
        torch.testing.assert_close(self.grn("batch")(x), expected)
        assert not torch.allclose(self.grn("window")(x), expected)

    def test_frozen_with_its_own_statistics_equals_batch(self) -> None:
        x = torch.randn(3, 4, 3, 5)
        frozen, batch = self.grn("frozen"), self.grn("batch")
        frozen.get_buffer("response_E").copy_(batch.response(x).flatten())
        torch.testing.assert_close(frozen(x), batch(x))

    def test_frozen_without_statistics_gives_nan(self) -> None:
        """Nothing is guessed: forgotten statistics show everywhere."""
        assert torch.isnan(self.grn("frozen")(torch.ones(1, 2, 2, 5))).all()

    def test_eps_is_a_setting(self) -> None:
        x = torch.full((1, 1, 1, 5), 1e-4)
        strict, loose = GRN(5, eps=1e-6), GRN(5, eps=1e-2)
        assert strict.response(x).max() > 0.9
        assert loose.response(x).max() < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_px": 12}, "12 px"),
        ({"grn": "world"}, "`world`"),
        ({"bands": 0}, "not 0"),
    ],
)
def test_shapes_that_no_encoder_has(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(SMALL, **change)  # type: ignore[arg-type]
