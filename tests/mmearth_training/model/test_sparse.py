"""The backends of the masked encoder agree, and none of them sees what is hidden."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import RecipeError
from mmearth_training.model.blocks import GrnScope
from mmearth_training.model.encoder import SIZES, Encoder, EncoderConfig
from mmearth_training.model.masking import (
    Mask,
    count_visible,
    gather,
    pick,
    place,
    spread,
)
from mmearth_training.model.sparse import BackendName, open_backend, to_map
from tests.helpers.pretraining import (
    BACKEND_CASES,
    SMALL,
    gradients,
    random_mask,
    randomise,
    relative,
)

OTHERS = [case for case in BACKEND_CASES if case != "dense"]
"""Backends that are compared with `dense`, the oracle."""

seeds = st.integers(0, 2**31 - 1)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Any mask that shows something and hides something."""
    count, side = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    visible = draw(st.integers(1, side * side - 1))
    return random_mask(count, side, visible, draw(seeds))


def crop(
    config: EncoderConfig, mask: Mask, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    side_px = mask.side * config.patch_px
    shape = (mask.visible_NV.shape[0], config.bands, side_px, side_px)
    return torch.randn(shape, generator=generator, dtype=dtype)


def run(
    backend: BackendName, encoder: Encoder, x: torch.Tensor, mask: Mask
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the rows, and the gradients of all parameters and of the pixels."""
    x = x.clone().requires_grad_()
    encoder.zero_grad()
    rows = open_backend(backend)(encoder, x, mask)
    generator = torch.Generator().manual_seed(4)
    pull = torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    (rows * pull).sum().backward()
    assert x.grad is not None
    return rows.detach(), {"pixels": x.grad, **gradients(encoder)}


@cache
def oracle(
    config: EncoderConfig, side: int, visible: int
) -> tuple[Encoder, torch.Tensor, Mask, Any]:
    """Return an encoder, a crop, a mask, and what `dense` makes of them."""
    mask = random_mask(2, side, visible)
    encoder = Encoder(config)
    randomise(encoder)
    x = crop(config, mask)
    rows, pulls = run("dense", encoder, x, mask)
    return (
        encoder,
        x,
        mask,
        (rows, {name: pull.clone() for name, pull in pulls.items()}),
    )


CASES = {
    "atto/8": (EncoderConfig(size=SIZES["atto"], patch_px=8, grn="batch"), 7, 19),
    "atto/8 window": (EncoderConfig(size=SIZES["atto"], patch_px=8), 4, 6),
    "atto/16": (EncoderConfig(size=SIZES["atto"], grn="batch", grn_eps=1e-6), 4, 6),
    "atto/16 window": (EncoderConfig(size=SIZES["atto"]), 3, 4),
    "atto/16 original stem": (
        EncoderConfig(size=SIZES["atto"], grn="batch", original_stem=True),
        *(4, 6),
    ),
    "tiny/8": (EncoderConfig(size=SIZES["tiny"], patch_px=8, grn="batch"), 3, 4),
    "tiny/16": (EncoderConfig(size=SIZES["tiny"], grn="batch"), 2, 2),
    "RGB/32 original stem": (
        replace(SMALL, patch_px=32, original_stem=True),
        *(3, 4),
    ),
}


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("case", CASES)
def test_backends_agree(case: str, backend: BackendName) -> None:
    """Output, and the gradient of every parameter and pixel, to 1e-4 of the greatest.

    float32 on both sides; the same to 1e-9 in float64 is the next test.
    """
    encoder, x, mask, (dense_rows, dense_pulls) = oracle(*CASES[case])
    rows, pulls = run(backend, encoder, x, mask)
    assert relative(rows, dense_rows) < 1e-4
    worst = {name: relative(pulls[name], pull) for name, pull in dense_pulls.items()}
    assert all(pull.any() for pull in dense_pulls.values())
    assert max(worst.values()) < 1e-4, max(worst, key=worst.__getitem__)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("grn", ["batch", "window"])
@pytest.mark.parametrize(
    ("patch_px", "original_stem"), [(8, False), (16, False), (16, True)]
)
def test_backends_agree_in_float64(
    backend: BackendName, grn: GrnScope, patch_px: int, *, original_stem: bool
) -> None:
    """What is left in float32 is rounding."""
    config = replace(SMALL, patch_px=patch_px, original_stem=original_stem, grn=grn)
    mask = random_mask(2, 3, 4)
    encoder = Encoder(config).double()
    randomise(encoder)
    x = crop(config, mask, torch.float64)
    dense_rows, pulls = run("dense", encoder, x, mask)
    dense_pulls = {name: pull.clone() for name, pull in pulls.items()}
    rows, pulls = run(backend, encoder, x, mask)
    assert relative(rows, dense_rows) < 1e-9
    for name, pull in dense_pulls.items():
        assert relative(pulls[name], pull) < 1e-9, name


@cache
def small_encoder(patch_px: int, *, original_stem: bool) -> Encoder:
    encoder = Encoder(replace(SMALL, patch_px=patch_px, original_stem=original_stem))
    randomise(encoder)
    return encoder


@pytest.mark.parametrize("backend", BACKEND_CASES)
@settings(max_examples=25, deadline=None)
@given(
    mask=masks(),
    patch_px=st.sampled_from([8, 16]),
    original_stem=st.booleans(),
    size=st.sampled_from([1e-3, 1.0, 1e4, 1e20, 1e37]),
    seed=seeds,
)
def test_hidden_pixels_move_nothing(
    backend: BackendName,
    mask: Mask,
    patch_px: int,
    size: float,
    seed: int,
    *,
    original_stem: bool,
) -> None:
    """Law: rows of a crop = rows of the crop with any hidden pixels, bit for bit,
    and the gradient of hidden pixels is exactly 0.
    """
    encoder = small_encoder(patch_px, original_stem=original_stem)
    x = crop(encoder.config, mask)
    visible = mask.visible_map(patch_px).bool()
    generator = torch.Generator().manual_seed(seed)
    noise = (torch.randn(x.shape, generator=generator) * size).clamp(-1e38, 1e38)
    rows, pulls = run(backend, encoder, x, mask)
    others, _ = run(backend, encoder, torch.where(visible, x, noise), mask)
    assert torch.equal(rows, others)
    assert torch.isfinite(rows).all()
    hidden = ~visible.expand_as(x)
    assert not pulls["pixels"][hidden].any()
    assert pulls["pixels"][~hidden].any()


@pytest.mark.parametrize("backend", BACKEND_CASES)
def test_samples_meet_in_grn_only(backend: BackendName) -> None:
    """With the scope `window` a sample's rows are those it has alone."""
    encoder = Encoder(replace(SMALL, grn="window"))
    randomise(encoder)
    mask = random_mask(3, 3, 4)
    x = crop(SMALL, mask)
    encode = open_backend(backend)
    with torch.inference_mode():
        together = encode(encoder, x, mask)
        alone = [
            encode(encoder, x[i : i + 1], Mask(*(half[i : i + 1] for half in halves)))
            for halves in [(mask.visible_NV, mask.hidden_NU)]
            for i in range(3)
        ]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize("backend", BACKEND_CASES)
def test_every_patch_visible_is_the_dense_encoder(backend: BackendName) -> None:
    """Nothing is hidden: the map of `Encoder.forward`."""
    config = replace(SMALL, grn="window")
    encoder = Encoder(config)
    randomise(encoder)
    everything = torch.arange(9).repeat(2, 1)
    mask = Mask(everything, everything[:, :0])
    x = crop(config, mask)
    with torch.inference_mode():
        rows = open_backend(backend)(encoder, x, mask)
        assert relative(to_map(rows, mask), encoder(x)) < 1e-5


class TestRows:
    """Sites of a map, patches of a sequence."""

    @given(mask=masks(), s=st.sampled_from([1, 2, 4]), seed=seeds)
    @settings(deadline=None)
    def test_gather_undoes_spread(self, mask: Mask, s: int, seed: int) -> None:
        """Law: gather(spread(rows)) = rows, and the map is 0 elsewhere."""
        count, visible = mask.visible_NV.shape
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(count, visible * s * s, 3, generator=generator)
        index = mask.sites(s)
        x = spread(rows, index, mask.side * s)
        assert torch.equal(gather(x, index), rows)
        assert torch.equal(x * mask.visible_map(s), x)
        assert x.count_nonzero() == rows.count_nonzero()

    @given(mask=masks(), s=st.sampled_from([1, 2, 4]))
    @settings(deadline=None)
    def test_sites_are_what_the_visible_map_shows(self, mask: Mask, s: int) -> None:
        """Law: the sites, each once, are where the map is 1."""
        shown = mask.visible_map(s).flatten().nonzero()[:, 0]
        assert torch.equal(mask.sites(s).sort().values, shown)

    @given(mask=masks(), seed=seeds)
    @settings(deadline=None)
    def test_pick_undoes_place(self, mask: Mask, seed: int) -> None:
        """Law: pick(place(x)) = x, and the background stays at all other patches."""
        generator = torch.Generator().manual_seed(seed)
        count, visible = mask.visible_NV.shape
        x = torch.randn(count, visible, 5, generator=generator)
        background = torch.randn(count, mask.side**2, 5, generator=generator)
        placed = place(x, mask.visible_NV, background)
        assert torch.equal(pick(placed, mask.visible_NV), x)
        left = pick(background, mask.hidden_NU)
        assert torch.equal(pick(placed, mask.hidden_NU), left)


class TestCountVisible:
    """How much a mask ratio leaves."""

    def test_the_paper_leaves_19_of_49(self) -> None:
        assert count_visible(49, 0.6) == 19

    @given(patches=st.integers(1, 400), ratio=st.floats(0, 1))
    def test_something_is_visible_and_something_hidden(
        self, patches: int, ratio: float
    ) -> None:
        """Law: 0 < visible < patches, and rounded down; or it is refused."""
        visible = int(patches * (1 - ratio))
        if 0 < visible < patches:
            assert count_visible(patches, ratio) == visible
        else:
            with pytest.raises(RecipeError, match=r"`.*` hides (every|no) patch"):
                count_visible(patches, ratio)

    @pytest.mark.parametrize(
        ("ratio", "what"), [(1.0, "every"), (0.99, "every"), (0.0, "no")]
    )
    def test_masks_of_everything_or_nothing_are_refused(
        self, ratio: float, what: str
    ) -> None:
        with pytest.raises(RecipeError, match=f"hides {what} patch of 49"):
            count_visible(49, ratio)

    @pytest.mark.parametrize("ratio", [-0.1, 1.5])
    def test_what_is_no_share_is_refused(self, ratio: float) -> None:
        with pytest.raises(RecipeError, match=f"`{ratio}`"):
            count_visible(49, ratio)
