"""Where and when to sample: so many samples an ecoregion, a year and a level each.

Source: MMEarth paper, appendix A.1. Ecoregions and biomes are those of RESOLVE
Ecoregions 2017. Arrays have one axis, N samples.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np

from mmearth_infer.errors import DataError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

AREAS_OF_BIOMES: Final = "total_area_biome.json"
"""Biome to its area in km2."""

AREAS_OF_ECOREGIONS: Final = "total_area_eco_region.json"
"""Ecoregion to its area in km2."""

MEMBERS_OF_BIOMES: Final = "biome_names.json"
"""Biome to its ecoregions, each a pair of its name and its realm."""

NO_BIOME: Final = "N/A"
"""What the members of no biome stand under: `Rock and Ice`, which has no area."""

YEARS: Final = (2017, 2018, 2019, 2020)
"""Years a scene is drawn from."""

FIRST_YEAR_OF_L2A: Final = 2019
"""First full year of L2A everywhere; outside Europe it begins in December 2018."""

_AREA_RTOL: Final = 1e-6  # the published tables agree to 1e-15
_HINT: Final = "take all three tables from one release of MMEarth-data"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaTables:
    """The land that is sampled: every ecoregion in one biome, with its area."""

    biome: Mapping[str, str]
    """Biome of each ecoregion."""

    area_km2: Mapping[str, float]
    """Area of each ecoregion; that of a biome is the sum over its ecoregions."""

    def __post_init__(self) -> None:
        """Refuse ecoregions without a biome or an area, and areas that cannot be."""
        unmatched = sorted(self.biome.keys() ^ self.area_km2.keys())
        if unmatched:
            missing = "area" if unmatched[0] in self.biome else "biome"
            raise DataError(
                f"{len(unmatched)} ecoregions stand in one table only; "
                f"`{unmatched[0]}` has no {missing}",
                hint=_HINT,
            )
        if not self.biome:
            raise DataError("the tables hold no ecoregion", hint=_HINT)
        for name, area_km2 in self.area_km2.items():
            if not (math.isfinite(area_km2) and area_km2 > 0):
                raise DataError(f"the area of `{name}` is {area_km2:g} km2", hint=_HINT)


def read_area_tables(folder: Path) -> AreaTables:
    """Read the three tables of areas and membership, and check them with each other.

    What stands under the biome `N/A` is left out: in the published tables that is
    `Rock and Ice` alone, which has no area. The area of each biome has to be the sum
    over its ecoregions, to a millionth.

    Args:
        folder: Where the tables lie under their published names.

    Raises:
        DataError: If a table is missing or malformed, names a thing twice, or does
            not match the others.

    """
    members = _read(folder / MEMBERS_OF_BIOMES, dict[str, list[tuple[str, str]]])
    pairs = [
        (name, biome)
        for biome, ecoregions in members.items()
        for name, _realm in ecoregions
        if biome != NO_BIOME
    ]
    _refuse_twice((name for name, _ in pairs), folder / MEMBERS_OF_BIOMES)
    tables = AreaTables(
        biome=dict(pairs),
        area_km2=_read(folder / AREAS_OF_ECOREGIONS, dict[str, float]),
    )
    stated_km2 = _read(folder / AREAS_OF_BIOMES, dict[str, float])
    summed_km2 = {biome: math.fsum(a.values()) for biome, a in _areas(tables).items()}
    for biome in sorted(stated_km2 | summed_km2):
        stated, summed = stated_km2.get(biome, 0.0), summed_km2.get(biome, 0.0)
        if not math.isclose(stated, summed, rel_tol=_AREA_RTOL):
            raise DataError(
                f"the area of `{biome}` is {stated:g} km2 in `{AREAS_OF_BIOMES}`, "
                f"but {summed:g} km2 summed over its ecoregions",
                hint=_HINT,
            )
    return tables


def samples_per_ecoregion(tables: AreaTables, total: int) -> Mapping[str, int]:
    """Share samples equally between biomes, and inside a biome by area.

    The share of an ecoregion is `N_e = (N_t / B) * (A_e / A_biome)`, a fraction. Each
    count is its share rounded down or up such that

    * `sum(counts.values()) == total`;
    * `abs(counts[e] - N_e) < 1` for every ecoregion, and the sum over a biome is
      within 1 of `N_t / B`;
    * a larger ecoregion never gets less than a smaller one of its biome;
    * the order of the tables does not matter.

    Largest remainders are rounded up, first over the biomes, then inside each; equal
    ones in the order of their names. A larger total may take a sample away from an
    ecoregion, as this method is known for.

    Args:
        tables: Ecoregions, their biomes and areas.
        total: Samples in all, at least 1.

    Returns:
        Samples of each ecoregion, by name; 0 for one whose share is too small.

    Raises:
        RecipeError: If `total` is not positive.

    """
    if total < 1:
        raise RecipeError(
            f"`{total}` samples cannot be shared out", hint="ask for 1 sample or more"
        )
    areas = _areas(tables)
    share = Fraction(total, len(areas))
    of_biomes = _round_to_total(dict.fromkeys(areas, share), total)
    counts: dict[str, int] = {}
    for biome, area_km2 in areas.items():
        exact = {name: Fraction(value) for name, value in area_km2.items()}
        whole = sum(exact.values())
        shares = {name: share * value / whole for name, value in exact.items()}
        counts |= _round_to_total(shares, of_biomes[biome])
    return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """When each sample is taken, and in which product of Sentinel-2."""

    years: NDArray[np.int64]
    """Year of the scene of each sample, `(N,)`."""

    is_l2a: NDArray[np.bool_]
    """Whether L2A is taken, `(N,)`; L1C otherwise."""


def since_2019(year_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say that L2A exists from its first full year on, wherever the sample lies."""
    return year_N >= FIRST_YEAR_OF_L2A


def draw_visits(
    count: int,
    *,
    seed: int,
    has_l2a: Callable[[NDArray[np.int64]], NDArray[np.bool_]] = since_2019,
) -> Visits:
    """Draw a year of `YEARS`, and L1C or L2A, with equal odds for each sample.

    The first n of `draw_visits(m)` are `draw_visits(n)` for every n <= m, and
    `has_l2a` changes no year.

    Args:
        count: Samples.
        seed: Equal seeds give equal draws.
        has_l2a: From the years of all samples, in their order, whether each has L2A;
            L1C is taken where not. Close over positions to tell Europe apart.

    """
    years, levels = np.random.default_rng(seed).spawn(2)
    year_N = np.asarray(YEARS)[(years.random(count) * len(YEARS)).astype(np.int64)]
    wanted_N = levels.random(count) < 1 / 2
    return Visits(years=year_N, is_l2a=wanted_N & has_l2a(year_N))


def _areas(tables: AreaTables) -> dict[str, dict[str, float]]:
    """Return the areas of the ecoregions, biome by biome."""
    areas: dict[str, dict[str, float]] = {}
    for name, biome in tables.biome.items():
        areas.setdefault(biome, {})[name] = tables.area_km2[name]
    return areas


def _round_to_total(shares: Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Round each share down or up so that they sum to `total`, within 1 of their sum.

    Fractions make ties exact, which floats do not. A whole share is never rounded up:
    there are at least as many others as samples left over.
    """
    counts = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: (counts[name] - shares[name], name))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _read(path: Path, kind: type[_T]) -> _T:
    """Read one table, and refuse a name that stands in it twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_twice((name for name, _ in pairs), path)
        return dict(pairs)

    try:
        plain = json.loads(path.read_text("utf-8"), object_pairs_hook=unique)
        return msgspec.convert(plain, kind)
    except OSError as error:
        raise DataError(
            f"cannot read `{path}`: {error.strerror}", hint=_HINT
        ) from error
    except (ValueError, msgspec.ValidationError) as error:
        raise DataError(
            f"`{path}` is no table of its kind: {error}", hint=_HINT
        ) from error


def _refuse_twice(names: Iterable[str], path: Path) -> None:
    name, times = next(iter(Counter(names).most_common(1)), ("", 0))
    if times > 1:
        raise DataError(f"`{name}` stands {times} times in `{path}`", hint=_HINT)
