"""Stochastic depth: a block is left out of some samples in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def drop_path(branch: Tensor, rate: float) -> Tensor:
    """Return what a block adds: 0 for a share of the samples, more for the others.

    What is kept is divided by the share that is, so that the mean stays (Huang et al.
    2016, "Deep Networks with Stochastic Depth").

    Args:
        branch: `(N, ...)`.
        rate: Share of samples that lose it, from 0 to below 1.

    """
    shape = (len(branch),) + (1,) * (branch.ndim - 1)
    kept = branch.new_empty(shape).bernoulli_(1 - rate)
    return branch * kept / (1 - rate)
