"""What an object store is asked, and how it is said what it refuses."""

import contextlib
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

from mmearth_infer.errors import MissingExtraError, StoreError
from mmearth_infer.grid.window import Window
from mmearth_infer.write import object_store
from mmearth_infer.write.address import Address, locate
from mmearth_infer.write.object_store import explained
from mmearth_infer.write.open_store import open_store
from mmearth_infer.write.place import place_at
from tests.helpers.buckets import BUCKET, Server
from tests.helpers.sinks import CHANNELS, fill, open_sink

OUT = f"s3://{BUCKET}/some/s.zarr"


def whole(out: str | Path) -> None:
    with open_sink(out) as sink:
        fill(sink, 1)
        sink.finish()


def test_keys_are_taken_as_they_are(server: Server) -> None:
    """A blank, a percent sign and what has a meaning in addresses."""
    out = f"s3://{BUCKET}/ä b/50%20?#.zarr/"
    whole(out)
    assert "ä b/50%20?#.zarr/zarr.json" in server.names()
    assert open_store(out).channels == CHANNELS


def test_a_store_of_our_own_opens_in_other_tools(server: Server) -> None:
    whole(OUT)
    group = zarr.open_group(ObjectStore(server.store("some/s.zarr")), mode="r")
    embedding = group["embedding"]
    assert isinstance(embedding, zarr.Array)
    assert float(np.asarray(embedding[0, 0, 1])) == 1


def test_a_store_behind_http_is_read(tmp_path: Path) -> None:
    """As web servers give it, which list nothing."""
    whole(tmp_path / "s.zarr")
    program = (
        "import http.server, sys\n"
        "class Quiet(http.server.SimpleHTTPRequestHandler):\n"
        "    def log_message(self, *said): pass\n"
        "    def list_directory(self, path): self.send_error(403)\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{process.stdout.readline().strip()}/s.zarr"
        try:
            there, here = open_store(address), open_store(tmp_path / "s.zarr")
            window = Window(row=0, col=0, height=40, width=20)
            np.testing.assert_array_equal(there.read(window), here.read(window))
            with pytest.raises(StoreError, match="is not a store made by mmearth"):
                open_store(address + ".gone")
        finally:
            process.kill()


class Unsteady(socketserver.BaseRequestHandler):
    """Leaves every third request without an answer, and hands on the others."""

    count = 0
    to: tuple[str, int]

    def handle(self) -> None:
        type(self).count += 1
        if self.count % 3 == 1:
            # what closes before it was asked anything is not tried again (docs/log.md)
            self.request.recv(2**16)
            self.request.shutdown(socket.SHUT_WR)
            while self.request.recv(2**16):
                pass
            return
        with socket.create_connection(self.to) as server:
            threading.Thread(target=pour, args=(self.request, server)).start()
            pour(server, self.request)


def pour(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes until nothing comes any more, a connection a request."""
    with contextlib.suppress(OSError):
        while part := source.recv(2**16):
            target.sendall(
                part.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
            )
        target.shutdown(socket.SHUT_WR)


def test_dropped_connections_are_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = server.address.removeprefix("http://").partition(":")
    monkeypatch.setattr(Unsteady, "to", (host, int(port)), raising=False)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Unsteady) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        try:
            monkeypatch.setenv(
                "AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_address[1]}"
            )
            whole(OUT)
        finally:
            proxy.shutdown()
    assert Unsteady.count > 10
    assert b'"complete": true' in server.read("some/s.zarr/zarr.json")


def refused_by(address: str, monkeypatch: pytest.MonkeyPatch) -> list[StoreError]:
    """Return the errors of writing and of reading."""
    monkeypatch.setitem(object_store.RETRY, "max_retries", 1)
    errors = []
    for attempt in (open_sink, open_store):
        with pytest.raises(StoreError) as caught:
            attempt(address)  # type: ignore[operator]
        assert "\n" not in str(caught.value)
        errors.append(caught.value)
    return errors


def test_a_bucket_that_is_not_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in refused_by("s3://nobucket/s.zarr", monkeypatch):
        assert "there is no `s3://nobucket`" in str(error)
        assert "make it first" in str(error.hint)
    assert server.names() == []


def test_a_server_that_is_not_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for error in refused_by(OUT, monkeypatch):
        assert "it cannot be reached" in str(error)
        assert "AWS_ENDPOINT_URL" in str(error.hint)


def test_http_has_to_be_allowed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    for error in refused_by(OUT, monkeypatch):
        assert "AWS_ALLOW_HTTP=true" in str(error.hint)


def test_azure_wants_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    for error in refused_by("az://container/s.zarr", monkeypatch):
        assert "no credentials were found" in str(error)
        assert "AZURE_STORAGE_ACCOUNT_NAME" in str(error.hint)


@pytest.mark.parametrize("address", ["gs://b/s.zarr", "az://c/s.zarr"])
def test_other_services_have_places(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server of theirs is at hand; their stores can be made and named."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    place = place_at(address)
    assert str(place.where) == address
    assert "s.zarr/embedding" in str(place.store("embedding"))


REFUSED = (
    "The operation lacked the necessary privileges to complete for path x: Error "
    "performing PUT https://host/bucket/x in 4.7ms - Server returned non-2xx status "
    "code: 403 Forbidden: <Error><Code>InvalidAccessKeyId</Code><Message>The AWS "
    "Access Key Id you provided does not exist in our records.</Message></Error>"
)


@pytest.mark.parametrize(
    ("said", "means", "helps"),
    [
        (REFUSED, "it is refused, the aws access key id", "AWS_ACCESS_KEY_ID"),
        (
            "performing PUT http://169.254.169.254/latest/api/token",
            "no credentials",
            "",
        ),
        ("returned non-2xx status code: 501 Not", "no conditional", "copy"),
        ("something else\n\nDebug source: x", "something else", "--resume"),
    ],
)
def test_errors_are_explained(said: str, means: str, helps: str) -> None:
    where = locate(OUT)
    assert isinstance(where, Address)
    what, hint = explained(said, where)
    assert what.startswith(means) or means in what
    assert helps in hint
    assert "\n" not in what + hint


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmearth_infer.write.place.find_spec", lambda _: None)
    for attempt in (open_sink, open_store):
        with pytest.raises(MissingExtraError, match="`s3://` needs the `cloud` extra"):
            attempt(OUT)  # type: ignore[operator]


def test_a_local_store_needs_no_extra(tmp_path: Path) -> None:
    """Nor does it load it."""
    shutil.rmtree(tmp_path)
    program = (
        "import sys, mmearth_infer.write.zarr_store, mmearth_infer.write.open_store\n"
        "print('obstore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("s3://b/a//c.zarr/", "s3://b/a/c.zarr"),
        (Path("s3://b/c.zarr"), "s3://b/c.zarr"),
        ("https://host/c.zarr", "https://host/c.zarr"),
    ],
)
def test_addresses(typed: str | Path, expected: str) -> None:
    found = locate(typed)
    assert isinstance(found, Address)
    assert str(found) == expected
    assert found.name == "c.zarr"
    assert locate(found) is found


def test_paths_stay_paths() -> None:
    for typed in ("a/b.zarr", "b:c", "/x/s3:y"):
        assert locate(typed) == Path(typed)
