"""Which scenes a job has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmearth_infer.errors import JobError
from mmearth_infer.jobs.job_file import ScenesTable
from mmearth_infer.jobs.scenes import default_name, find_scenes

if TYPE_CHECKING:
    from mmearth_infer.jobs.scenes import JobScene


def found(folder: Path, **table: Any) -> list[JobScene]:  # noqa: ANN401
    return list(find_scenes(ScenesTable(**table), folder))


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.tif", "b"),
        ("S2A_MSIL1C.SAFE", "S2A_MSIL1C"),
        ("folder.of.bands", "folder.of.bands"),
        ("https://host/x.tif?secret=1", "x"),
        ("items/one.json", "one"),
    ],
)
def test_default_names(source: str, name: str) -> None:
    assert default_name(source) == name


def test_patterns_find_scenes_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "with [brackets]"
    folder.mkdir()
    for name in ("b.tif", "a.tif", "c.txt"):
        (folder / name).touch()
    scenes = found(folder, globs=("*.tif",))
    assert [one.name for one in scenes] == ["a", "b"]
    assert scenes[0].source == str(folder / "a.tif")
    (absolute,) = found(tmp_path / "elsewhere", globs=(f"{tmp_path}/*/c.txt",))
    assert absolute.name == "c.txt"


def test_a_list_is_the_same_in_csv_and_parquet(tmp_path: Path) -> None:
    rows = [
        {"scene": "a.tif", "name": "one", "height_px": 5, "width_px": 7, "other": "x"},
        {"scene": "demo", "name": None, "height_px": None, "width_px": 7, "other": "y"},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "l.parquet")
    lines = ["scene,name,height_px,width_px,other", "a.tif,one,5,7,x", "demo,,,7,y"]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    scenes = found(tmp_path, list="l.csv")
    assert scenes == found(tmp_path, list="l.parquet")
    assert [one.name for one in scenes] == ["one", "demo"]
    assert [one.size_px for one in scenes] == [(5, 7), None]
    assert scenes[0].source == str(tmp_path / "a.tif")
    assert scenes[1].source == "demo"


def item(name: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    links = [{"rel": "self", "href": f"./items/{name}.json"}]
    return {"type": "Feature", "id": name, "links": links, "assets": {}, **more}


def test_items_of_a_search(tmp_path: Path) -> None:
    """Where they are by their links, how large by their finest asset."""
    assets = {"B02": {"proj:shape": [10, 20]}, "B01": {"proj:shape": [2, 4]}}
    said = {"type": "FeatureCollection", "features": [item("a", assets=assets)]}
    (tmp_path / "s.json").write_text(json.dumps(said))
    (one,) = found(tmp_path, stac="s.json")
    assert (one.name, one.size_px) == ("a", (10, 20))
    assert Path(one.source) == tmp_path / "items" / "a.json"


def test_items_of_a_catalogue(tmp_path: Path) -> None:
    """Those of catalogues within it, too; none is opened."""
    (tmp_path / "sub").mkdir()
    for path, links in (
        ("c.json", [{"rel": "child", "href": "./sub/c.json"}]),
        ("sub/c.json", [{"rel": "item", "href": "./x.json"}]),
    ):
        said = {"type": "Catalog", "id": path, "links": links}
        (tmp_path / path).write_text(json.dumps(said))
    (one,) = found(tmp_path, stac="c.json")
    assert one.name == "x"
    assert Path(one.source) == tmp_path / "sub" / "x.json"


def test_a_catalogue_that_holds_itself_is_refused(tmp_path: Path) -> None:
    links = [{"rel": "child", "href": "./c.json"}]
    said = {"type": "Catalog", "id": "c", "links": links}
    (tmp_path / "c.json").write_text(json.dumps(said))
    with pytest.raises(JobError, match="catalogue within another"):
        found(tmp_path, stac="c.json")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "the job has no scene"),
        ({"globs": ("*.nothing",)}, "finds no scene"),
        ({"list": "l.txt"}, "is no list"),
        ({"list": "none.csv"}, "cannot read the list"),
        ({"list": "twice.csv"}, "would both be `a`"),
        ({"list": "bad.csv"}, "is no name for the output"),
        ({"list": "column.csv"}, "row 1 of `column.csv`: .*`scene`"),
        ({"list": "size.csv"}, "row 1 of `size.csv`: 0 x 4 px is no size"),
        ({"list": "no.parquet"}, "is no Parquet file"),
        ({"stac": "item.json"}, "neither catalogue nor search result"),
        ({"stac": "homeless.json"}, "`h` of .* does not say where it is"),
        ({"stac": "twice.csv"}, "is no STAC"),
    ],
)
def test_what_is_refused(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    homeless = {"type": "FeatureCollection", "features": [item("h", links=[])]}
    for name, text in (
        ("twice.csv", "scene\nx/a.tif\ny/a.tif\n"),
        ("bad.csv", "scene,name\nx.tif,../out\n"),
        ("column.csv", "path\nx.tif\n"),
        ("size.csv", "scene,height_px,width_px\nx.tif,0,4\n"),
        ("no.parquet", "no"),
        ("item.json", json.dumps(item("a"))),
        ("homeless.json", json.dumps(homeless)),
    ):
        (tmp_path / name).write_text(text)
    with pytest.raises(JobError, match=message):
        found(tmp_path, **table)
