"""Stores behind an address: what a run leaves there, and what becomes of it."""

import json
from pathlib import Path

import numpy as np
import obstore
import pytest
from obstore.exceptions import PermissionDeniedError
from zarr.storage import ObjectStore

from mmearth_infer.errors import StoreError
from mmearth_infer.grid.window import Window
from mmearth_infer.seams import Strip
from mmearth_infer.write import object_store
from mmearth_infer.write.layout import LayoutChoice
from mmearth_infer.write.object_store import Objects
from mmearth_infer.write.open_store import open_store
from mmearth_infer.write.work import work_at
from mmearth_infer.write.zarr_store import ZarrSink
from tests.helpers.buckets import BUCKET, Server, files
from tests.helpers.sinks import CHANNELS, fill, first_missing, layer, open_sink

OUT = f"s3://{BUCKET}/some/s.zarr"
LEDGER = "some/s.zarr.ledger"
REFUSED = "Server returned non-2xx status code: 403 Forbidden"


def whole(out: str | Path, value: float = 1, **how: LayoutChoice) -> None:
    with open_sink(out, **how) as sink:  # type: ignore[arg-type]
        fill(sink, value)
        sink.finish()


def begin(most: int, value: float = 1, **how: bool) -> None:
    with open_sink(OUT, **how) as sink:  # type: ignore[arg-type]
        fill(sink, value, most=most)


def is_complete(server: Server) -> bool:
    said = json.loads(server.content("some/s.zarr")["zarr.json"])
    complete: bool = said["attributes"]["mmearth"]["complete"]
    return complete


@pytest.mark.parametrize("layout", ["plain", "sharded"])
def test_a_remote_store_is_the_local_one_bit_by_bit(
    layout: LayoutChoice, server: Server, tmp_path: Path
) -> None:
    for out in (OUT, tmp_path / "s.zarr"):
        whole(out, layout=layout)
    assert server.content("some/s.zarr") == files(tmp_path / "s.zarr")
    assert {name.split("/")[1] for name in server.names()} == {"s.zarr"}


def fill_two(sink: ZarrSink) -> None:
    """Write random numbers to a store of two stages."""
    random = np.random.default_rng(0)
    for row in range(0, 40, sink.chunk_cells):
        height = min(sink.chunk_cells, 40 - row)
        strips = []
        for factor in (2, 1):
            shape = (height * factor, 20 * factor)
            values = random.normal(size=(CHANNELS, *shape)).astype(np.float32)
            strips.append(
                Strip(
                    row=row * factor,
                    col=0,
                    features_DhW=values,
                    valid_hW=np.ones(shape, dtype=np.float32),
                )
            )
        sink.write(strips)


def test_so_is_one_of_several_stages(server: Server, tmp_path: Path) -> None:
    layers = [
        layer(stage="stage2", factor=2, dtype="int8-pixel"),
        layer(stage="stage4"),
    ]
    for out in (OUT, tmp_path / "s.zarr"):
        with open_sink(out, layers=layers) as sink:
            fill_two(sink)
            sink.finish()
    assert server.content("some/s.zarr") == files(tmp_path / "s.zarr")
    window = Window(row=3, col=5, height=20, width=11)
    for stage in (2, 4):
        here, there = (open_store(at, stage) for at in (tmp_path / "s.zarr", OUT))
        np.testing.assert_array_equal(there.read(window), here.read(window))
        assert (there.group_path, there.geobox) == (here.group_path, here.geobox)
        assert str(there.path) == OUT


def test_an_unfinished_store_says_so(server: Server) -> None:
    begin(most=1)
    assert not is_complete(server)
    assert LEDGER in server.names()
    with pytest.raises(StoreError, match=f"`{OUT}` is not complete") as caught:
        open_store(OUT)
    assert "--resume" in (caught.value.hint or "")


def test_complete_is_the_last_that_is_said(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every object is there before, and as it will be; the ledger goes after."""
    put = ObjectStore.set
    before: list[dict[str, bytes]] = []

    async def spied(self: ObjectStore, key: str, value: object) -> None:  # type: ignore[type-arg]
        before[:] = [server.content("some")]
        await put(self, key, value)  # type: ignore[arg-type]

    with open_sink(OUT) as sink:
        fill(sink, 1)
        monkeypatch.setattr(ObjectStore, "set", spied)
        sink.finish()
    (last,) = before
    now = server.content("some")
    assert {name for name in last if last[name] != now.get(name)} == {
        "s.zarr/zarr.json",
        "s.zarr.ledger",
    }
    assert now.keys() == last.keys() - {"s.zarr.ledger"}


def test_where_nothing_was_written_nothing_is_left(server: Server) -> None:
    with open_sink(OUT):
        assert server.names()
    assert server.names() == []


def test_what_was_begun_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    whole(tmp_path / "s.zarr")
    for most in (1, 2, 99):
        with open_sink(OUT, resume=True) as sink:
            assert first_missing(sink) == {1: 0, 2: 16, 99: 32}[most]
            assert sink.done.valid_cells == first_missing(sink) * 19
            fill(sink, 1, most=most)
            if most == 99:
                sink.finish()
    assert server.content("some/s.zarr") == files(tmp_path / "s.zarr")
    assert LEDGER not in server.names()


def test_begun_work_is_not_thrown_away_unasked(server: Server) -> None:
    begin(most=1)
    for refused in (lambda: open_sink(OUT), work_at(OUT, overwrite=False).check):
        with pytest.raises(
            StoreError, match="304 cells with data are written"
        ) as caught:
            refused()
        assert "--resume" in (caught.value.hint or "")
    with open_sink(OUT, overwrite=True) as sink:
        assert first_missing(sink) == 0
    assert server.names() == []


def test_work_of_something_else_is_not_gone_on_with(server: Server) -> None:
    begin(most=1)
    before = server.content("some")
    with pytest.raises(StoreError, match='from was "this", now it is "that"') as caught:
        open_sink(OUT, made_from="that", resume=True)
    assert "--overwrite" in (caught.value.hint or "")
    assert server.content("some") == before


def test_what_is_complete_is_said_to_be(server: Server) -> None:
    whole(OUT)
    before = server.content("some")
    with open_sink(OUT, resume=True) as sink:
        assert sink.is_complete
        assert (sink.done.cells, sink.done.valid_cells) == (800, 760)
    with pytest.raises(StoreError, match='of something else: from was "this"'):
        open_sink(OUT, made_from="that", resume=True)
    with pytest.raises(StoreError, match="exists already") as caught:
        open_sink(OUT)
    assert "--overwrite removes it" in (caught.value.hint or "")
    assert server.content("some") == before


def test_overwriting_first_says_that_the_old_is_no_longer_complete(
    server: Server, tmp_path: Path
) -> None:
    whole(OUT, 1)
    work_at(OUT, overwrite=True).check()
    assert is_complete(server)  # asking costs nothing
    with open_sink(OUT, overwrite=True) as sink:
        assert not is_complete(server)
        assert not [name for name in server.names() if "embedding/c/" in name]
        fill(sink, 2)
        sink.finish()
    whole(tmp_path / "s.zarr", 2)
    assert server.content("some/s.zarr") == files(tmp_path / "s.zarr")


class Killed(BaseException):
    """Stands for a kill: nothing below it tidies up."""


WAYS = {"put": Objects.put, "exchange": Objects.exchange, "clear": Objects.clear}


@pytest.mark.parametrize("last", ["put", "exchange", "clear"])
def test_a_kill_while_the_old_store_is_replaced(
    last: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked, or the ledger begun, or removed: the next run begins anew."""
    whole(OUT, 1)

    def killed(*args: object, **named: object) -> None:
        WAYS[last](*args, **named)  # type: ignore[operator]
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Objects, last, killed)
        patched.setattr("mmearth_infer.write.remote.RemoteWork.leave", lambda _: None)
        with pytest.raises(Killed):
            open_sink(OUT, overwrite=True)
    with pytest.raises(StoreError, match=r"is not complete|is not a store"):
        open_store(OUT)
    whole(OUT, 2)
    whole(tmp_path / "s.zarr", 2)
    assert server.content("some/s.zarr") == files(tmp_path / "s.zarr")
    assert LEDGER not in server.names()


def test_a_kill_before_the_ledger_was_removed(server: Server) -> None:
    with open_sink(OUT) as sink:
        fill(sink, 1)
        ledger = server.content("some")["s.zarr.ledger"]
        sink.finish()
    obstore.put(server.store(), LEDGER, ledger)
    with open_sink(OUT, resume=True) as sink:
        assert sink.is_complete
    assert LEDGER not in server.names()


def test_of_two_runs_the_earlier_stops(server: Server, tmp_path: Path) -> None:
    """And what the later writes is not touched by the earlier any more."""
    with open_sink(OUT) as earlier:
        fill(earlier, 1, most=1)
        with open_sink(OUT, resume=True) as later:
            assert first_missing(later) == 16
            for another in (lambda: fill(earlier, 1, most=2), earlier.finish):
                with pytest.raises(
                    StoreError, match="another run is writing"
                ) as caught:
                    another()
                assert caught.value.hint
            fill(later, 1)
            later.finish()
    whole(tmp_path / "s.zarr")
    assert server.content("some/s.zarr") == files(tmp_path / "s.zarr")


def test_of_two_runs_that_begin_at_once_one_is_refused(server: Server) -> None:
    one, other = (work_at(OUT, overwrite=False) for _ in range(2))
    one.begin({}, lambda _: None, resume=False)
    with pytest.raises(StoreError, match="another run is writing"):
        other.begin({}, lambda _: None, resume=False)
    assert server.names() == [LEDGER]


def test_a_lost_answer_is_no_other_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that is sent twice is refused the second time: the first was taken."""
    put = obstore.put

    def twice(*args: object, **named: object) -> object:
        put(*args, **named)  # type: ignore[call-overload]
        return put(*args, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(object_store.obstore, "put", twice)  # type: ignore[attr-defined]
    whole(OUT)
    assert is_complete(server)


def test_without_conditional_requests_nothing_is_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They guard the ledger, and zarr needs them too."""
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    with pytest.raises(StoreError, match="no conditional requests") as caught:
        open_sink(OUT)
    assert "copy the store" in (caught.value.hint or "")
    assert server.names() == []


@pytest.mark.parametrize("content", [b"", b"{}\n", b"nonsense\n", b'{"schema": 9}\n'])
def test_a_ledger_that_is_damaged(content: bytes, server: Server) -> None:
    begin(most=1)
    obstore.put(server.store(), LEDGER, content)
    with pytest.raises(StoreError, match=r"damaged|version 9") as caught:
        open_sink(OUT, resume=True)
    assert caught.value.hint
    with open_sink(OUT, overwrite=True) as sink:
        fill(sink, 1)
        sink.finish()
    assert is_complete(server)


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}, {}])
def test_nothing_but_our_own_stores_is_ever_removed(
    how: dict[str, bool], server: Server
) -> None:
    """A photo, a foreign store, neighbours whose names begin alike."""
    begin(most=1)
    server.clear()
    others = ["some/s.zarr/photo.jpg", "some/s.zarr.old/zarr.json", "some/s.zarr2"]
    for name in others:
        obstore.put(server.store(), name, b'{"attributes": {}}')
    with pytest.raises(StoreError, match=r"not (a store )?made by mmearth"):
        open_sink(OUT, **how)  # type: ignore[arg-type]
    assert server.names() == sorted(others)
    obstore.delete(server.store(), others[0])
    begin(most=0)
    assert server.names() == sorted(others[1:])


def test_an_error_in_the_middle_keeps_what_is_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key expires while a strip is written."""
    with open_sink(OUT) as sink:
        fill(sink, 1, most=1)
        with monkeypatch.context() as patched:

            async def refused(*_: object) -> None:
                raise PermissionDeniedError(REFUSED)

            patched.setattr(ObjectStore, "set", refused)
            with pytest.raises(StoreError, match="cannot write") as caught:
                fill(sink, 1)
        assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")
    with open_sink(OUT, resume=True) as sink:
        assert first_missing(sink) == 16
    assert not is_complete(server)
