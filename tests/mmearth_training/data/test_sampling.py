"""Sampling of locations: the laws of the counts, and the published tables."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import DataError, RecipeError
from mmearth_training.data.sampling import (
    AREAS_OF_BIOMES,
    AREAS_OF_ECOREGIONS,
    MEMBERS_OF_BIOMES,
    YEARS,
    AreaTables,
    draw_visits,
    read_area_tables,
    samples_per_ecoregion,
)
from tests.helpers.data import DATA, needs_data

HINT = "take all three tables from one release of MMEarth-data"
areas = st.floats(0.1, 1e7) | st.sampled_from([1.0, 2.0, 3.0])
some_tables = st.lists(
    st.lists(areas, min_size=1, max_size=6), min_size=1, max_size=14
).map(
    lambda biomes: AreaTables(
        biome={
            f"{b}.{e}": str(b) for b, of in enumerate(biomes) for e in range(len(of))
        },
        area_km2={
            f"{b}.{e}": km2 for b, of in enumerate(biomes) for e, km2 in enumerate(of)
        },
    )
)
totals = st.integers(1, 50) | st.integers(1, 2_000_000)


def of_biomes(tables: AreaTables, values: Mapping[str, float]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for name, biome in tables.biome.items():
        sums[biome] += values[name]
    return sums


def shares(tables: AreaTables, total: int) -> dict[str, float]:
    """The equation of the paper, word by word, in floats."""
    area_km2 = of_biomes(tables, tables.area_km2)
    return {
        name: total / len(area_km2) * (tables.area_km2[name] / area_km2[biome])
        for name, biome in tables.biome.items()
    }


def check_laws(tables: AreaTables, total: int) -> Mapping[str, int]:
    counts = samples_per_ecoregion(tables, total)
    assert sum(counts.values()) == total
    slack = 1 + 1e-9 * total
    for name, share in shares(tables, total).items():
        assert abs(counts[name] - share) < slack
    biomes = of_biomes(tables, counts)
    for count in biomes.values():
        assert abs(count - total / len(biomes)) < 1
    return counts


@given(some_tables, totals)
def test_counts_sum_to_the_total_within_1_of_their_shares(
    tables: AreaTables, total: int
) -> None:
    """`sum(counts.values()) == total` and `abs(counts[e] - N_e) < 1`."""
    check_laws(tables, total)


@given(some_tables, totals)
def test_a_larger_ecoregion_never_gets_less(tables: AreaTables, total: int) -> None:
    counts = samples_per_ecoregion(tables, total)
    in_order = sorted(
        counts, key=lambda e: (tables.biome[e], tables.area_km2[e], counts[e])
    )
    for smaller, larger in pairwise(in_order):
        if tables.biome[smaller] == tables.biome[larger]:
            assert counts[smaller] <= counts[larger]


@given(some_tables, totals, st.randoms(use_true_random=False))
def test_the_order_of_the_tables_does_not_matter(
    tables: AreaTables, total: int, random: Random
) -> None:
    names = list(tables.biome)
    random.shuffle(names)
    shuffled = AreaTables(
        biome={name: tables.biome[name] for name in names},
        area_km2={name: tables.area_km2[name] for name in reversed(names)},
    )
    assert samples_per_ecoregion(shuffled, total) == samples_per_ecoregion(
        tables, total
    )


def test_ties_go_to_the_first_names() -> None:
    """7 samples, 2 biomes: 4 to `x`, 3 to `y`; halves and thirds by name."""
    tables = AreaTables(
        biome={"d": "y", "c": "y", "b": "x", "a": "x", "e": "y"},
        area_km2=dict.fromkeys("abcde", 1.0),
    )
    assert samples_per_ecoregion(tables, 7) == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1}
    assert samples_per_ecoregion(tables, 3) == {"a": 1, "b": 1, "c": 1, "d": 0, "e": 0}


def test_a_count_stays_within_1_of_its_share_where_the_biome_is_rounded_up() -> None:
    """5 samples over 4 biomes, 2 to `w`: sharing those 2 anew would give `a` both,
    1.05 more than its share of 0.95.
    """
    tables = AreaTables(
        biome={"a": "w", "b": "w", "c": "x", "d": "y", "e": "z"},
        area_km2={"a": 76.0, "b": 24.0, "c": 1.0, "d": 1.0, "e": 1.0},
    )
    assert set(samples_per_ecoregion(tables, 5).values()) == {1}


def test_no_samples_are_refused() -> None:
    tables = AreaTables(biome={"a": "x"}, area_km2={"a": 1.0})
    with pytest.raises(RecipeError, match="`0` samples cannot be shared") as caught:
        samples_per_ecoregion(tables, 0)
    assert caught.value.hint == "ask for 1 sample or more"


@needs_data
@pytest.mark.parametrize("total", [1, 13, 14, 100_000, 1_239_937])
def test_the_laws_on_the_published_tables(total: int) -> None:
    check_laws(read_area_tables(DATA), total)


@needs_data
def test_the_published_tables() -> None:
    """846 ecoregions in 14 biomes; `Rock and Ice` has neither biome nor area."""
    tables = read_area_tables(DATA)
    assert len(tables.biome) == 846
    assert len(set(tables.biome.values())) == 14
    assert "Rock and Ice" not in tables.biome
    assert math.isclose(sum(tables.area_km2.values()), 132_246_280, rel_tol=1e-7)


@needs_data
def test_a_million_samples() -> None:
    """1e6 / 14 * 3900117.8 / 15316577.6 = 18188.2; 22 small islands and such get 0."""
    counts = samples_per_ecoregion(read_area_tables(DATA), 1_000_000)
    assert counts["East Siberian taiga"] == 18_188
    assert sum(not count for count in counts.values()) == 22


def write_tables(folder: Path, **changes: object) -> Path:
    """Two biomes of three ecoregions, and what has no biome, as published."""
    plain = {
        "members": {
            "Tundra": [["a", "Nearctic"], ["b", "Antarctica"]],
            "Mangroves": [["c", "Oceania"]],
            "N/A": [["Rock and Ice", "N/A"]],
        },
        "ecoregions": {"a": 1, "b": 2.5, "c": 4},
        "biomes": {"Tundra": 3.5, "Mangroves": 4.0},
    } | changes
    for part, name in (
        ("members", MEMBERS_OF_BIOMES),
        ("ecoregions", AREAS_OF_ECOREGIONS),
        ("biomes", AREAS_OF_BIOMES),
    ):
        table = plain[part]
        text = table if isinstance(table, str) else json.dumps(table)
        (folder / name).write_text(text)
    return folder


def test_tables_are_read(tmp_path: Path) -> None:
    assert read_area_tables(write_tables(tmp_path)) == AreaTables(
        biome={"a": "Tundra", "b": "Tundra", "c": "Mangroves"},
        area_km2={"a": 1.0, "b": 2.5, "c": 4.0},
    )


@pytest.mark.parametrize(
    ("part", "table", "message"),
    [
        ("ecoregions", {"a": 1, "b": 2.5}, "`c` has no area"),
        ("ecoregions", {"a": 1, "b": 2.5, "c": 4, "d": 1}, "`d` has no biome"),
        (
            "ecoregions",
            {"a": 1, "b": 2.5, "c": 4, "Rock and Ice": 1},
            "`Rock and Ice` has no biome",
        ),
        ("ecoregions", {"a": 1, "b": 2.5, "c": 0}, "area of `c` is 0 km2"),
        ("ecoregions", {"a": 1, "b": 2.5, "c": -4}, "area of `c` is -4 km2"),
        ("ecoregions", '{"a": 1, "b": 2.5, "c": NaN}', "area of `c` is nan km2"),
        ("ecoregions", '{"a": 1, "a": 2}', "`a` stands 2 times in"),
        ("ecoregions", {"a": "1"}, "is no table of its kind: Expected `float`"),
        ("ecoregions", "[", "is no table of its kind: Expecting value"),
        ("biomes", {"Tundra": 3.5}, "`Mangroves` is 0 km2 in .* but 4 km2 summed"),
        (
            "biomes",
            {"Tundra": 3.5, "Mangroves": 5},
            "`Mangroves` is 5 km2 in .* but 4 km2 summed",
        ),
        (
            "biomes",
            {"Tundra": 3.5, "Mangroves": 4, "Taiga": 2},
            "`Taiga` is 2 km2 in .* but 0 km2 summed",
        ),
        (
            "members",
            {"Tundra": [["a", ""], ["b", ""]], "Mangroves": [["c", ""], ["a", ""]]},
            "`a` stands 2 times in",
        ),
        ("members", {"Tundra": ["a"]}, "is no table of its kind: Expected `array`"),
        ("members", {}, "`a` has no biome"),
    ],
)
def test_tables_that_do_not_match_are_refused(
    tmp_path: Path, part: str, table: object, message: str
) -> None:
    write_tables(tmp_path, **{part: table})
    with pytest.raises(DataError, match=message) as caught:
        read_area_tables(tmp_path)
    assert caught.value.hint == HINT


def test_empty_tables_are_refused(tmp_path: Path) -> None:
    write_tables(tmp_path, members={}, ecoregions={}, biomes={})
    with pytest.raises(DataError, match="hold no ecoregion") as caught:
        read_area_tables(tmp_path)
    assert caught.value.hint == HINT


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read `.*biome_names\.json`") as caught:
        read_area_tables(tmp_path)
    assert caught.value.hint == HINT


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32))
def test_the_first_visits_do_not_depend_on_the_count(
    few: int, more: int, seed: int
) -> None:
    """The first n of `draw_visits(m)` are `draw_visits(n)` for every n <= m."""
    short = draw_visits(few, seed=seed)
    long = draw_visits(few + more, seed=seed)
    np.testing.assert_array_equal(short.years, long.years[:few])
    np.testing.assert_array_equal(short.is_l2a, long.is_l2a[:few])


def test_visits() -> None:
    """Each year a quarter; L2A for half of those that have it, and no other."""
    visits = draw_visits(40_000, seed=0)
    counts = Counter(visits.years.tolist())
    assert sorted(counts) == list(YEARS)
    assert all(abs(count - 10_000) < 500 for count in counts.values())
    assert not visits.is_l2a[visits.years < 2019].any()
    assert 0.48 < visits.is_l2a[visits.years >= 2019].mean() < 0.52

    everywhere = draw_visits(40_000, seed=0, has_l2a=lambda year_N: year_N > 0)
    np.testing.assert_array_equal(everywhere.years, visits.years)
    assert 0.48 < everywhere.is_l2a.mean() < 0.52
    assert (draw_visits(40_000, seed=1).years != visits.years).any()
