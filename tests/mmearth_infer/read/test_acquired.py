"""When a scene was taken, by each delivery of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from mmearth_infer.contract.bands import L2A_BANDS
from mmearth_infer.read.acquired import find_acquired
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source, open_sources
from mmearth_infer.seams import Scene
from tests.helpers.safe import (
    padded,
    small_bands,
    write_band,
    write_folder,
    write_item,
    write_safe,
    zip_safe,
)
from tests.helpers.scenes import random_dn, write_scene

STATED = "2020-02-23T03:37:31.024Z"
"""In the metadata of `write_safe`."""


def said(*scenes: object) -> Scene:
    with open_sources(
        [str(scene) for scene in scenes], options=SceneOptions(), wanted=L2A_BANDS
    ) as source:
        return source.scene


def test_products_say_it_in_their_metadata(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, small_bands())
    for product in (safe, zip_safe(safe)):
        scene = said(product)
        assert str(scene.acquired) == STATED
        assert scene.acquired is not None
        assert scene.acquired.evidence == f"PRODUCT_START_TIME={STATED}"


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"datetime": "2020-02-23T03:48:59.5+01:00"}, "2020-02-23T02:48:59.500Z"),
        (
            {
                "datetime": None,
                "start_datetime": "2020-02-23T03:00:00Z",
                "end_datetime": "2020-02-23T04:00:00Z",
            },
            "2020-02-23T03:00:00Z/2020-02-23T04:00:00Z",
        ),
        ({}, "2020-02-23T00:00:00Z/2020-02-23T23:59:59Z"),  # by the day in its id
        ({"datetime": 3}, "2020-02-23T00:00:00Z/2020-02-23T23:59:59Z"),
        (
            {"datetime": "1970-01-01T00:00:00Z"},
            "2020-02-23T00:00:00Z/2020-02-23T23:59:59Z",
        ),
    ],
)
def test_items_say_it_in_their_properties(
    properties: Mapping[str, object], expected: str, tmp_path: Path
) -> None:
    bands = small_bands()
    write_folder(tmp_path, bands)
    item = write_item(
        tmp_path / "item.json",
        {name: f"{padded(name)}.tif" for name in bands},
        properties=properties,
    )
    assert str(said(item).acquired) == expected


def test_folders_say_it_in_their_names(tmp_path: Path) -> None:
    bands = small_bands()
    for band, (pixels, place) in bands.items():
        name = f"T48QUE_20200223T033731_{padded(band)}.jp2"
        write_band(tmp_path / "a" / name, pixels, **place)
    assert str(said(tmp_path / "a").acquired) == "2020-02-23T03:37:31Z"
    gee = write_folder(tmp_path / "20200604T054639_20200604T054831_T43RCP", bands)
    assert str(said(gee).acquired) == "2020-06-04T05:46:39Z"
    assert said(write_folder(tmp_path / "mine", bands)).acquired is None


def test_rasters_say_it_in_their_tags(tmp_path: Path) -> None:
    """As `gdal_translate` of a product keeps them; TIFF's own time is of the file."""
    tags = {"PRODUCT_START_TIME": STATED, "TIFFTAG_DATETIME": "2024:01:01 00:00:00"}
    assert str(said(write_scene(tmp_path / "a.tif", tags=tags)).acquired) == STATED
    tags.pop("PRODUCT_START_TIME")
    assert said(write_scene(tmp_path / "b.tif", tags=tags)).acquired is None
    assert said("demo").acquired is None


def test_a_mosaic_was_taken_from_its_first_scene_to_its_last(tmp_path: Path) -> None:
    names = ("T33UUP_20200223T033731.tif", "T33UUQ_20200220T033731.tif", "mine.tif")
    paths = [write_scene(tmp_path / name, random_dn()) for name in names]
    together = "2020-02-20T03:37:31Z/2020-02-23T03:37:31Z"
    assert str(said(*paths[:2]).acquired) == together
    assert said(*paths).acquired is None


@pytest.mark.parametrize(
    "tags",
    [
        {"PRODUCT_START_TIME": "soon"},
        {"PRODUCT_START_TIME": "2024-05-02", "PRODUCT_STOP_TIME": "2024-05-01"},
        {"datetime": "2014-05-02"},
        {"name": "T33UUP_20249999T990000"},
    ],
)
def test_what_cannot_be_tells_nothing(tags: dict[str, str]) -> None:
    assert find_acquired("s.tif", tags) is None


def test_a_part_of_a_scene_was_taken_when_the_scene_was(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, small_bands())
    options = SceneOptions(bbox=(600_000, 5_299_700, 600_300, 5_300_000))
    with open_source(str(safe), options=options, wanted=L2A_BANDS) as source:
        assert str(source.scene.acquired) == STATED
