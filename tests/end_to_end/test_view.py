"""From a scene to pictures, tables and descriptions, by the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine

from mmearth_infer.view.colours import RAMP
from tests.conftest import Ran
from tests.helpers.scenes import UTM, random_dn, write_scene
from tests.mmearth_infer.view.stores import Made, Map, features, write_store

Mmearth = Callable[..., Ran]


@pytest.fixture
def demo(tmp_path: Path, mmearth: Mmearth) -> Path:
    """The store of the built-in scene, 64 x 64 cells, the lower right ones empty."""
    out = tmp_path / "demo.zarr"
    assert mmearth("embed", "demo", "-o", out, "-q").code == 0
    return out


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        read: np.ndarray = file.read()
    return read


def check_two_lines(ran: Ran, message: str, hint: str) -> None:
    """Exit 1, `error: ...`, `hint: ...`, and not a line more."""
    assert ran.code == 1
    assert ran.stdout == ""
    first, second = ran.stderr.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert second.startswith("hint: ")
    assert hint in second


def test_a_picture_of_the_demo(demo: Path, tmp_path: Path, mmearth: Mmearth) -> None:
    out = tmp_path / "pca.png"
    ran = mmearth("view", demo, "-o", out, "--json")
    assert ran.code == 0, ran.stderr
    assert ran.report["picture"] == str(out)
    assert (ran.report["height_px"], ran.report["width_px"]) == (64, 64)
    assert len(ran.report["explained"]) == 3
    rgba = pixels(out)
    seen = rgba[3] == 255
    assert 0.9 < seen.mean() < 1
    for band in rgba[:3]:
        assert band[seen].std() > 30
        assert band[seen].min() == 0
        assert band[seen].max() == 255
    quiet = mmearth("view", demo, "-o", tmp_path / "pca.tif", "-q")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "", "")
    np.testing.assert_array_equal(pixels(tmp_path / "pca.tif"), rgba)


def test_neighbouring_scenes_match(
    tmp_path: Path, echo_model: Path, mmearth: Mmearth
) -> None:
    """Two scenes that share 20 columns of cells, drawn with one basis: the same colours
    where they overlap; each with its own basis: others.
    """
    dn = random_dn(height=480, width=960)
    for name, first, last in (("west", 0, 640), ("east", 320, 960)):
        scene = write_scene(
            tmp_path / f"{name}.tif",
            dn[:, :, first:last],
            transform=UTM @ Affine.translation(first, 0),
        )
        store = tmp_path / f"{name}.zarr"
        assert mmearth("embed", scene, "-o", store, "--model", echo_model).code == 0

    def draw(name: str, *options: object) -> np.ndarray:
        out = tmp_path / f"{name}.png"
        ran = mmearth(
            "view", tmp_path / f"{name}.zarr", "-o", out, "--overwrite", *options
        )
        assert ran.code == 0, ran.stderr
        return pixels(out)

    basis = tmp_path / "basis.json"
    west = draw("west", "--save-basis", basis)
    east = draw("east", "--basis", basis)
    assert np.abs(west[:, :, 20:].astype(int) - east[:, :, :20]).max() <= 1
    alone = draw("east")
    assert np.abs(west[:, :, 20:].astype(int) - alone[:, :, :20]).mean() > 10


def test_a_basis_of_another_model(demo: Path, tmp_path: Path, mmearth: Mmearth) -> None:
    store = write_store(tmp_path / "s.zarr", Map(features_Dhw=features(64)))
    basis = tmp_path / "b.json"
    saved = mmearth("view", demo, "-o", tmp_path / "a.png", "--save-basis", basis)
    assert saved.code == 0
    ran = mmearth("view", store, "-o", tmp_path / "b.png", "--basis", basis)
    check_two_lines(ran, "is a basis of model `untrained-demo`", "--save-basis")
    assert not (tmp_path / "b.png").exists()


def test_likeness_to_a_place(demo: Path, tmp_path: Path, mmearth: Mmearth) -> None:
    """The cell itself has the last colour; by either kind of coordinates."""
    x, y = 500_000 + 160 * 10.5, 5_400_000 - 160 * 20.5
    ran = mmearth(
        "view", demo, "-o", tmp_path / "a.png", "--similar-to", f"{x},{y}", "--json"
    )
    assert ran.code == 0, ran.stderr
    assert ran.report["shown"] == "similarity"
    assert -1 <= ran.report["low"] < ran.report["high"] <= 1
    rgba = pixels(tmp_path / "a.png")
    np.testing.assert_array_equal(rgba[:3, 20, 10], RAMP[-1])
    colours = {tuple(colour) for colour in RAMP.tolist()}
    seen = rgba[:3, rgba[3] > 0].T
    assert {tuple(colour) for colour in seen.tolist()} <= colours
    with rasterio.open(tmp_path / "a.png") as file:
        lon, lat = rasterio.warp.transform(file.crs, "EPSG:4326", [x], [y])
    place = f"{lon[0]},{lat[0]}"
    again = mmearth(
        *("view", demo, "-o", tmp_path / "b.png", "--similar-to", place, "--lonlat")
    )
    assert again.code == 0, again.stderr
    np.testing.assert_array_equal(pixels(tmp_path / "b.png"), rgba)


def test_places_without_an_embedding(
    demo: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    out = tmp_path / "a.png"
    ran = mmearth("view", demo, "-o", out, "--similar-to", "9.1,48.7")
    check_two_lines(ran, "lies outside", "--lonlat takes longitude, latitude")
    ran = mmearth("view", demo, "-o", out, "--similar-to", "510200,5389800")
    check_two_lines(ran, "holds no data", "another place")
    assert not out.exists()


def test_every_output_is_refused_if_it_is_there(
    demo: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    """And replaced when asked; a folder never is."""
    commands = [
        ("view", demo, "-o", tmp_path / "o.png"),
        ("cog", demo, "-o", tmp_path / "o.tif", "--channels", "1-2,4"),
        ("pool", demo, "-o", tmp_path / "o.parquet", "--window", 224),
        ("stac", demo),
    ]
    for command in commands:
        assert mmearth(*command).code == 0
        check_two_lines(mmearth(*command), "exists already", "--overwrite")
        assert mmearth(*command, "--overwrite").code == 0
    (tmp_path / "folder.png").mkdir()
    ran = mmearth("view", demo, "-o", tmp_path / "folder.png", "--overwrite")
    check_two_lines(ran, "is not a file made by mmearth", "another -o")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "command",
    [
        ("view", "-o", "o.png"),
        ("cog", "-o", "o.tif"),
        ("pool", "-o", "o.parquet", "--window", 16),
        ("stac",),
    ],
    ids=lambda command: command[0],
)
def test_stores_that_cannot_be_used(
    command: tuple[object, ...],
    tmp_path: Path,
    mmearth: Mmearth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *options = command
    ran = mmearth(name, "none.zarr", *options)
    check_two_lines(ran, "is not a store made by mmearth", "mmearth embed")
    write_store(Path("s.zarr"), Map(features_Dhw=features()), made=Made(complete=False))
    ran = mmearth(name, "s.zarr", *options)
    check_two_lines(ran, "is not complete", "--resume")
    assert [path.name for path in tmp_path.iterdir()] == ["s.zarr"]


def test_places_that_cannot_be_written(
    demo: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    """Below a file."""
    (tmp_path / "file").touch()
    for command in (
        ("view", demo, "-o", tmp_path / "file" / "o.png"),
        ("cog", demo, "-o", tmp_path / "file" / "o.tif"),
        ("pool", demo, "-o", tmp_path / "file" / "o.parquet", "--window", 224),
    ):
        check_two_lines(mmearth(*command), "cannot write", "another place")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--similar-to", "here"), "`here` is not X,Y"),
        (("--lonlat",), "goes with --similar-to"),
        (("--similar-to", "1,2", "--basis", "b.json"), "takes no basis"),
        (("--basis", "b.json", "--save-basis", "c.json"), "exclude each other"),
        (("--max-px", 0), "--max-px"),
        (("--stage", 5), "--stage"),
    ],
)
def test_flags_that_cannot_be(
    flags: tuple[object, ...], message: str, mmearth: Mmearth
) -> None:
    ran = mmearth("view", "s.zarr", "-o", "o.png", *flags)
    assert ran.code == 2
    assert message in ran.stderr


@pytest.mark.parametrize("channels", ["", "x", "3-1", "1,1", "-2"])
def test_lists_of_channels_that_cannot_be(channels: str, mmearth: Mmearth) -> None:
    ran = mmearth("cog", "s.zarr", "-o", "o.tif", "--channels", channels)
    assert ran.code == 2
    assert "is not a list such as 1-16,20" in ran.stderr


def test_a_stage_that_is_not_there(
    demo: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    ran = mmearth("view", demo, "-o", tmp_path / "o.png", "--stage", 2)
    check_two_lines(ran, "does not hold stage 2", "it holds stage 4")


def test_a_table_and_an_item_of_the_demo(
    demo: Path, tmp_path: Path, mmearth: Mmearth
) -> None:
    """Both read by other people's libraries, at the same place."""
    out = tmp_path / "v.parquet"
    pooled = mmearth("pool", demo, "-o", out, "--window", 224, "--json")
    assert pooled.code == 0, pooled.stderr
    table = geopandas.read_parquet(out)
    assert len(table) == pooled.report["rows"]
    assert len(table.embedding[0]) == 64
    described = mmearth("stac", demo, "--datetime", "2024-05-01T10:32:45Z", "--json")
    assert described.report == {"item": str(tmp_path / "demo.json")}
    item = pystac.Item.from_file(tmp_path / "demo.json")
    assert item.datetime is not None
    west, south, east, north = item.bbox or []
    left, bottom, right, top = table.to_crs(4326).total_bounds
    assert west <= left + 1e-6
    assert south <= bottom + 1e-6
    assert right <= east + 1e-6
    assert top <= north + 1e-6


def test_a_store_with_a_scale_for_each_cell(
    tmp_path: Path, mmearth: Mmearth, echo_model: Path
) -> None:
    """As `embed` writes it: a COG of it holds floats, a picture is drawn."""
    scene = write_scene(tmp_path / "s.tif", random_dn(height=160, width=160))
    store, out = tmp_path / "s.zarr", tmp_path / "o.tif"
    kept = ("--dtype", "int8-pixel", "--layout", "sharded")
    ran = mmearth("embed", scene, "-o", store, "--model", echo_model, *kept)
    assert ran.code == 0, ran.stderr
    done = mmearth("cog", store, "-o", out, "--json")
    assert done.report["dtype"] == "float32"
    blocks = random_dn(height=160, width=160).reshape(12, 10, 16, 10, 16).mean((2, 4))
    off = np.abs(pixels(out) - blocks)
    assert (off <= blocks.max(axis=0) / 127 / 2 * 1.001).all()
    assert mmearth("view", store, "-o", tmp_path / "o.png").code == 0


@pytest.mark.parametrize(
    ("limit_bytes", "command"),
    [
        (3_000, ("view", "-o", "o.png")),
        (100_000, ("cog", "-o", "o.tif")),
        (3_000, ("pool", "-o", "o.parquet", "--window", "16")),
        (300, ("stac",)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_limit_on_file_sizes(
    limit_bytes: int, command: tuple[str, ...], demo: Path
) -> None:
    """Where the system refuses a file in the middle, nothing is left of it."""
    name, *options = command
    program = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes},) * 2); "
        "from mmearth_infer.cli.main import cli; "
        f"cli({[name, demo.name, *options]})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=demo.parent,
    )
    assert done.returncode == 1
    lines = [s for s in done.stderr.splitlines() if not s.startswith("_tiff")]  # GDAL's
    assert lines[0].startswith("error: cannot write `")
    assert lines[1].startswith("hint: free space")
    assert len(lines) == 2
    assert list(demo.parent.iterdir()) == [demo]
