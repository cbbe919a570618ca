"""Large files from a server on this machine: whole, bounded, gone on with."""

import socket
import urllib.request
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path

import numpy as np
import pytest

from mmearth_export import download as downloading
from mmearth_export.download import check_address, download, validator_of
from mmearth_infer.errors import ModelError
from tests.helpers.file_server import FileServer, serving

CONTENT = np.random.default_rng(0).bytes(3_500_000)
MOST = 4_000_000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server, which is asked again without a pause."""
    monkeypatch.setattr(downloading, "PAUSES_S", (0.0, 0.0, 0.0))
    with serving(CONTENT) as one:
        yield one


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "c.pth.part"


def get(server: FileServer, part: Path, *, most: int = MOST) -> list[int]:
    """Download, and return what was told."""
    told: list[int] = []
    download(
        server.address,
        part,
        most_bytes=most,
        tell=lambda _, done, of: told.extend((done, of)),
    )
    return told


def test_a_file_comes_whole(server: FileServer, part: Path) -> None:
    told = get(server, part)
    assert part.read_bytes() == CONTENT
    assert told[-2:] == [3, 3]
    assert list(part.parent.iterdir()) == [part]


def test_a_broken_connection_goes_on_where_it_broke(
    server: FileServer, part: Path
) -> None:
    server.breaks_after = [1_000_000, 500_000]
    get(server, part)
    assert part.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_goes_on(server: FileServer, part: Path) -> None:
    """After the tries are used up; what is there stays, with which version it is."""
    server.breaks_after = [1_000_000, 100, 100, 100]
    with pytest.raises(ModelError, match="stopped after 1000300 bytes") as caught:
        get(server, part)
    assert "the same command goes on" in str(caught.value.hint)
    assert validator_of(part).exists()
    server.asked.clear()
    get(server, part)
    assert server.asked == ["bytes=1000300-"]
    assert part.read_bytes() == CONTENT
    assert not validator_of(part).exists()


@pytest.mark.parametrize("change", ["file", "address", "note"])
def test_another_file_is_not_gone_on_with(
    change: str, server: FileServer, part: Path
) -> None:
    """Nor one of another address, nor one of which nobody knows what it is."""
    server.breaks_after = [1_000_000, 0, 0, 0]
    with pytest.raises(ModelError):
        get(server, part)
    if change == "file":
        server.content, server.tag = CONTENT[::-1], '"two"'
    elif change == "address":
        server.address += "?mirror"
    else:
        validator_of(part).write_text("{")
    get(server, part)
    assert part.read_bytes() == server.content


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_version_it_begins_again(
    tag: str | None, server: FileServer, part: Path
) -> None:
    server.tag, server.breaks_after = tag, [1_000_000]
    get(server, part)
    assert server.asked == [None, None]
    assert part.read_bytes() == CONTENT


def test_a_server_that_gives_no_parts(server: FileServer, part: Path) -> None:
    server.ranges, server.breaks_after = False, [1_000_000]
    get(server, part)
    assert server.asked == [None, "bytes=1000000-"]
    assert part.read_bytes() == CONTENT


def test_more_is_there_than_the_file_has(server: FileServer, part: Path) -> None:
    server.breaks_after = [1_000_000, 0, 0, 0]
    with pytest.raises(ModelError):
        get(server, part)
    with part.open("ab") as file:
        file.write(CONTENT)
    get(server, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_that_is_too_large(
    *, stated: bool, server: FileServer, part: Path
) -> None:
    """Whether the server says so or not; nothing of it stays."""
    server.states_length = stated
    with pytest.raises(ModelError, match="where 1000000 are the most"):
        get(server, part, most=1_000_000)
    assert not part.exists()


def test_busy_servers_are_asked_again(server: FileServer, part: Path) -> None:
    server.answers = [503, 429]
    get(server, part)
    assert part.read_bytes() == CONTENT
    server.answers = [503] * 4
    part.unlink()
    with pytest.raises(ModelError, match="stopped after 0 bytes: 503"):
        get(server, part)


@pytest.mark.parametrize("code", [403, 404])
def test_a_file_that_is_not_there(code: int, server: FileServer, part: Path) -> None:
    server.answers = [code]
    with pytest.raises(ModelError, match=f"answers {code} ") as caught:
        get(server, part)
    assert "--url" in str(caught.value.hint)
    assert len(server.asked) == 1
    assert not part.exists()


def test_nobody_is_there(part: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"http://127.0.0.1:{gone.getsockname()[1]}/c.pth"
    with pytest.raises(ModelError, match=r"cannot reach .* refused") as caught:
        download(address, part, most_bytes=MOST, tell=lambda *_: None)
    assert "check the connection" in str(caught.value.hint)


@pytest.mark.parametrize("to", ["http://example.org/c.pth", "ftp://127.0.0.1/c.pth"])
def test_a_redirect_may_not_leave_https(
    to: str, server: FileServer, part: Path
) -> None:
    server.moved_to = to
    with pytest.raises(ModelError, match="is no https address"):
        get(server, part)
    assert not part.exists()


def test_a_redirect_from_afar_may_not_come_here() -> None:
    """Nor to what this machine serves to itself alone."""
    asked = urllib.request.Request("https://sid.erda.dk/c.pth")
    with pytest.raises(ModelError, match="is no https address"):
        downloading._Redirects().redirect_request(
            asked, None, 302, "Found", HTTPMessage(), "http://127.0.0.1/c.pth"
        )


def test_a_redirect_is_followed(server: FileServer, part: Path) -> None:
    with serving(CONTENT) as other:
        server.moved_to = other.address
        get(server, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("address", "fine"),
    [
        ("https://sid.erda.dk/c.pth", True),
        ("http://localhost:80/c.pth", True),
        ("http://127.0.0.2/c.pth", True),
        ("http://[::1]/c.pth", True),
        ("http://sid.erda.dk/c.pth", False),
        ("http://127.0.0.1.example.org/c.pth", False),
        ("file:///c.pth", False),
        ("c.pth", False),
        ("https:///c.pth", False),
        ("", False),
    ],
)
def test_addresses(address: str, *, fine: bool) -> None:
    if fine:
        check_address(address)
        return
    with pytest.raises(ModelError, match="is no https address"):
        check_address(address)


def test_a_full_disk_is_said(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot write") as caught:
        get(server, tmp_path / "no" / "c.pth.part")
    assert caught.type.__name__ == "StoreError"
