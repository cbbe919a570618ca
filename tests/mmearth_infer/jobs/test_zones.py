"""Stores of scenes are told apart by their zones, and refused where they do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mmearth_infer.errors import JobError, StoreError
from mmearth_infer.grid.common import place_of
from mmearth_infer.jobs import zones as module
from mmearth_infer.jobs.zones import zones_of
from tests.helpers.zones import LEFT, TOP, Made, scene_store
from tests.mmearth_infer.view import stores

if TYPE_CHECKING:
    from pathlib import Path

THIRD = ("model", "manifest", {"outputs": [{"stage": 3, "stride_px": 16}]})


def write(folder: Path, *scenes: Made) -> list[Path]:
    return [
        scene_store(folder / f"s{number}.zarr", made)
        for number, made in enumerate(scenes)
    ]


def test_zones_are_crs_and_pixels(tmp_path: Path) -> None:
    """In the order of the job, within a zone and of zones; pixels of 10 m go unsaid."""
    scenes = (
        Made(epsg=32633),
        Made(row=2, col=8),
        Made(pixel_m=20),
        Made(row=-3, epsg=32633),
        Made(pixel_m=2.5),
    )
    paths = write(tmp_path, *scenes)
    found = zones_of(paths, tmp_path / "out")
    assert {zone.name: zone.stores for zone in found} == {
        "zone-32633": (paths[0], paths[3]),
        "zone-32632": (paths[1],),
        "zone-32632-20": (paths[2],),
        "zone-32632-2.5": (paths[4],),
    }
    first = found[0]
    assert first.out == tmp_path / "out" / "zone-32633.zarr"
    assert [(p.row, p.col) for p in first.places] == [(3, 0), (0, 0)]
    whole = place_of(first.box)
    assert whole is not None
    assert (whole.row, whole.col) == (TOP - 3, LEFT)
    assert (whole.height, whole.width) == (8, 6)
    assert first.box.transform.a == 160
    assert zones_of([], tmp_path) == ()


def test_a_crs_without_a_code_has_a_name(tmp_path: Path) -> None:
    """The same for the same CRS, another for another, and never that of a code."""
    names = set()
    for parallel in (47, 47, 48):
        crs = f"+proj=lcc +lat_1=46 +lat_2=49 +lat_0={parallel} +lon_0=13 +units=m"
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        stores.write_store(
            path,
            stores.Map(features_Dhw=stores.features()),
            made=stores.Made(crs=crs, transform=stores.CORNER),
        )
        (zone,) = zones_of([path], tmp_path)
        names.add(zone.name)
    assert len(names) == 2
    assert all(len(name) == len("zone-") + 12 for name in names)
    path = tmp_path / "esri.zarr"
    stores.write_store(
        path,
        stores.Map(features_Dhw=stores.features()),
        made=stores.Made(crs="ESRI:102008"),
    )
    (zone,) = zones_of([path], tmp_path)
    assert zone.name == "zone-esri-102008"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Made(said=(("model", "digest", "sha256:b"),)), 'it has model "sha256:b", not'),
        (Made(said=(("model", "stages", [3]), THIRD)), "it has stages [3], not [4]"),
        (Made(said=(("scene", "bands", ["B4"]),)), 'it has bands ["B4"], not ["B2", '),
        (
            Made(said=(("scene", "product_level", "l1c"),)),
            'it has product level "l1c", not "l2a"',
        ),
        (Made(channels=4), "it has channels 4, not 3"),
        (Made(dtype="int8"), 'it has encoding "int8", not "float32"'),
        (Made(dtype="int8-pixel"), 'it has encoding "int8-pixel", not "float32"'),
        (Made(said=(("tiling", "halo_px", 0),)), "it has tiling {"),
    ],
)
def test_what_cannot_be_joined(other: Made, message: str, tmp_path: Path) -> None:
    paths = write(tmp_path, Made(), other)
    with pytest.raises(JobError) as caught:
        zones_of(paths, tmp_path)
    assert f"`{paths[1]}` cannot be joined with `{paths[0]}`" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "jobs of their own" in (caught.value.hint or "")


def test_zones_may_differ(tmp_path: Path) -> None:
    """What is not joined need not be alike."""
    paths = write(tmp_path, Made(), Made(channels=4, epsg=32633))
    assert len(zones_of(paths, tmp_path)) == 2


def test_cells_that_begin_elsewhere(tmp_path: Path) -> None:
    """Such as those of a scene that was embedded from its own corner, or in degrees."""
    corner = stores.CORNER
    for crs, place in (
        ("EPSG:32633", corner @ corner.translation(3, 0)),
        ("EPSG:4326", corner.scale(1 / 64, -1 / 64)),
    ):
        path = tmp_path / f"{crs[5:]}.zarr"
        stores.write_store(
            path,
            stores.Map(features_Dhw=stores.features()),
            made=stores.Made(crs=crs, transform=place),
        )
        with pytest.raises(JobError, match="do not begin on the grid") as caught:
            zones_of([path], tmp_path)
        assert "embed the scene anew" in (caught.value.hint or "")


def test_what_is_further_than_the_earth_is_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory is asked for what lies between."""
    paths = write(tmp_path, Made(), Made(col=200))
    monkeypatch.setattr(module, "MOST_CELLS", 100)
    with pytest.raises(JobError, match="are 5 x 206 cells apart"):
        zones_of(paths, tmp_path)


def test_a_store_that_is_not_there_or_not_complete(tmp_path: Path) -> None:
    (path,) = write(tmp_path, Made())
    stores.mark(path, complete=False)
    with pytest.raises(StoreError, match="is not complete"):
        zones_of([path], tmp_path)
    with pytest.raises(StoreError, match="is not a store made by mmearth"):
        zones_of([tmp_path / "none.zarr"], tmp_path)


def test_cells_of_no_known_size(tmp_path: Path) -> None:
    (path,) = write(tmp_path, Made(said=(("model", "stages", [2]),)))
    with pytest.raises(JobError, match="does not say how many pixels its cells have"):
        zones_of([path], tmp_path)


def test_times_that_are_none_count_as_unknown(tmp_path: Path) -> None:
    (zone,) = zones_of(write(tmp_path, Made(acquired="yesterday")), tmp_path)
    assert zone.provenance["scene"]["acquired"] is None


def test_engines_that_differ_are_not_named(tmp_path: Path) -> None:
    """They move last bits, which is no reason to keep scenes apart."""
    other = Made(said=(("engine", "name", "other"),))
    (zone,) = zones_of(write(tmp_path, Made(), other), tmp_path)
    assert zone.provenance["engine"] == {"name": "several"}
