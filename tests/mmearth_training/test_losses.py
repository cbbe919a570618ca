"""Errors of the tasks against arithmetic done in another way."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmearth_training.losses import (
    MISSING_CLASS,
    TaskWeights,
    hidden_target,
    mean_error,
    names_of,
    patch_scale,
    patchify,
    task_error,
    unpatchify,
)
from mmearth_training.modalities import MODALITIES
from mmearth_training.model.masking import pick
from tests.helpers.pretraining import random_mask

seeds = st.integers(0, 2**31 - 1)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestPatches:
    """Maps as patches and back."""

    @given(
        count=st.integers(1, 3),
        channels=st.integers(1, 4),
        side=st.integers(1, 4),
        patch_px=st.integers(1, 5),
        seed=seeds,
    )
    @settings(deadline=None)
    def test_unpatchify_undoes_patchify(
        self, count: int, channels: int, side: int, patch_px: int, seed: int
    ) -> None:
        """Law: unpatchify(patchify(x)) = x, and the other way round."""
        x = normal(count, channels, side * patch_px, side * patch_px, seed=seed)
        patches = patchify(x, patch_px)
        assert patches.shape == (count, side**2, patch_px**2 * channels)
        assert torch.equal(unpatchify(patches, patch_px), x)
        assert torch.equal(patchify(unpatchify(patches, patch_px), patch_px), patches)

    def test_channels_are_fastest(self) -> None:
        """Patch 1 of a 2x2 grid is the upper right; its first values are a pixel."""
        x = normal(1, 3, 8, 8)
        patch = patchify(x, 4)[0, 1]
        assert torch.equal(patch[:3], x[0, :, 0, 4])
        assert torch.equal(patch[3:6], x[0, :, 0, 5])
        assert torch.equal(patch[12:15], x[0, :, 1, 4])


class TestPatchScale:
    """Mean and deviation of a patch."""

    @given(
        count=st.integers(1, 3),
        values=st.integers(2, 40),
        share=st.floats(0, 0.9),
        seed=seeds,
    )
    @settings(deadline=None)
    def test_is_numpy_with_ddof_1(
        self, count: int, values: int, share: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        x = rng.normal(5, 3, (count, 4, values))
        missing = rng.random(x.shape) < share
        missing[..., :2] = False
        x[missing] = np.nan
        mean, scale = patch_scale(torch.from_numpy(x))
        assert mean.shape == scale.shape == (count, 4, 1)
        np.testing.assert_allclose(mean[..., 0], np.nanmean(x, -1), rtol=1e-12)
        deviation = np.sqrt(np.nanvar(x, -1, ddof=1) + 1e-6)
        np.testing.assert_allclose(scale[..., 0], deviation, rtol=1e-9)

    @pytest.mark.parametrize("there", [0, 1])
    def test_less_than_two_values_have_variance_0(self, there: int) -> None:
        x = torch.full((1, 1, 6), torch.nan)
        x[..., :there] = 7.0
        mean, scale = patch_scale(x)
        assert mean.item() == 7.0 * there
        assert scale.item() == pytest.approx(1e-3)


class TestHiddenTarget:
    """What a pixel-level head should say."""

    mask = random_mask(2, 3, 4)

    def test_continuous_targets_are_the_hidden_patches(self) -> None:
        x = normal(2, 8, 12, 12)
        ours = hidden_target(
            MODALITIES["sentinel1"], x, self.mask, patch_px=4, normalise=False
        )
        assert torch.equal(ours, pick(patchify(x, 4), self.mask.hidden_NU))

    def test_normalised_patches_have_mean_0_and_deviation_1(self) -> None:
        x = 100 + 9 * normal(2, 12, 12, 12)
        x[:, 3, ::5] = torch.nan
        ours = hidden_target(
            MODALITIES["sentinel2"], x, self.mask, patch_px=4, normalise=True
        ).numpy()
        assert np.isnan(ours).any()
        np.testing.assert_allclose(np.nanmean(ours, -1), 0, atol=1e-4)
        np.testing.assert_allclose(np.nanstd(ours, -1, ddof=1), 1, rtol=1e-4)

    def test_classes_stay_whole_numbers(self) -> None:
        labels = torch.arange(144).view(1, 12, 12).repeat(2, 1, 1) % 9
        ours = hidden_target(
            MODALITIES["dynamic_world"], labels, self.mask, patch_px=4, normalise=False
        )
        assert ours.dtype == torch.int64
        assert ours.shape == (2, 5, 16)


class TestTaskError:
    """Sums and counts."""

    @given(share=st.floats(0, 1), seed=seeds)
    @settings(deadline=None)
    def test_squared_error_leaves_missing_values_out(
        self, share: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        target = rng.normal(size=(2, 3, 32))
        target[rng.random(target.shape) < share] = np.nan
        prediction = rng.normal(size=target.shape)
        total, count = task_error(
            MODALITIES["aster"], torch.from_numpy(prediction), torch.from_numpy(target)
        )
        there = ~np.isnan(target)
        expected = ((prediction - target)[there] ** 2).sum()
        assert total.item() == pytest.approx(expected, rel=1e-5)
        assert count.item() == there.sum()

    @given(share=st.floats(0, 1), seed=seeds)
    @settings(deadline=None)
    def test_cross_entropy_leaves_missing_labels_out(
        self, share: float, seed: int
    ) -> None:
        """Classes of a pixel lie side by side in a patch."""
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 9, (2, 3, 16))
        labels[rng.random(labels.shape) < share] = MISSING_CLASS
        logits = rng.normal(size=(2, 3, 16 * 9))
        total, count = task_error(
            MODALITIES["dynamic_world"],
            torch.from_numpy(logits),
            torch.from_numpy(labels),
        )
        scores = logits.reshape(*labels.shape, 9)
        surprise = np.log(np.exp(scores).sum(-1))
        there = labels != MISSING_CLASS
        chosen = np.take_along_axis(scores, np.maximum(labels, 0)[..., None], -1)
        expected = (surprise - chosen[..., 0])[there].sum()
        assert total.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert count.item() == there.sum()

    def test_one_label_an_image(self) -> None:
        labels = torch.tensor([3, MISSING_CLASS])
        total, count = task_error(MODALITIES["biome"], torch.zeros(2, 14), labels)
        assert total.item() == pytest.approx(math.log(14))
        assert count == 1

    @pytest.mark.parametrize("name", ["aster", "era5"])
    def test_missing_values_pull_at_nothing(self, name: str) -> None:
        prediction = normal(2, 12).requires_grad_()
        target = normal(2, 12, seed=1)
        target[0, 3:] = torch.nan
        task_error(MODALITIES[name], prediction, target)[0].backward()
        assert prediction.grad is not None
        assert not prediction.grad[0, 3:].any()
        assert prediction.grad[0, :3].all()
        assert prediction.grad[1].all()

    def test_low_precision_is_summed_in_float32(self) -> None:
        prediction = torch.full((1, 1, 4096), 1.0, dtype=torch.bfloat16)
        total, _ = task_error(
            MODALITIES["aster"], prediction, torch.full((1, 1, 4096), 3.0)
        )
        assert total.item() == 4096 * 4

    def test_mean_of_nothing_is_0(self) -> None:
        ours = mean_error(torch.tensor([6.0, 0.0]), torch.tensor([4, 0]))
        assert ours.tolist() == [1.5, 0.0]


class TestTaskWeights:
    """The losses of the tasks put together."""

    def weights(self, *log_vars: float) -> TaskWeights:
        weights = TaskWeights(len(log_vars), "uncertainty")
        weights.log_vars_T.data = torch.tensor(log_vars)
        return weights

    @given(
        pairs=st.lists(
            st.tuples(st.floats(0.01, 100), st.floats(-3, 3)), min_size=1, max_size=12
        )
    )
    @settings(deadline=None)
    def test_uncertainty_formula(self, pairs: list[tuple[float, float]]) -> None:
        """Law: the sum over t of exp(-s_t) L_t + s_t (Kendall et al. 2018)."""
        losses, log_vars = zip(*pairs, strict=True)
        ours = self.weights(*log_vars)(torch.tensor(losses))
        expected = sum(math.exp(-s) * loss + s for loss, s in pairs)
        assert ours.item() == pytest.approx(expected, rel=1e-4, abs=1e-3)

    def test_a_loss_of_0_adds_nothing_and_moves_nothing(self) -> None:
        weights = self.weights(0.5, -0.5)
        loss = weights(torch.tensor([0.0, 2.0]))
        loss.backward()
        assert loss.item() == pytest.approx(2 * math.exp(0.5) - 0.5)
        assert weights.log_vars_T.grad is not None
        moves = weights.log_vars_T.grad.tolist()
        assert moves == pytest.approx([0.0, 1 - 2 * math.exp(0.5)])

    def test_tasks_begin_alike(self) -> None:
        losses = torch.tensor([1.0, 2.0, 3.0])
        assert TaskWeights(3, "uncertainty")(losses) == losses.sum()

    def test_equal_weights_are_a_sum_that_learns_nothing(self) -> None:
        weights = TaskWeights(2, "equal")
        weights.log_vars_T.data.fill_(3.0)
        assert weights(torch.tensor([1.0, 2.0])).item() == 3.0
        assert not weights.log_vars_T.requires_grad


def test_names_of_tasks() -> None:
    assert names_of(torch.tensor([1.0, 2.0]), ("a", "b")) == {"a": 1.0, "b": 2.0}
    with pytest.raises(ValueError, match="shorter"):
        names_of(torch.tensor([1.0]), ("a", "b"))
