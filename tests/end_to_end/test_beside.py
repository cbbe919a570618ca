"""`mmearth embed --pool --stac`: files beside the store, or an error before the run."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest

from mmearth_infer.errors import StoreError
from tests.conftest import Ran
from tests.helpers.safe import small_bands, write_safe
from tests.helpers.scenes import random_dn, write_scene

Mmearth = Callable[..., Ran]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", random_dn(height=200, width=160))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_vector_a_window_and_an_item(
    scene: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """The files that `mmearth pool` and `mmearth stac` write, named by --json."""
    folder = scene.parent / "made"
    folder.mkdir()
    out = folder / "emb.zarr"
    args = [scene, "-o", out, "--model", echo_model, "--window", 96, "--halo", 16]
    ran = mmearth("embed", *args, "--pool", "window", "--stac", "--json", "-q")
    assert ran.code == 0, ran.stderr
    assert ran.report["table"] == str(folder / "emb.parquet")
    assert ran.report["item"] == str(folder / "emb.json")
    assert names(folder) == ["emb.json", "emb.parquet", "emb.zarr"]
    table = geopandas.read_parquet(folder / "emb.parquet")
    assert list(zip(table["row"], table["col"], strict=True)) == [
        (row, col) for row in range(3) for col in range(2)
    ]
    assert table.geometry[0].bounds[2] - table.geometry[0].bounds[0] == 960
    apart = mmearth("pool", out, "-o", folder / "other.parquet", "--window", 96)
    assert apart.code == 0
    other = geopandas.read_parquet(folder / "other.parquet")
    np.testing.assert_array_equal(
        np.stack(table["embedding"]), np.stack(other["embedding"])
    )
    item = pystac.Item.from_file(folder / "emb.json")
    assert item.assets["embeddings"].href == "./emb.zarr"


def test_nothing_is_beside_unless_asked(
    scene: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    out = scene.parent / "emb.zarr"
    ran = mmearth("embed", scene, "-o", out, "--model", echo_model, "--json", "-q")
    assert (ran.report["table"], ran.report["item"]) == (None, None)
    assert names(scene.parent) == ["emb.zarr", "scene.tif"]


def test_resumed_and_replaced(scene: Path, echo_model: Path, mmearth: Mmearth) -> None:
    """A complete store gets what is missing beside it; ours is replaced."""
    out, table = scene.parent / "emb.zarr", scene.parent / "v.parquet"
    args = ["embed", scene, "-o", out, "--model", echo_model]
    assert mmearth(*args).code == 0
    beside = ["--pool", 32, "--pool-to", table, "--stac"]
    ran = mmearth(*args, "--resume", *beside)
    assert ran.code == 0, ran.stderr
    assert f"beside it: {table}" in ran.stderr
    assert len(geopandas.read_parquet(table)) == 7 * 5
    refused = mmearth(*args[:3], scene.parent / "new.zarr", *beside)
    assert refused.code == 1
    assert f"`{table}` exists already" in refused.stderr
    assert mmearth(*args, "--overwrite", *beside).code == 0


def test_an_item_that_was_the_scene_is_never_replaced(
    scene: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    item = scene.parent / "emb.json"
    item.write_text(json.dumps({"type": "Feature", "properties": {}}))
    before = item.read_text()
    out = scene.parent / "emb.zarr"
    args = ["embed", scene, "-o", out, "--model", echo_model, "--stac", "--overwrite"]
    ran = mmearth(*args)
    assert ran.code == 1
    assert "is not a STAC item of a store made by mmearth" in ran.stderr
    assert item.read_text() == before
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pool", 100], "--pool 100 is not a multiple of a cell, 16 px"),
        (["--pool", 32, "--pool-to", "v.csv"], "`v.csv` does not end in .parquet"),
    ],
)
def test_refused_before_the_run(
    options: list[object],
    message: str,
    scene: Path,
    echo_model: Path,
    mmearth: Mmearth,
) -> None:
    out = scene.parent / "emb.zarr"
    ran = mmearth("embed", scene, "-o", out, "--model", echo_model, *options)
    assert ran.code == 1
    assert message in ran.stderr
    assert "hint: " in ran.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    "options", [["--pool", "tile"], ["--pool", "0"], ["--pool-to", "v.parquet"]]
)
def test_typed_wrongly(options: list[str], mmearth: Mmearth) -> None:
    assert mmearth("embed", "demo", "-o", "x.zarr", *options).code == 2


@pytest.mark.parametrize("what", ["pool", "write_item"])
def test_a_full_disk_leaves_the_store(
    what: str,
    scene: Path,
    echo_model: Path,
    mmearth: Mmearth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store is complete, and the hint says how to get the rest."""

    def full(*_args: object, **_options: object) -> None:
        raise StoreError("cannot write: no space left", hint="free space")

    monkeypatch.setattr(f"mmearth_infer.cli.beside.{what}", full)
    out = scene.parent / "emb.zarr"
    args = ["embed", scene, "-o", out, "--model", echo_model]
    ran = mmearth(*args, "--pool", 48, "--stac", "-q")
    assert ran.code == 1
    again = {
        "pool": f"mmearth pool {out} -o {scene.parent / 'emb.parquet'} --window 48",
        "write_item": f"mmearth stac {out}",
    }
    assert f"hint: free space; `{out}` is complete, `{again[what]}`" in ran.stderr
    assert mmearth("info", out).code == 0


def test_the_item_tells_when_the_product_was_taken(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """From the product's metadata through the store."""
    safe = write_safe(tmp_path, small_bands())
    out = tmp_path / "emb.zarr"
    ran = mmearth("embed", safe, "-o", out, "--model", echo_model, "--stac")
    assert ran.code == 0, ran.stderr
    told = mmearth("info", safe, "--json").report["acquired"]
    assert told.startswith("2020-02-23T03:37:31.024Z: PRODUCT_START_TIME=")
    properties = json.loads((tmp_path / "emb.json").read_text())["properties"]
    assert properties["datetime"] == "2020-02-23T03:37:31.024Z"
    evidence = properties["emb:runtime_parameters"]["datetime_evidence"]
    assert evidence.startswith("PRODUCT_START_TIME=")
