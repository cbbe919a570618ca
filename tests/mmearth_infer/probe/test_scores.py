"""Figures are scikit-learn's; intervals come from whole blocks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from mmearth_infer.probe.scores import class_iou, confusion_of, intervals, scores_of

labels = arrays(np.int64, 30, elements=st.integers(0, 3))


@given(labels, labels)
def test_figures_are_those_of_scikit_learn(true: np.ndarray, said: np.ndarray) -> None:
    if len(np.unique(np.concatenate([true, said]))) == 1:
        return  # kappa of one class is undefined
    confusion = confusion_of(true, said, 4)
    np.testing.assert_array_equal(
        confusion, metrics.confusion_matrix(true, said, labels=range(4))
    )
    found = scores_of(confusion)
    assert np.isclose(found["accuracy"], metrics.accuracy_score(true, said))
    assert np.isclose(
        found["mean_iou"], metrics.jaccard_score(true, said, average="macro")
    )
    assert np.isclose(found["macro_f1"], metrics.f1_score(true, said, average="macro"))
    assert np.isclose(found["kappa"], metrics.cohen_kappa_score(true, said))
    there = np.unique(np.concatenate([true, said]))
    np.testing.assert_allclose(
        class_iou(confusion)[there], metrics.jaccard_score(true, said, average=None)
    )


def test_blocks_that_agree_leave_no_doubt() -> None:
    """However many cells are wrong."""
    alike = np.tile([[8, 2], [1, 9]], (12, 1, 1))
    for low, high in intervals(alike, seed=0).values():
        assert low == high
    differ = alike.copy()
    differ[::2] = [[2, 8], [9, 1]]
    low, high = intervals(differ, seed=0)["accuracy"]
    assert low < scores_of(differ.sum(axis=0))["accuracy"] < high


def test_intervals_are_as_wide_as_the_spread_of_blocks() -> None:
    """Of equal blocks, the standard error of their mean times 1.96."""
    rng = np.random.default_rng(0)
    right = rng.integers(0, 11, 200)
    blocks = np.zeros((200, 2, 2), np.int64)
    blocks[:, 0, 0], blocks[:, 0, 1] = right, 10 - right
    low, high = intervals(blocks, seed=0)["accuracy"]
    error = (right / 10).std() / np.sqrt(200)
    assert np.isclose(high - low, 2 * 1.96 * error, rtol=0.1)
    assert intervals(blocks, seed=0) == intervals(blocks, seed=0)
    assert intervals(blocks, seed=0) != intervals(blocks, seed=1)
