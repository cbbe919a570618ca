"""The U-Net: its shapes, its reach, and what drop path does in training alone."""

from __future__ import annotations

import pytest
import torch

from mmearth_training.model.blocks import Block
from mmearth_training.model.drop_path import drop_path
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig, Size
from mmearth_training.model.unet import Unet, unet_radius_px, upsample
from tests.helpers.pretraining import randomise

SMALL = Size(depths=(1, 1, 2, 1), dims=(4, 6, 8, 10))
SHAPES = pytest.mark.parametrize(
    ("patch_px", "original_stem"), [(8, False), (16, False), (32, True), (16, True)]
)


def small(patch_px: int, *, original_stem: bool, grn: str = "window") -> Unet:
    config = EncoderConfig(
        size=SMALL,
        bands=3,
        patch_px=patch_px,
        original_stem=original_stem,
        grn=grn,  # type: ignore[arg-type]
    )
    unet = Unet(config, 5)
    randomise(unet)
    return unet.eval()


@SHAPES
def test_logits_at_the_resolution_of_the_pixels(
    patch_px: int, *, original_stem: bool
) -> None:
    unet = small(patch_px, original_stem=original_stem)
    assert unet(torch.randn(2, 3, 64, 96)).shape == (2, 5, 64, 96)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_a_decoder(size: str) -> None:
    with torch.device("meta"):
        unet = Unet(EncoderConfig(size=SIZES[size]), 7)
        assert unet(torch.empty(1, 12, 32, 48)).shape == (1, 7, 32, 48)


@SHAPES
def test_every_skip_matters(patch_px: int, *, original_stem: bool) -> None:
    """Each map the encoder gives moves the logits by itself, the last skip where
    there is a convolution at full resolution.
    """
    unet = small(patch_px, original_stem=original_stem)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        full, *stages = unet.encoder.forward_all(x)
        before = unet.decoder(full, stages)
        for number in range(4):
            changed = [s + 1 if n == number else s for n, s in enumerate(stages)]
            assert not torch.equal(unet.decoder(full, changed), before)
        same = torch.equal(unet.decoder(full + 1, stages), before)
    assert same == original_stem


def test_the_maps_of_the_stages_are_those_of_the_encoder() -> None:
    unet = small(16, original_stem=False)
    x = torch.randn(1, 3, 32, 32)
    full, *stages = unet.encoder.forward_all(x)
    assert full.shape == (1, 4, 32, 32)
    for one, other in zip(stages, unet.encoder.forward_stages(x), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_nearest_upsampling_repeats_cells() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    expected = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(upsample(x, 2), expected)
    assert upsample(x, 1) is x


@SHAPES
def test_receptive_radius(patch_px: int, *, original_stem: bool) -> None:
    """Of the pixels of a cell, the worst is reached from the radius and none from
    beyond it. GRN, which reaches everywhere, is frozen at zero.
    """
    unet = small(patch_px, original_stem=original_stem, grn="frozen").double()
    for _, buffer in unet.named_buffers():
        buffer.zero_()
    radius = unet_radius_px(unet.encoder.config)
    middle = -(-radius // patch_px) * patch_px + patch_px
    height = 2 * middle + 2 * patch_px
    x = torch.zeros(1, 3, height, patch_px, dtype=torch.float64, requires_grad=True)
    reached = []
    for row in range(middle, middle + patch_px):
        (slope,) = torch.autograd.grad(unet(x)[0, :, row].sum(), x)
        rows = slope.abs().amax(dim=(0, 1, 3)).nonzero()
        reached.append(max(row - int(rows.min()), int(rows.max()) - row))
    assert max(reached) == radius


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(10_000, 2, 3), 0.25)
    by_sample = dropped.flatten(1)
    assert (by_sample == by_sample[:, :1]).all()
    assert set(by_sample[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(by_sample[:, 0].mean() - 1) < 0.02


def test_drop_path_acts_in_training_alone_and_rises_with_depth() -> None:
    encoder = Encoder(EncoderConfig(size=SMALL, bands=3))
    randomise(encoder)
    x = torch.randn(8, 3, 32, 32)
    without = encoder.train()(x)
    torch.testing.assert_close(without, encoder.eval()(x))
    encoder.set_drop_path(0.8)
    rates = [m.drop_rate for m in encoder.modules() if isinstance(m, Block)]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    torch.testing.assert_close(encoder.eval()(x), without)
    assert not torch.allclose(encoder.train()(x), without)
