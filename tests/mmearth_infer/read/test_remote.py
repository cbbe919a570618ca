"""Scenes behind an address, tried on a server on this machine, and VRTs."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rasterio.shutil import copy

from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.errors import SceneError
from mmearth_infer.grid.window import Window
from mmearth_infer.read import fetch
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.read.raster import HTTP_SETTINGS, gdal_path, shown
from mmearth_infer.read.source import open_source
from tests.helpers.safe import padded, small_bands, write_folder, write_item
from tests.helpers.scenes import random_dn, write_scene

AUTO = SceneOptions()
WINDOW = Window(row=200, col=100, height=50, width=60)


class Server(ThreadingHTTPServer):
    """Serves a folder with range requests, and counts bytes."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.sent = self.busy = 0
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.server.asked.append(self.path)
        if self.server.busy:
            self.server.busy -= 1
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        file = self.server.folder / self.path.partition("?")[0].lstrip("/")
        if not file.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        data = file.read_bytes()
        total = len(data)
        wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first, last = int(wanted[1]), int(wanted[2] or total - 1)
            data = data[first : last + 1]
            self.send_response(HTTPStatus.PARTIAL_CONTENT)
            self.send_header(
                "Content-Range", f"bytes {first}-{first + len(data) - 1}/{total}"
            )
        else:
            self.send_response(HTTPStatus.OK)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)
            self.server.sent += len(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not wait; that the environment comes first is used, and so tested."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def cog(tmp_path: Path) -> Path:
    """Return a cloud-optimised GeoTIFF of 12 MB, in a folder of its own."""
    plain = write_scene(tmp_path / "plain.tif", random_dn(height=768, width=768))
    folder = tmp_path / "www"
    folder.mkdir()
    copy(plain, folder / "scene.tif", driver="COG", BLOCKSIZE="128", OVERVIEWS="NONE")
    return folder / "scene.tif"


def test_a_cog_behind_an_address_is_read_in_parts(cog: Path) -> None:
    """The same pixels as from the disk; what is not needed stays on the server."""
    with open_source(str(cog), options=AUTO, wanted=["B2"]) as source:
        expected = source.read(WINDOW)
    options = SceneOptions(offset="none")
    with serving(cog.parent) as server:
        address = f"{server.address}/scene.tif?sig=secret"
        with open_source(address, options=options, wanted=["B2"]) as source:
            np.testing.assert_array_equal(source.read(WINDOW), expected)
            assert source.scene.name == "scene.tif"
        assert 0 < server.sent < cog.stat().st_size
        assert all(path.startswith("/scene.tif?sig") for path in server.asked)


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_an_address_without_a_scene(cog: Path, prefix: str) -> None:
    """Neither the message nor the hint shows what follows `?`."""
    with serving(cog.parent) as server:
        address = f"{prefix}{server.address}/gone.tif?sig=secret"
        with (
            pytest.raises(
                SceneError, match=r"cannot open `.*gone.tif`: .*404"
            ) as error,
            open_source(address, options=AUTO, wanted=None),
        ):
            pass
    assert "check the address" in str(error.value.hint)
    assert "secret" not in f"{error.value} {error.value.hint}"


def test_a_server_that_goes_away(cog: Path) -> None:
    """A clear error at the window that could not be read."""
    with serving(cog.parent) as server:
        stack = open_source(
            f"{server.address}/scene.tif", options=AUTO, wanted=MMEARTH_BANDS
        )
        source = stack.__enter__()
    elsewhere = Window(row=640, col=256, height=100, width=100)
    try:
        with pytest.raises(SceneError, match="cannot read rows 640 to 740 of") as error:
            source.read(elsewhere)
    finally:
        stack.__exit__(None, None, None)
    assert "whether the server is still there" in str(error.value.hint)
    assert "\n" not in str(error.value)


def test_no_server_at_all() -> None:
    with serving(Path()) as server:
        address = server.address
    for scene in (f"{address}/scene.tif", f"{address}/item.json"):
        with (
            pytest.raises(SceneError, match=r"cannot (open|read) `http") as error,
            open_source(scene, options=AUTO, wanted=None),
        ):
            pass
        assert "connection" in str(error.value.hint)


def test_an_item_behind_an_address(tmp_path: Path) -> None:
    """Its relative hrefs are beside it; it cannot name files of this machine."""
    bands = small_bands()
    folder = write_folder(tmp_path / "bands", bands)
    hrefs = {name: f"bands/{padded(name)}.tif" for name in bands}
    local = write_item(tmp_path / "item.json", hrefs)
    window = Window(row=0, col=0, height=72, width=72)
    with open_source(str(local), options=AUTO, wanted=MMEARTH_BANDS) as source:
        expected = source.read(window)
    write_item(tmp_path / "sly.json", {"B2": str(folder / "B02.tif")})
    write_item(tmp_path / "slyer.json", {"B2": f"/vsizip/{folder}/B02.tif"})
    write_item(tmp_path / "slyest.json", {"B2": (folder / "B02.tif").as_uri()})
    with serving(tmp_path) as server:
        with open_source(
            f"{server.address}/item.json?token=t", options=AUTO, wanted=MMEARTH_BANDS
        ) as source:
            np.testing.assert_array_equal(source.read(window), expected)
        for name in ("slyer", "slyest"):
            with (
                pytest.raises(SceneError, match="which is not on the web"),
                open_source(f"{server.address}/{name}.json", options=AUTO, wanted=None),
            ):
                pass
        with (  # an absolute path is one of the server's
            pytest.raises(SceneError, match="cannot open `http"),
            open_source(f"{server.address}/sly.json", options=AUTO, wanted=None),
        ):
            pass


def test_a_server_that_is_busy_is_asked_again(
    cog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Item and pixels; after a few times it is an error that says so."""
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setattr(fetch, "PAUSES_S", (0.01, 0.01))
    options = SceneOptions(product="l2a")
    item = write_item(cog.parent / "item.json", {"B2": "B02.tif"})
    write_folder(cog.parent, {"B2": small_bands()["B2"]})
    with serving(cog.parent) as server:
        for name in (item.name, cog.name):
            server.busy = 2
            address = f"{server.address}/{name}"
            with open_source(address, options=options, wanted=["B2"]) as source:
                assert source.read(Window(row=30, col=30, height=9, width=9)).all()
        server.busy = 99
        with (
            pytest.raises(SceneError, match=r"cannot read `http.*Service Unavailable"),
            open_source(f"{server.address}/item.json", options=AUTO, wanted=None),
        ):
            pass


def test_what_gdal_calls_addresses() -> None:
    assert gdal_path("s3://bucket/a.tif") == "/vsis3/bucket/a.tif"
    assert gdal_path("https://x/a.tif") == "/vsicurl/https://x/a.tif"
    assert gdal_path("/vsis3/bucket/a.tif") == "/vsis3/bucket/a.tif"
    assert gdal_path("/data/a.tif") == "/data/a.tif"
    assert shown("s3://bucket/a.tif?x=1") == "s3://bucket/a.tif"
    assert shown("/data/what?.tif") == "/data/what?.tif"


def test_object_storage_is_asked_at_the_endpoint_of_the_environment(
    cog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`s3://bucket/key` through GDAL, with its own settings and no other library."""
    (cog.parent / "bucket").mkdir()
    cog.rename(cog.parent / "bucket" / "scene.tif")
    with serving(cog.parent) as server:
        for key, value in {
            "AWS_S3_ENDPOINT": server.address.removeprefix("http://"),
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_NO_SIGN_REQUEST": "YES",
        }.items():
            monkeypatch.setenv(key, value)
        with open_source(
            "s3://bucket/scene.tif", options=AUTO, wanted=["B2"]
        ) as source:
            assert source.read(WINDOW).shape == (1, 50, 60)
        assert server.sent > 0


def test_a_server_that_keeps_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing: given up on, here after a second."""
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setattr(fetch, "TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name in ("scene.tif", "item.json"):
            with (
                pytest.raises(SceneError, match=f"cannot (open|read) `{address}/"),
                open_source(f"{address}/{name}", options=AUTO, wanted=None),
            ):
                pass


def test_a_signed_address_is_the_same_scene_when_signed_again(cog: Path) -> None:
    found = []
    with serving(cog.parent) as server:
        for query in ("?sig=a", "?sig=b", "?id=1"):
            address = f"{server.address}/scene.tif{query}"
            with open_source(address, options=AUTO, wanted=["B2"]) as source:
                found.append(source.fingerprint)
    assert found[0] == found[1] != found[2]


def test_servers_are_not_waited_for_without_end() -> None:
    assert int(HTTP_SETTINGS["GDAL_HTTP_CONNECTTIMEOUT"]) <= 10
    assert int(HTTP_SETTINGS["GDAL_HTTP_LOW_SPEED_TIME"]) <= 30


def test_a_vrt_is_read_as_what_it_points_at(tmp_path: Path) -> None:
    """A VRT of one band each, and a plain copy of it, give the same pixels."""
    pixels = random_dn(height=300, width=200)
    scene = write_scene(tmp_path / "scene.tif", pixels)
    copy(scene, tmp_path / "scene.vrt", driver="VRT")
    with open_source(
        str(tmp_path / "scene.vrt"), options=AUTO, wanted=MMEARTH_BANDS
    ) as source:
        np.testing.assert_array_equal(
            source.read(WINDOW), pixels[(slice(None), *WINDOW.slices)]
        )
        before = source.fingerprint
    write_scene(tmp_path / "scene.tif", pixels[:, ::-1])
    with open_source(
        str(tmp_path / "scene.vrt"), options=AUTO, wanted=MMEARTH_BANDS
    ) as source:
        assert source.fingerprint != before


def test_a_vrt_of_what_is_gone(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", random_dn())
    copy(scene, tmp_path / "scene.vrt", driver="VRT")
    scene.unlink()
    with (
        pytest.raises(SceneError, match=r"scene\.(vrt|tif)"),
        open_source(
            str(tmp_path / "scene.vrt"), options=AUTO, wanted=MMEARTH_BANDS
        ) as source,
    ):
        source.read(Window(row=0, col=0, height=64, width=64))
