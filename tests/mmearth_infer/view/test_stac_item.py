"""The item beside a store is valid STAC, and says where, when and what."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.crs import CRS
from rasterio.warp import transform

from mmearth_infer.contract.acquired import LAUNCH
from mmearth_infer.errors import StoreError
from mmearth_infer.grid.footprint import footprint
from mmearth_infer.grid.geobox import GeoBox
from mmearth_infer.view.acquired import acquired, stac_time
from mmearth_infer.view.stac_item import EXTENSIONS, write_item
from tests.mmearth_infer.view.stores import SCALE, Made, Map, features, write_store

EMB_FIELDS = {"emb:runtime_parameters", "emb:quantization"}
"""Of the fields that the embedding extension v0.0.1 allows in an item, ours."""

PRODUCT = "S2B_MSIL2A_20240501T103245_N0510_R108_T33UUP_20240501T134433.SAFE"


def made_item(path: Path, **options: Any) -> dict[str, Any]:  # noqa: ANN401
    item: dict[str, Any] = json.loads(write_item(path, **options).read_text())
    return item


def check(item: dict[str, Any]) -> None:
    """Hold an item against pystac's own schemas, and what extensions allow.

    The schemas of the extensions are not part of pystac: that of embeddings refers to
    STAC 1.0.0, knows two of our fields and allows none in assets.
    """
    assert item["stac_version"] == "1.0.0"
    newer = pystac.Item.from_dict(item).to_dict(transform_hrefs=False)
    JsonSchemaSTACValidator().validate_core(
        newer, pystac.STACObjectType.ITEM, newer["stac_version"]
    )
    assert item["stac_extensions"] == list(EXTENSIONS)
    properties, assets = item["properties"], item["assets"]
    assert {key for key in properties if key.startswith("emb:")} <= EMB_FIELDS
    assert not any(key.startswith("emb:") for asset in assets.values() for key in asset)
    assert "embeddings" in assets
    said = properties.get("emb:quantization", {"method": "", "original_dtype": ""})
    known = {"method", "original_dtype", "quantized_dtype", "scale", "offset", "link"}
    assert {"method", "original_dtype"} <= set(said) <= known
    for part in (properties, *assets.values()):
        assert len(part["proj:shape"]) == 2
        assert len(part["proj:transform"]) == 6
        assert len(part["proj:bbox"]) == 4
    assert isinstance(properties["processing:level"], str)
    assert all(isinstance(v, str) for v in properties["processing:software"].values())


def test_an_item(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=features()))
    assert write_item(path) == tmp_path / "s.json"
    item = json.loads((tmp_path / "s.json").read_text())
    check(item)
    assert item["id"] == "s"
    said = item["properties"]
    assert said["proj:code"] == "EPSG:32633"
    assert said["proj:shape"] == [7, 9]
    assert said["proj:transform"] == [160, 0, 600_000, 0, -160, 5_300_000]
    assert said["gsd"] == 160
    asset = item["assets"]["embeddings"]
    assert asset["href"] == "./s.zarr"
    assert asset["type"] == "application/vnd.zarr; version=3"
    assert (asset["data_type"], asset["nodata"]) == ("float32", "nan")
    (stage,) = said["emb:runtime_parameters"]["stages"]
    assert (stage["stage"], stage["dimensions"], stage["stride_px"]) == (4, 5, 16)
    assert said["emb:runtime_parameters"]["model"]["name"] == "made-up"
    (link,) = item["links"]
    assert link["rel"] == "emb:model"
    assert link["href"] == "urn:sha256:" + "a" * 64


@pytest.mark.parametrize("dtype", ["int8", "int8-pixel", "float16"])
def test_stages_and_quantisation(dtype: Any, tmp_path: Path) -> None:  # noqa: ANN401
    path = write_store(
        tmp_path / "s.zarr",
        Map(features_Dhw=features(3, 14, 18), stage=2, stride_px=8),
        Map(features_Dhw=features(), stage=4),
        made=Made(dtype=dtype),
    )
    item = made_item(path)
    check(item)
    deepest, finer = item["assets"]["embeddings"], item["assets"]["embeddings-stage2"]
    assert deepest["href"] == "./s.zarr/stage4"
    assert finer["href"] == "./s.zarr/stage2"
    assert finer["proj:shape"] == [14, 18]
    assert finer["gsd"] == 80
    said = item["properties"].get("emb:quantization", {})
    assert said.get("scale") == ([SCALE] if dtype == "int8" else None)
    assert bool(said) == (dtype != "float16")
    assert deepest["nodata"] == ("nan" if dtype == "float16" else -128)


def test_a_crs_without_a_code(tmp_path: Path) -> None:
    made = Made(crs="+proj=laea +lat_0=51 +lon_0=11 +datum=WGS84 +units=m")
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=features()), made=made)
    item = made_item(path)
    check(item)
    assert item["properties"]["proj:code"] is None
    assert CRS.from_wkt(item["properties"]["proj:wkt2"]) == CRS.from_string(made.crs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (PRODUCT, ["2024-05-01T10:32:45Z"]),
        ("L2A_T33UUP_A037419_20240501T103245.jp2", ["2024-05-01T10:32:45Z"]),
        ("T33UUP_20240501T103245_B02_10m.jp2", ["2024-05-01T10:32:45Z"]),
        ("S2B_33UUP_20240501_0_L2A", ["2024-05-01T00:00:00Z", "2024-05-01T23:59:59Z"]),
        ("S2B_33UUP_20249999_0_L2A", ["2015-06-23T01:52:00Z", "2024-06-01T00:00:00Z"]),
        ("field.tif", ["2015-06-23T01:52:00Z", "2024-06-01T00:00:00Z"]),
    ],
)
def test_when_a_scene_was_taken(name: str, expected: list[str], tmp_path: Path) -> None:
    """By its name; else before the store was made, and after the launch."""
    made = Made(scene={"name": name})
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=features()), made=made)
    finished = datetime(2024, 6, 1, tzinfo=UTC).timestamp()
    os.utime(path / "zarr.json", (finished, finished))
    item = made_item(path)
    check(item)
    said = item["properties"]
    if len(expected) == 1:
        assert said["datetime"] == expected[0]
        assert "start_datetime" not in said
    else:
        assert said["datetime"] is None
        assert [said["start_datetime"], said["end_datetime"]] == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("2024-05-01T10:32:45.024Z", "2024-05-01T10:32:45.024Z"),
        ("2024-05-01T10:00:00Z/2024-05-02T10:00:00Z", "2024-05-02T10:00:00Z"),
        ("yesterday", "2024-05-01T10:32:45Z"),
        (None, "2024-05-01T10:32:45Z"),
    ],
)
def test_what_the_scene_said_precedes_its_name(told: str | None, expected: str) -> None:
    scene = {"name": PRODUCT, "acquired": told, "acquired_evidence": "its metadata"}
    found = acquired(scene, said=None, latest=lambda: LAUNCH)
    said = stac_time(found)
    assert said.get("end_datetime", said["datetime"]) == expected
    named = expected == "2024-05-01T10:32:45Z"
    assert found.evidence == ("the scene's name" if named else "its metadata")


@pytest.mark.parametrize(
    ("said", "start", "end"),
    [
        ("2024-05-01T10:32:45Z", "2024-05-01T10:32:45Z", None),
        ("2024-05-01T12:32:45+02:00", "2024-05-01T10:32:45Z", None),
        ("2024-05-01/2024-05-03T06:00", "2024-05-01T00:00:00Z", "2024-05-03T06:00:00Z"),
    ],
)
def test_the_user_knows_better(said: str, start: str, end: str | None) -> None:
    found = stac_time(acquired({"name": PRODUCT}, said=said, latest=lambda: LAUNCH))
    assert found.get("start_datetime", found["datetime"]) == start
    assert found.get("end_datetime") == end


@pytest.mark.parametrize("said", ["yesterday", "2024-05-03/2024-05-01", "", "/"])
def test_times_that_are_none(said: str) -> None:
    with pytest.raises(StoreError, match=r"is not a time|ends before") as caught:
        acquired({"name": "s.tif"}, said=said, latest=lambda: LAUNCH)
    assert "--datetime" in str(caught.value.hint)


@given(
    zone=st.integers(1, 60),
    south=st.booleans(),
    x=st.integers(200_000, 700_000),
    y=st.integers(1_000_000, 8_000_000),
    size=st.integers(1, 700),
)
def test_a_footprint_holds_the_middle_of_its_grid(
    zone: int,
    south: bool,  # noqa: FBT001 -- hypothesis passes it by name
    x: int,
    y: int,
    size: int,
) -> None:
    """In every zone, also where one crosses the antimeridian; rings are closed."""
    crs = CRS.from_epsg((32700 if south else 32600) + zone)
    box = GeoBox(
        crs=crs, transform=Affine(160, 0, x, 0, -160, y), height=size, width=size
    )
    geometry, (west, low, east, high) = footprint(box)
    parts = geometry["coordinates"]
    rings = [part[0] for part in ([parts] if geometry["type"] == "Polygon" else parts)]
    for ring in rings:
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        lons = [lon for lon, _ in ring]
        assert max(lons) - min(lons) < 180
        assert signed_area(ring) > 0
    assert (west > east) == (len(rings) == 2)
    middle = box.transform @ (size / 2, size / 2)
    (lon,), (lat,) = transform(crs, "EPSG:4326", [middle[0]], [middle[1]])
    assert low < lat < high
    assert west <= lon <= east or (west > east and (lon >= west or lon <= east))


def signed_area(ring: list[list[float]]) -> float:
    """Positive for a ring that goes counterclockwise."""
    points = np.array(ring)
    x, y = points[:-1].T
    next_x, next_y = points[1:].T
    return float((x * next_y - next_x * y).sum() / 2)


def test_a_scene_on_the_antimeridian() -> None:
    """Fiji, zone 60: two polygons that meet at 180 degrees."""
    box = GeoBox(
        crs=CRS.from_epsg(32760),
        transform=Affine(160, 0, 780_000, 0, -160, 8_100_000),
        height=686,
        width=686,
    )
    geometry, (west, _, east, _) = footprint(box)
    assert geometry["type"] == "MultiPolygon"
    first, second = (part[0] for part in geometry["coordinates"])
    assert max(lon for lon, _ in first) == 180
    assert min(lon for lon, _ in second) == -180
    assert west > 179
    assert east < -179


def test_an_output_that_exists(tmp_path: Path) -> None:
    path = write_store(tmp_path / "s.zarr", Map(features_Dhw=features()))
    (tmp_path / "s.json").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        write_item(path)
    assert (tmp_path / "s.json").read_text() == "mine"
    write_item(path, overwrite=True)
    assert json.loads((tmp_path / "s.json").read_text())["type"] == "Feature"
