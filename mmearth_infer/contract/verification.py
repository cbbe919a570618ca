"""The report of the gate: a compiled model against eager PyTorch, as data."""

from __future__ import annotations

from dataclasses import dataclass

from mmearth_infer.contract.bands import ProductLevel  # noqa: TC001 -- msgspec reads it
from mmearth_infer.errors import ManifestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One output on one batch, compiled against the reference."""

    output: str
    """Name of the output."""

    level: ProductLevel
    """Product level whose statistics were used."""

    shape: tuple[int, ...]
    """Shape of the pixels, `(N, C, H, W)`."""

    max_relative: float
    """Largest difference over the largest value."""

    mean_relative: float
    """Mean difference over the mean value."""

    min_cosine: float
    """Smallest cosine similarity of a cell."""

    p1_cosine: float | None = None
    """Cosine similarity at the 1st percentile; None in files that are older."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the comparison at export found."""

    reference: str
    """What the model was compared with."""

    tolerance: float
    """Largest `max_relative` that passes."""

    compared: tuple[Compared, ...]
    """Every comparison, at least one."""

    def __post_init__(self) -> None:
        """Refuse a report of nothing.

        Raises:
            ManifestError: If nothing was compared.

        """
        if not self.compared:
            raise ManifestError("the manifest's verification compared nothing")

    @property
    def max_relative(self) -> float:
        """Largest difference of all, relative."""
        return max(row.max_relative for row in self.compared)
