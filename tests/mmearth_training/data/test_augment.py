"""Looks at tiles: even, decided by their keys, the same for input and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import RecipeError
from mmearth_training.config import changed
from mmearth_training.data.augment import (
    PLAIN,
    Augment,
    Looks,
    cut,
    draw_mask,
    recolour,
)
from mmearth_training.data.batch import Numbers, indices_of
from mmearth_training.data.chance import About, between, normal, uniform
from mmearth_training.data.draws import Key
from mmearth_training.data.folder import open_folder
from mmearth_training.loop import open_samples
from mmearth_training.modalities import INPUT, MODEL_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mmearth_training.config import Recipe
    from mmearth_training.run import RunConfig

CPU = torch.device("cpu")
ALL = Augment(turn=True, zoom=(0.6, 1.1), gain=0.2, band_gain=0.1, band_offset=0.1)


def looks(count: int, *, epoch: int = 0, seed: int = 0) -> Looks:
    keys = [Key(row=row, epoch=epoch) for row in range(count)]
    return Looks.of(keys, seed=seed, device=CPU)


def tiles(count: int, *, bands: int = 3, tile_px: int = 20) -> dict[str, torch.Tensor]:
    """Return tiles whose values say where they are; classes likewise."""
    row, col = torch.meshgrid(*2 * [torch.arange(tile_px)], indexing="ij")
    place = (row * tile_px + col).float()
    return {
        INPUT: place.expand(count, bands, -1, -1).clone(),
        "dynamic_world": (row * tile_px + col).expand(count, -1, -1).clone(),
        "month": torch.ones(count, 2),
    }


@given(
    rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=5),
    look=st.integers(-1, 2**40),
    seed=st.integers(0, 2**31),
)
def test_a_draw_is_decided_by_what_it_is_about(
    rows: list[int], look: int, seed: int
) -> None:
    """Not by the batch: one by one they are what they are together."""

    def draw(some: list[int], about: About = About.MASK) -> torch.Tensor:
        row_N = torch.tensor(some)
        look_N = torch.full_like(row_N, look)
        return uniform(about, row_N, look_N, seed=seed, count=9)

    together = draw(rows)
    assert torch.equal(together, torch.cat([draw([row]) for row in rows]))
    assert ((together > 0) & (together < 1)).all()
    assert not torch.equal(together, draw(rows, About.COLOUR))


@given(hashes=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
@example(hashes=[-1, 0, -(2**63), 2**63 - 1])
def test_no_hash_gives_0_or_1_and_none_is_an_outlier(hashes: list[int]) -> None:
    drawn = between(torch.tensor(hashes))
    assert ((drawn >= 2**-24) & (drawn <= 1 - 2**-24)).all()
    assert (normal(drawn).abs() < 5.4).all()


def test_the_draw_that_was_1_recolours_finitely() -> None:
    """Look 1742 at row 77 draws set bits only: once rounded to 1, an infinite gain."""
    key = Looks.of([Key(row=77, epoch=1742)], seed=0, device=CPU)
    assert key.draw(About.COLOUR, 25).max() > 0.9999999
    numbers = torch.full((1, 12), 1000.0)
    assert (
        recolour(torch.ones(1, 12, 2, 2), numbers, numbers, key, ALL).isfinite().all()
    )


def test_draws_are_even_and_independent() -> None:
    drawn = looks(40000).draw(About.WINDOW, 12)
    counts = torch.histc(drawn, 20, 0, 1) / drawn.numel()
    assert (counts - 0.05).abs().max() < 0.0015
    assert np.abs(np.corrcoef(drawn.T.numpy()) - np.eye(12)).max() < 0.025
    other = looks(40000, epoch=1).draw(About.WINDOW, 12)
    assert abs(np.corrcoef(drawn.flatten(), other.flatten())[0, 1]) < 0.02
    bell = normal(drawn)
    assert abs(float(bell.mean())) < 0.02
    assert float(bell.std()) == pytest.approx(1, abs=0.02)


def test_masks_hide_and_show_every_patch_once_and_evenly() -> None:
    visible, hidden = draw_mask(looks(3000), patches=49, visible=19)
    both = torch.cat([visible, hidden], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(49).expand(3000, -1))
    assert torch.equal(visible, visible.sort(dim=1).values)
    seen = torch.bincount(visible.flatten(), minlength=49) / 3000
    assert (seen - 19 / 49).abs().max() < 0.05


def test_a_plain_crop_is_a_window_of_the_tile() -> None:
    """Every pixel in its place, in pixels and classes alike, at every corner."""
    cropped = cut(tiles(400), looks(400), PLAIN, crop_px=18)
    corners = cropped["dynamic_world"][:, 0, 0]
    assert set(corners.tolist()) == {
        row * 20 + col for row in range(3) for col in range(3)
    }
    window = torch.arange(18)[:, None] * 20 + torch.arange(18)
    expected = corners[:, None, None] + window
    assert torch.equal(cropped["dynamic_world"], expected)
    for band in cropped[INPUT].unbind(1):
        torch.testing.assert_close(band, expected.float(), rtol=0, atol=1e-2)
    assert torch.equal(cropped["month"], torch.ones(400, 2))


def test_turns_are_the_eight_of_a_square() -> None:
    turned = cut(tiles(200), looks(200), Augment(turn=True), crop_px=20)
    square = tiles(1)["dynamic_world"][0]
    eight = {
        tuple(torch.rot90(one, quarter).flatten().tolist())
        for one in (square, square.T)
        for quarter in range(4)
    }
    assert {tuple(one.flatten().tolist()) for one in turned["dynamic_world"]} == eight


def test_a_closer_look_interpolates_and_stays_inside() -> None:
    """A plane stays a plane, with the slope of the zoom."""
    cropped = cut(tiles(50), looks(50), Augment(zoom=(0.5, 1.0)), crop_px=16)[INPUT]
    slope = cropped[:, 0].diff(dim=2)
    assert (slope - slope[:, :1, :1]).abs().max() < 1e-3
    assert 0.5 <= float(slope.min()) < 0.6
    assert 0.9 < float(slope.max()) <= 1.001
    assert cropped.min() >= 0
    assert cropped.max() <= 399


def test_what_is_missing_stays_missing() -> None:
    given_tiles = tiles(20)
    given_tiles[INPUT][:, :, 8:12, 8:12] = torch.nan
    cropped = cut(given_tiles, looks(20), ALL, crop_px=18)[INPUT]
    missing = cropped.isnan().float().mean()
    assert 16 / 400 * 0.5 < missing < 49 / 324 * 2


@settings(max_examples=20)
@given(seed=st.integers(0, 1000))
def test_recolouring_is_a_gain_and_an_offset_of_digital_numbers(seed: int) -> None:
    """With equal numbers, `x * std + mean` becomes `gain * dn + offset`."""
    dn = torch.tensor([[[[100.0, 2000.0, 5000.0]]]]).expand(4, 2, -1, -1)
    mean, std = torch.full((4, 2), 1500.0), torch.full((4, 2), 700.0)
    x = (dn - 1500) / 700
    changed_x = recolour(x, mean, std, looks(4, seed=seed), ALL)
    after = changed_x * 700 + 1500
    gain = (after[..., 1] - after[..., 0]) / 1900
    assert torch.allclose(gain, (after[..., 2] - after[..., 0]) / 4900, rtol=1e-3)
    assert ((gain > 0.3) & (gain < 3)).all()
    only_gain = recolour(x, mean, std, looks(4, seed=seed), Augment(gain=0.2))
    ratio = (only_gain * 700 + 1500) / dn
    assert torch.allclose(ratio, ratio[:, :1, :, :1].expand_as(ratio), rtol=1e-3)


def test_indices_are_those_of_digital_numbers() -> None:
    dn = torch.linspace(200, 4000, 12)[None, :, None, None].expand(2, -1, 3, 3).clone()
    mean, std = torch.full((2, 12), 1200.0), torch.full((2, 12), 900.0)
    x = (dn - 1200) / 900
    x[0, MODEL_BANDS.index("B4"), 0, 0] = torch.nan
    found = indices_of(x, Numbers(mean_NB=mean, std_NB=std), MODEL_BANDS)
    band = {name: float(dn[0, place, 0, 0]) for place, name in enumerate(MODEL_BANDS)}
    ndvi = (band["B8"] - band["B4"]) / (band["B8"] + band["B4"])
    ndwi = (band["B3"] - band["B8"]) / (band["B3"] + band["B8"])
    assert float(found[1, 0, 1, 1]) == pytest.approx(ndvi, abs=1e-5)
    assert float(found[1, 1, 1, 1]) == pytest.approx(ndwi, abs=1e-5)
    assert found[0, 0, 0, 0].isnan()
    assert not found[0, 1].isnan().any()


@pytest.mark.parametrize("loader", ["resident", "workers"])
def test_input_and_target_change_together_and_validation_does_not(
    small_data: Path,
    small_recipe: Recipe,
    run_config: Callable[..., RunConfig],
    loader: str,
) -> None:
    recipe = changed(
        small_recipe,
        data={"loader": loader},
        augment={"turn": True, "gain": 0.3},
        model={"tasks": ("sentinel2", "dynamic_world", "month", "indices")},
    )
    samples = open_samples(run_config(recipe=recipe), open_folder(small_data))

    def batch(epoch: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        keys = [Key(row=row, epoch=epoch) for row in range(10)]
        (one,) = samples.batches(iter([keys]), workers=0)
        assert set(one.targets) == {*recipe.tasks}
        assert one.targets["dynamic_world"].dtype == torch.int64
        torch.testing.assert_close(
            one.x_NBhw, torch.nan_to_num(one.targets[INPUT], nan=0)
        )
        return one.x_NBhw, one.visible_NV

    (first, mask), (again, _), (later, other) = batch(3), batch(3), batch(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(mask, other)
    plain = changed(recipe, augment={"turn": False, "gain": 0.0, "zoom": (0.9, 1.0)})
    unchanged = open_samples(run_config(recipe=plain), open_folder(small_data))
    keys = [Key(row=row, epoch=None) for row in range(10)]
    (one,) = unchanged.batches(iter([keys]), workers=0)
    assert torch.equal(one.x_NBhw, batch(None)[0])


def test_both_loaders_make_the_same_augmented_samples(
    small_data: Path, small_recipe: Recipe, run_config: Callable[..., RunConfig]
) -> None:
    found = []
    for loader in ("resident", "workers"):
        recipe = changed(
            small_recipe,
            data={"loader": loader},
            augment={"turn": True, "zoom": (0.7, 1.1), "band_offset": 0.2},
        )
        samples = open_samples(run_config(recipe=recipe), open_folder(small_data))
        keys = [Key(row=row, epoch=7) for row in (4, 2, 9)]
        (one,) = samples.batches(iter([keys]), workers=0)
        found.append(one)
    here, there = found
    for name, target in here.targets.items():
        torch.testing.assert_close(
            target, there.targets[name], equal_nan=True, rtol=0, atol=0
        )
    assert torch.equal(here.hidden_NU, there.hidden_NU)


def test_a_zoom_beyond_the_tile_is_refused(small_recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"augment\.zoom is 0\.5 to 1\.5"):
        changed(small_recipe, augment={"zoom": (0.5, 1.5)})
    with pytest.raises(RecipeError, match=r"augment\.gain is -1"):
        changed(small_recipe, augment={"gain": -1.0})
