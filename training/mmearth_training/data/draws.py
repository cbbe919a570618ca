"""What chance decides about a sample, and the order of samples: no state to keep.

Every choice comes from a generator of its own, seeded with what it is about: the seed
of the run, the epoch, the tile. So it depends neither on the number of workers and
processes nor on what was drawn before, and a resumed run draws what an uninterrupted
one would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ORDER: Final = 0
_SAMPLE: Final = 1
_HELD_OUT: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Names one look at one tile."""

    row: int
    """Row of the tile in its file."""

    epoch: int | None
    """Epoch of training, counted on where an epoch looks at a tile several times; None
    for validation, where it always looks the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a tile is looked at."""

    top_px: int
    """First row of the crop."""

    left_px: int
    """First column of the crop."""

    visible_V: NDArray[np.int64]
    """Patches the encoder sees, ascending."""


def draw_look(
    key: Key, *, seed: int, slack_px: int, patches: int, visible: int
) -> Look:
    """Draw the crop and the mask of a sample.

    Args:
        key: Which sample.
        seed: Seed of the run.
        slack_px: Pixels by which a tile is larger than a crop.
        patches: Patches of a crop.
        visible: How many of them the encoder sees.

    """
    stream = (_HELD_OUT, 0) if key.epoch is None else (_SAMPLE, key.epoch)
    rng = np.random.default_rng((seed, *stream, key.row))
    top, left = rng.integers(0, slack_px + 1, 2)
    return Look(
        top_px=int(top),
        left_px=int(left),
        visible_V=np.sort(rng.permutation(patches)[:visible]),
    )


def epoch_order(rows: Sequence[int], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the rows in the order of an epoch."""
    rng = np.random.default_rng((seed, _ORDER, epoch))
    return rng.permutation(np.asarray(rows, dtype=np.int64))
