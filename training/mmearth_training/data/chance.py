"""Draws for a whole batch at once, on any device, from what they are about alone.

Every number is a hash of the seed of the run, what is drawn, the look and the tile
(docs/adr/0008): it depends neither on the device, nor on the batch a sample is in, nor
on what was drawn before.

Shapes: N samples, K numbers a sample.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import torch
from torch import Tensor


class About(IntEnum):
    """What is drawn; draws about one thing say nothing of another."""

    WINDOW = 0
    """Where a crop lies, and how it is turned."""

    COLOUR = 1
    """How its bands are changed."""

    MASK = 2
    """Which patches are visible."""


def _signed(value: int) -> int:
    """Return 64 bits as PyTorch's int64 holds them."""
    return value - 2**64 if value >= 2**63 else value


_STEP: Final = _signed(0x9E3779B97F4A7C15)
_FACTORS: Final = (_signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB))
_SHIFTS: Final = (30, 27, 31)
_BITS: Final = 23  # float32 holds them and the half behind them exactly


def uniform(
    about: About, row_N: Tensor, look_N: Tensor, *, seed: int, count: int
) -> Tensor:
    """Return even draws between 0 and 1, both excluded, float32 `(N, K)`.

    Args:
        about: What they decide.
        row_N: Row of each tile, int64.
        look_N: Number of the look at it, int64; -1 for validation.
        seed: Seed of the run.
        count: K.

    """
    hash_N = _mix(torch.full_like(row_N, seed) * len(About) + about)
    hash_N = _mix(_mix(hash_N + look_N) + row_N)
    place_K = torch.arange(1, count + 1, device=row_N.device)
    return between(_mix(hash_N[:, None] + place_K * _STEP))


def between(hash_NK: Tensor) -> Tensor:
    """Return numbers between 0 and 1, both excluded, out of 64 bits each.

    The law: `2**-24 <= between(hash) <= 1 - 2**-24` for every int64.
    """
    bits_NK = (hash_NK >> (64 - _BITS)) & (2**_BITS - 1)
    return (bits_NK.float() + 0.5) / 2**_BITS


def normal(uniform_NK: Tensor) -> Tensor:
    """Return draws of mean 0 and standard deviation 1 out of even ones, 5.3 at most."""
    return torch.erfinv(2 * uniform_NK - 1) * 2**0.5


def _mix(x: Tensor) -> Tensor:
    """Return splitmix64 of each number (Steele, Lea and Flood 2014)."""
    x = x + _STEP
    for shift, factor in zip(_SHIFTS, (*_FACTORS, 1), strict=True):
        # the shift of int64 drags the sign along; the mask drops it
        x = (x ^ ((x >> shift) & (2 ** (64 - shift) - 1))) * factor
    return x
