"""A mosaic of a zone is what its law says, however it came about."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmearth_infer.errors import StoreError
from mmearth_infer.jobs import mosaic
from mmearth_infer.jobs.mosaic import Merged, begin_zone, merge_part, merge_zone
from mmearth_infer.jobs.zones import Zone, zones_of
from mmearth_infer.write import layout
from mmearth_infer.write.encode import DTYPES
from mmearth_infer.write.open_store import open_store
from tests.helpers.digest import digest
from tests.helpers.killing import left_in
from tests.helpers.zones import Made, by_the_law, raw, scene_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmearth_infer.write.encode import DtypeChoice

SCENES = (
    Made(row=0, col=0, height=6, width=7, seed=1),
    Made(row=2, col=2, height=7, width=5, seed=2),
    Made(row=1, col=5, height=6, width=6, seed=3),
)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    """Chunks of 4 x 4 cells, and panels of two; nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        patched.setattr(layout, "MOST_CHUNK_CELLS", 4)
        patched.setattr(mosaic, "PANEL_BYTES", 2 * 3 * 4 * 4 * 4)
        yield


def stores(folder: Path, scenes: Sequence[Made] = SCENES) -> list[Path]:
    """Write stores of scenes, those that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number, made in enumerate(scenes):
        path = folder / f"s{number}.zarr"
        found.append(path if path.exists() else scene_store(path, made))
    return found


def zone_of(folder: Path, scenes: Sequence[Made] = SCENES) -> Zone:
    (zone,) = zones_of(stores(folder / "scenes", scenes), folder)
    return zone


def whole(folder: Path, scenes: Sequence[Made] = SCENES) -> Zone:
    """A zone whose mosaic is there."""
    zone = zone_of(folder, scenes)
    merge_zone(zone)
    return zone


small = st.builds(
    Made,
    row=st.integers(0, 14),
    col=st.integers(0, 14),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 3),
)


@given(scenes=st.lists(small, min_size=1, max_size=4), dtype=st.sampled_from(DTYPES))
@settings(max_examples=10, deadline=None)
def test_a_mosaic_is_what_the_law_says(
    tmp_path_factory: pytest.TempPathFactory, scenes: list[Made], dtype: DtypeChoice
) -> None:
    """A cell is that of the scene with the greatest share of valid pixels there, of
    equal ones the first; values, share and scale are those of its store, bit for bit.
    """
    folder = tmp_path_factory.mktemp("zone")
    of_dtype = [Made(**{**vars(made), "dtype": dtype}) for made in scenes]
    zone = zone_of(folder, of_dtype)
    merged = merge_zone(zone)
    nodata = -128 if "int8" in dtype else np.nan
    expected = by_the_law([raw(path) for path in zone.stores], nodata)
    raw(zone.out).equals(expected)
    assert merged == Merged(
        scenes=len(scenes),
        cells=expected.valid.size,
        valid_cells=int((expected.valid > 0).sum()),
        complete=False,
    )


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    """Nor how much is held at once: the mosaics have the same bytes."""
    one = whole(tmp_path / "one")
    folder = tmp_path / "two" / "scenes"
    folder.mkdir(parents=True)
    for number in (2, 0, 1):
        scene_store(folder / f"s{number}.zarr", SCENES[number])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mosaic, "PANEL_BYTES", 2**20)
        two = whole(tmp_path / "two")
    assert digest(one.out) == digest(two.out)


def test_the_order_of_the_job_decides_between_equals(tmp_path: Path) -> None:
    paths = stores(tmp_path / "scenes")
    (there,), (back,) = (
        zones_of(order, tmp_path / name)
        for order, name in ((paths, "there"), (paths[::-1], "back"))
    )
    for zone in (there, back):
        merge_zone(zone)
        raw(zone.out).equals(by_the_law([raw(p) for p in zone.stores], np.nan))
    assert digest(there.out) != digest(back.out)


_KILLED = """
import os, signal, sys
from pathlib import Path
from mmearth_infer.jobs import mosaic
from mmearth_infer.jobs.zones import zones_of
from mmearth_infer.write import layout
layout.MOST_CHUNK_CELLS, mosaic.PANEL_BYTES = 4, 384
left, folder = int(sys.argv[1]), Path(sys.argv[2])
def fsync(handle):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
(zone,) = zones_of(sorted((folder / "scenes").glob("*.zarr")), folder)
mosaic.merge_zone(zone)
"""


def test_killed_and_resumed_is_the_same_mosaic(tmp_path: Path) -> None:
    """Wherever the kill comes: while it is begun, within a strip, or at the end."""
    expected = digest(whole(tmp_path / "whole").out)
    stores(tmp_path / "scenes")
    codes = []
    for syncs in (20, 50, 10, 40, 10_000):
        ran = subprocess.run(
            [sys.executable, "-c", _KILLED, str(syncs), str(tmp_path)], check=False
        )
        codes.append(ran.returncode)
    assert codes == [-signal.SIGKILL] * 4 + [0]
    assert digest(tmp_path / "zone-32632.zarr") == expected
    assert left_in(tmp_path) == ["scenes", "whole", "zone-32632.zarr"]


@pytest.mark.parametrize("order", [(2, 0, 1), (1,)])
@pytest.mark.parametrize("over_another", [False, True])
def test_parts_in_any_order_are_the_same_mosaic(
    tmp_path: Path, order: tuple[int, ...], *, over_another: bool
) -> None:
    """What parts have not done the whole does, in place of another mosaic, too."""
    if over_another:
        merge_zone(zone_of(tmp_path, SCENES[:1]))
    zone = zone_of(tmp_path)
    rows = begin_zone(zone, parts=3)
    assert len(rows) == 3
    for number in order:
        merge_part(zone, rows[number])
    assert not merge_zone(zone).complete
    assert digest(zone.out) == digest(whole(tmp_path / "whole").out)
    assert begin_zone(zone, parts=3) == ()


def test_what_is_written_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = digest(whole(tmp_path / "whole").out)
    zone, told = zone_of(tmp_path), []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_zone(zone, tell=stop)
    assert not zone.out.exists()
    computed = []
    really = mosaic._owners

    def counted(piece, *more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202
        computed.append(piece.window)
        return really(piece, *more)

    monkeypatch.setattr(mosaic, "_owners", counted)
    assert not merge_zone(zone, tell=lambda *said: told.append(said)).complete
    total = told[0][1]
    assert told == [(n, total) for n in (*range(1, 4), *range(1, total + 1))]
    assert len(computed) == total - 3 > 0
    assert digest(zone.out) == expected
    again = merge_zone(zone)
    assert again.complete
    assert len(computed) == total - 3
    assert again.valid_cells == int((raw(zone.out).valid > 0).sum())


def test_a_scene_that_comes_later_makes_it_anew(tmp_path: Path) -> None:
    """The mosaic without it stays until then; what was begun without it goes."""
    without = whole(tmp_path, SCENES[:2])
    old = digest(without.out)
    zone = zone_of(tmp_path)
    assert zone.out == without.out

    def stop(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_zone(zone, tell=stop)
    assert digest(zone.out) == old
    others = zone_of(tmp_path, SCENES[1:])
    assert others.stores != zone.stores
    with pytest.raises(KeyboardInterrupt):
        merge_zone(others, tell=stop)
    assert not merge_zone(zone).complete
    assert digest(zone.out) == digest(whole(tmp_path / "other").out)
    assert left_in(tmp_path) == ["other", "scenes", "zone-32632.zarr"]


def test_a_store_that_was_made_anew_makes_it_anew(tmp_path: Path) -> None:
    """Though it says of its making what the old one said."""
    zone = whole(tmp_path)
    changed = scene_store(zone.stores[1], Made(**{**vars(SCENES[1]), "seed": 9}))
    later = zone.out.stat().st_mtime_ns + 10**9
    os.utime(changed / "zarr.json", ns=(later, later))
    (again,) = zones_of(zone.stores, tmp_path)
    assert again.provenance == zone.provenance
    assert not merge_zone(again).complete
    raw(zone.out).equals(by_the_law([raw(p) for p in zone.stores], np.nan))


def test_a_kill_between_two_renames_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old mosaic had stepped aside, and the new one had not taken its name."""
    without = whole(tmp_path, SCENES[:2])
    zone = zone_of(tmp_path)
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith((".partial", ".replaced")):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_zone(zone)
    assert not without.out.exists()
    assert not merge_zone(zone).complete
    raw(zone.out).equals(by_the_law([raw(p) for p in zone.stores], np.nan))
    assert left_in(tmp_path) == ["scenes", "zone-32632.zarr"]


def test_two_runs_do_not_write_one_mosaic(tmp_path: Path) -> None:
    zone = zone_of(tmp_path)

    def second(done: int, _: int) -> None:
        if done == 2:
            with pytest.raises(StoreError, match="another run is writing"):
                merge_zone(zone)
            with pytest.raises(StoreError, match="another run is writing"):
                merge_zone(zone_of(tmp_path, SCENES[:2]))

    merge_zone(zone, tell=second)
    raw(zone.out).equals(by_the_law([raw(p) for p in zone.stores], np.nan))


def test_what_is_not_a_mosaic_is_not_replaced(tmp_path: Path) -> None:
    zone = zone_of(tmp_path)
    zone.out.mkdir()
    (zone.out / "mine").write_text("")
    with pytest.raises(StoreError, match="is not a store made by mmearth"):
        merge_zone(zone)
    assert left_in(zone.out) == ["mine"]


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    zone = zone_of(tmp_path)
    chunk = zone.stores[1] / "embedding" / "c" / "0" / "0" / "0"
    chunk.write_bytes(b"x")
    with pytest.raises(StoreError, match=r"s1\.zarr` is damaged"):
        merge_zone(zone)


def test_what_no_scene_reaches_takes_neither_memory_nor_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two scenes, 600 km apart both ways, each in a chunk of its own."""
    monkeypatch.setattr(layout, "MOST_CHUNK_CELLS", 64)
    far = Made(row=3750, col=3750, seed=2)
    zone = zone_of(tmp_path, [Made(), far])
    assert (zone.box.height, zone.box.width) == (3755, 3756)
    told: list[tuple[int, int]] = []
    merge_zone(zone, tell=lambda *said: told.append(said))
    assert told == [(1, 2), (2, 2)]
    for array, count in (("embedding/c/0", 3), ("quality/valid", 3)):
        files = [
            path
            for path in (zone.out / array).rglob("*")
            if path.is_file() and not path.name.startswith(".z")
        ]
        assert 2 <= len(files) <= count, array
    shutil.rmtree(zone.out)
    tracemalloc.start()
    try:
        merge_zone(zone)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    between = zone.box.pixels * 4
    assert most < between / 4


def test_a_mosaic_is_a_store(tmp_path: Path) -> None:
    """Where no scene reaches its share is NaN, where none has data 0."""
    scenes = (
        Made(acquired="2024-05-01T10:00:00Z", said=(("scene", "offset_dn", -1000),)),
        Made(
            row=7, col=7, seed=1, acquired="2023-01-01T10:00:00Z/2023-01-02T10:00:00Z"
        ),
    )
    zone = whole(tmp_path, scenes)
    store = open_store(zone.out)
    assert store.stage == 4
    assert store.stride_px == 16
    assert store.attributes["geoemb:source_data"] == ["s0", "s1"]
    scene, said = store.part("scene"), store.part("mosaic")
    assert scene["acquired"] == "2023-01-01T10:00:00Z/2024-05-01T10:00:00Z"
    assert scene["offset_dn"] == -1000
    assert "greatest share of valid pixels" in said["law"]
    assert [one["name"] for one in said["scenes"]] == ["s0", "s1"]
    assert len({one["digest"] for one in said["scenes"]}) == 2
    assert np.isnan(raw(zone.out).valid[0, -1])
    assert (raw(zone.out).valid == 0).any()
    unknown = zone_of(tmp_path / "unknown", [*scenes, Made(acquired=None)])
    assert unknown.provenance["scene"]["acquired"] is None
