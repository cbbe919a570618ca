"""STAC items: where the bands are, and what is known of their offset."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read import bandfiles
from mmearth_infer.read.bandfile import open_band
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.source import open_source
from mmearth_infer.read.stac import is_item, stac_product
from mmearth_infer.seams import Scene
from tests.helpers.safe import padded, small_bands, write_band, write_folder, write_item
from tests.helpers.scenes import write_scene

AUTO = SceneOptions()
WANTED = ("B2", "B5", "B1")
WINDOW = Window(row=0, col=0, height=72, width=72)
COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/48/Q/UE/S2A_48QUE"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "bands", small_bands())


def hrefs_to(folder: str) -> dict[str, str]:
    return {name: f"{folder}/{padded(name)}.tif" for name in WANTED}


def read_item(path: Path, options: SceneOptions = AUTO) -> tuple[np.ndarray, Scene]:
    with open_source(str(path), options=options, wanted=WANTED) as source:
        return source.read(WINDOW), source.scene


def refused(path: Path, text: str | None = None) -> tuple[str, str]:
    if text is not None:
        path.write_text(text)
    with pytest.raises(SceneError) as error:
        read_item(path)
    assert error.value.hint
    return str(error.value), error.value.hint


def test_hrefs_are_seen_from_the_item(folder: Path, tmp_path: Path) -> None:
    """Relative, absolute, and as file addresses."""
    found = [
        read_item(write_item(tmp_path / "item.json", hrefs_to(start)))[0]
        for start in ("bands", "./bands", str(folder), folder.as_uri())
    ]
    for dn in found[1:]:
        np.testing.assert_array_equal(dn, found[0])


def test_it_reads_what_pystac_writes(folder: Path, tmp_path: Path) -> None:
    """The oracle: an item of the library that others write theirs with."""
    pystac = pytest.importorskip("pystac", reason="writes the item")
    hrefs = hrefs_to(str(folder))
    expected, _ = read_item(write_item(tmp_path / "a.json", hrefs))
    item = pystac.Item(
        id="S2A_48QUE_20200223_0_L2A",
        geometry={"type": "Point", "coordinates": [0, 0]},
        bbox=[0, 0, 0, 0],
        datetime=datetime(2020, 2, 23, tzinfo=UTC),
        properties={"s2:processing_baseline": "02.14"},
        collection="sentinel-2-l2a",
    )
    for name in WANTED:
        asset = pystac.Asset(f"./bands/{padded(name)}.tif", roles=["data"])
        item.add_asset(padded(name), asset)
    item.set_self_href(str(tmp_path / "item.json"))
    item.save_object(include_self_link=True)
    dn, scene = read_item(tmp_path / "item.json")
    np.testing.assert_array_equal(dn, expected)
    assert (scene.level, scene.offset_dn) == ("l2a", 0)
    assert scene.offset_evidence == "s2:processing_baseline=02.14".upper()


@pytest.mark.parametrize(
    ("asset", "name"),
    [
        ({"bands": [{"eo:common_name": "red"}]}, "B4"),
        ({"bands": [{"name": "B04"}]}, "B4"),
        ({"eo:bands": [{"name": "B8A", "common_name": "nir08"}]}, "B8A"),
    ],
)
def test_bands_by_the_lists_of_an_asset(
    asset: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """STAC 1.0 and 1.1; the asset's key may be anything."""
    path = write_item(tmp_path / "i.json", {})
    item = json.loads(path.read_text())
    item["assets"]["data-1"] = {"href": "x.tif", **asset}
    path.write_text(json.dumps(item))
    assert set(stac_product(str(path)).bands) == {name}


def test_of_several_assets_the_best_is_taken(tmp_path: Path) -> None:
    """The native resolution, then the key that names the band; never a picture."""
    path = write_item(tmp_path / "i.json", {})
    item = json.loads(path.read_text())
    red = {"eo:bands": [{"common_name": "red"}]}
    item["assets"] = {
        "visual": {"href": "tci.tif", "roles": ["visual"], **red},
        "preview": {"href": "p.tif", "eo:bands": [{"common_name": "red"}] * 3},
        "red-jp2": {"href": "B04.jp2", **red},
        "red": {"href": "B04.tif", **red},
        "B02_20m": {"href": "B02_20m.jp2", "gsd": 20},
        "B02_10m": {"href": "B02_10m.jp2", "gsd": 10},
        "B11_60m": {"href": "B11_60m.jp2"},
        "B11_20m": {"href": "B11_20m.jp2"},
        "SCL_20m": {"href": "SCL_20m.jp2"},
        "SCL_60m": {"href": "SCL_60m.jp2"},
        "thumbnail": {"href": "t.jpg", "roles": ["thumbnail"]},
    }
    path.write_text(json.dumps(item))
    product = stac_product(str(path))
    files = {name: Path(file.path).name for name, file in product.bands.items()}
    assert files == {"B4": "B04.tif", "B2": "B02_10m.jp2", "B11": "B11_20m.jp2"}
    assert product.scl is not None
    assert product.scl.path.endswith("SCL_20m.jp2")


def test_scene_classes_are_found(folder: Path, tmp_path: Path) -> None:
    scl = np.random.default_rng(1).integers(0, 12, (36, 36), dtype=np.uint8)
    write_band(folder / "SCL.tif", scl, **small_bands()["B5"][1])
    hrefs = {**hrefs_to("bands"), "SCL": "bands/SCL.tif"}
    path = write_item(tmp_path / "item.json", hrefs)
    with open_source(str(path), options=AUTO, wanted=WANTED) as source:
        np.testing.assert_array_equal(
            source.classes(WINDOW), scl.repeat(2, 0).repeat(2, 1)
        )


def test_a_file_with_several_bands(folder: Path, tmp_path: Path) -> None:
    """An asset may hold several bands, in the order of its list."""
    pixels = np.random.default_rng(0).integers(1, 999, (2, 72, 72), dtype=np.uint16)
    write_scene(folder / "two.tif", pixels, bands=None)
    path = write_item(tmp_path / "item.json", {})
    item = json.loads(path.read_text())
    names = [{"common_name": "green"}, {"common_name": "blue"}]
    item["assets"] = {"data": {"href": "bands/two.tif", "eo:bands": names}}
    path.write_text(json.dumps(item))
    with open_source(str(path), options=AUTO, wanted=["B2", "B3"]) as source:
        np.testing.assert_array_equal(source.read(WINDOW), pixels[::-1])
    item["assets"]["data"]["eo:bands"].append({"common_name": "red"})
    path.write_text(json.dumps(item))
    with (
        pytest.raises(SceneError, match=r"`two.tif` has 2 bands"),
        open_source(str(path), options=AUTO, wanted=["B4"]),
    ):
        pass


RASTER = {"scale": 0.0001, "offset": -0.1}


@pytest.mark.parametrize(
    ("href", "properties", "raster", "offset", "evidence"),
    [
        ("x", {"s2:processing_baseline": "05.09"}, None, -1000, "05.09"),
        ("x", {"s2:processing_baseline": "02.14"}, RASTER, 0, "02.14"),
        ("x", {"processing:version": "05.11"}, None, -1000, "05.11"),
        ("x", {}, RASTER, -1000, "band offsets are -1000"),
        (
            "x",
            {"s2:product_uri": "S2A_MSIL2A_20220223T033731_N0400_R061_T48QUE"},
            None,
            -1000,
            "N0400",
        ),
        (
            COGS,
            {
                "earthsearch:boa_offset_applied": True,
                "s2:processing_baseline": "05.09",
            },
            RASTER,
            0,
            "earthsearch:boa_offset_applied=true",
        ),
        (COGS, {"s2:processing_baseline": "05.09"}, RASTER, None, ""),
        (
            COGS,
            {
                "earthsearch:boa_offset_applied": False,
                "s2:processing_baseline": "05.09",
            },
            RASTER,
            None,
            "",
        ),
        (COGS, {"s2:processing_baseline": "02.14"}, RASTER, 0, "02.14"),
    ],
)
def test_what_an_item_says_of_the_offset(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    href: str,
    properties: dict[str, Any],
    raster: dict[str, float] | None,
    offset: int | None,
    evidence: str,
) -> None:
    """Where Element 84's items are not to be relied upon, the pixels are asked."""
    hrefs = {name: f"{href}/{padded(name)}.tif" for name in WANTED}
    item = write_item(tmp_path / "i.json", hrefs, properties=properties, raster=raster)

    def here(file: Any, **options: Any) -> Any:  # noqa: ANN401
        local = type(file)(
            path=f"{folder}/{file.path.rpartition('/')[2]}", offset_dn=file.offset_dn
        )
        return open_band(local, **options)

    monkeypatch.setattr(bandfiles, "open_band", here)
    _, scene = read_item(item)
    assert scene.offset_dn == (offset or 0)
    assert evidence in scene.offset_evidence
    if offset is None:
        assert "some pixels are darker than 1000" in scene.offset_evidence


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"collection": "sentinel-2-l1c"}, "l1c"),
        ({"collection": "sentinel-s2-l2a-cogs"}, "l2a"),
        ({"collection": None, "properties": {"processing:level": "L2A"}}, "l2a"),
        ({"collection": None, "properties": {"s2:product_type": "S2MSI1C"}}, "l1c"),
    ],
)
def test_what_an_item_says_of_the_level(
    folder: Path, tmp_path: Path, changes: dict[str, Any], level: str
) -> None:
    assert folder.is_dir()
    item = write_item(tmp_path / "i.json", hrefs_to("bands"), **changes)
    assert read_item(item)[1].level == level


class TestErrors:
    """Items that cannot be read."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "`.*` is no STAC item: Input data was truncated"),
            ("[]", "Expected `object`, got `array`"),
            ('{"id": "a", "assets": {"B02": {"href": 5}}}', "Expected `str`"),
            ("[" * 100_000, "is no STAC item"),
            ('{"id": "a", "assets": {}}', "no asset of .* is a band"),
        ],
    )
    def test_that_are_none(self, tmp_path: Path, text: str, message: str) -> None:
        assert re.search(message, refused(tmp_path / "i.json", text)[0])

    def test_without_usable_assets(self, tmp_path: Path) -> None:
        assets = {"thumbnail": {"href": "t.jpg"}, "metadata": {"href": "m.xml"}}
        text = json.dumps({"id": "a", "assets": assets})
        message, hint = refused(tmp_path / "i.json", text)
        assert "it has thumbnail, metadata" in message
        assert "an asset for every band" in hint

    def test_that_lack_a_band(self, folder: Path, tmp_path: Path) -> None:
        assert folder.is_dir()
        hrefs = hrefs_to("bands")
        del hrefs["B5"]
        message, hint = refused(write_item(tmp_path / "i.json", hrefs))
        assert "lacks B5" in message
        assert "common name" in hint

    def test_that_are_gone(self, tmp_path: Path) -> None:
        assert "there is no file" in refused(tmp_path / "i.json")[0]

    def test_whose_assets_are_gone(self, tmp_path: Path) -> None:
        message, _ = refused(write_item(tmp_path / "i.json", hrefs_to("gone")))
        assert "there is no file" in message

    def test_with_other_scales(self, folder: Path, tmp_path: Path) -> None:
        assert folder.is_dir()
        item = write_item(
            tmp_path / "i.json", hrefs_to("bands"), raster={"scale": 0.0002}
        )
        message, hint = refused(item)
        assert "reflectance 1 is 5000" in message
        assert "--scale 2" in hint


def test_what_is_taken_for_an_item() -> None:
    assert is_item("a/item.json")
    assert is_item("https://x.org/item.json?sig=secret")
    assert is_item("https://x.org/collections/s2/items/S2A_48QUE")
    assert not is_item("https://x.org/items/scene.tif")
    assert not is_item("scene.tif")
