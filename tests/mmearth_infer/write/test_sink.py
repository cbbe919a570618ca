"""A store is there as a whole or not at all, and what was written is not lost."""

import json
import shutil
from pathlib import Path

import pytest
import xarray

from mmearth_infer.errors import StoreError
from tests.helpers.digest import digest
from tests.helpers.sinks import fill, first_missing, open_sink


def value_in(path: Path) -> float:
    with xarray.open_zarr(path) as store:
        return float(store["embedding"][0, 0, 1])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def complete(path: Path, value: float = 1) -> Path:
    with open_sink(path) as sink:
        fill(sink, value)
        sink.finish()
    return path


def test_an_unfinished_store_has_no_name_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1)
        assert not out.exists()
        partial = json.loads((tmp_path / "s.zarr.partial" / "zarr.json").read_text())
        assert partial["attributes"]["mmearth"]["complete"] is False
    assert names(tmp_path) == ["s.zarr.ledger", "s.zarr.partial"]


def test_where_nothing_was_written_nothing_is_left(tmp_path: Path) -> None:
    with open_sink(tmp_path / "s.zarr"):
        pass
    assert names(tmp_path) == []


def test_what_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    """And the store is that of a run that was not interrupted, to the byte."""
    whole = complete(tmp_path / "whole.zarr")
    out = tmp_path / "s.zarr"
    for most in (1, 2):
        with open_sink(out, resume=True) as sink:
            assert first_missing(sink) == 16 * (most - 1)
            assert sink.done.cells == first_missing(sink) * 20
            assert sink.done.valid_cells == first_missing(sink) * 19
            fill(sink, 1, most=most)
    with open_sink(out, resume=True) as sink:
        fill(sink, 1)
        sink.finish()
    assert names(tmp_path) == ["s.zarr", "whole.zarr"]
    assert digest(out) == digest(whole)


def test_begun_work_is_not_thrown_away_unasked(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1, most=1)
    with pytest.raises(StoreError, match="304 cells with data are written") as caught:
        open_sink(out)
    assert "--resume" in (caught.value.hint or "")
    with open_sink(out, overwrite=True) as sink:
        assert first_missing(sink) == 0


def test_work_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1, most=1)
    with pytest.raises(StoreError, match='from was "this", now it is "that"') as caught:
        open_sink(out, made_from="that", resume=True)
    assert "--overwrite" in (caught.value.hint or "")
    with open_sink(out, resume=True) as sink:
        assert first_missing(sink) == 16


def test_what_is_complete_is_said_to_be(tmp_path: Path) -> None:
    out = complete(tmp_path / "s.zarr")
    before = digest(out)
    with open_sink(out, resume=True) as sink:
        assert sink.is_complete
        assert (sink.done.cells, sink.done.valid_cells) == (800, 760)
    with pytest.raises(StoreError, match='of something else: from was "this"'):
        open_sink(out, made_from="that", resume=True)
    assert digest(out) == before
    assert names(tmp_path) == ["s.zarr"]


def test_two_runs_do_not_write_one_store(tmp_path: Path) -> None:
    with open_sink(tmp_path / "s.zarr") as sink:
        fill(sink, 1, most=1)
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(StoreError, match="another run is writing"):
                open_sink(tmp_path / "s.zarr", **how)  # type: ignore[arg-type]
        fill(sink, 1)
        sink.finish()
    assert value_in(tmp_path / "s.zarr") == 1


def test_overwriting_keeps_the_old_store_until_the_new_is_complete(
    tmp_path: Path,
) -> None:
    out = complete(tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="exists already"):
        open_sink(out)
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
        assert value_in(out) == 1
    assert value_in(out) == 1
    with open_sink(out, overwrite=True, resume=True) as sink:
        assert first_missing(sink) == 40
        sink.finish()
    assert value_in(out) == 2
    assert names(tmp_path) == ["s.zarr"]


def test_an_interrupt_between_two_renames_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old store is back under its name, and the new one can be finished."""
    out = complete(tmp_path / "s.zarr")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched, open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
        patched.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sink.finish()
    assert value_in(out) == 1
    with open_sink(out, overwrite=True, resume=True) as sink:
        sink.finish()
    assert value_in(out) == 2


@pytest.mark.parametrize("new_has_the_name", [False, True])
def test_a_kill_between_two_renames_is_put_right(
    tmp_path: Path, *, new_has_the_name: bool
) -> None:
    """The state on the disk is made by hand, as a kill would leave it."""
    out = complete(tmp_path / "s.zarr")
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
    out.rename(tmp_path / ".s.zarr.replaced")
    if new_has_the_name:
        complete(tmp_path / "other.zarr", 2).rename(out)
        shutil.rmtree(tmp_path / "s.zarr.partial")
    with pytest.raises(StoreError, match="exists already"):
        open_sink(out, resume=False)
    assert value_in(out) == (2 if new_has_the_name else 1)
    assert ".s.zarr.replaced" not in names(tmp_path)
    if new_has_the_name:
        assert names(tmp_path) == ["s.zarr"]


def test_a_line_that_was_cut_short_counts_as_not_written(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1, most=2)
    ledger = tmp_path / "s.zarr.ledger"
    ledger.write_bytes(ledger.read_bytes()[:-7])
    with open_sink(out, resume=True) as sink:
        assert first_missing(sink) == 16
        fill(sink, 1)
        sink.finish()
    whole = complete(tmp_path / "whole.zarr")
    assert digest(out) == digest(whole)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"nonsense\n", b'{"schema": 9}\n'])
def test_a_ledger_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1, most=1)
    (tmp_path / "s.zarr.ledger").write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged|version 9") as caught:
        open_sink(out, resume=True)
    assert caught.value.hint
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 1)
        sink.finish()


def test_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    """Zarr writes beside and renames; a kill leaves the file beside."""
    out = tmp_path / "s.zarr"
    with open_sink(out) as sink:
        fill(sink, 1, most=1)
    left = tmp_path / "s.zarr.partial" / "embedding" / "c" / "0" / "0" / "x.ab.partial"
    left.write_bytes(b"half")
    with open_sink(out, resume=True) as sink:
        fill(sink, 1)
        sink.finish()
    assert digest(out) == digest(complete(tmp_path / "whole.zarr"))


def test_a_backup_beside_the_store_is_left_alone(tmp_path: Path) -> None:
    out = complete(tmp_path / "s.zarr")
    shutil.copytree(out, tmp_path / "s.zarr.old")
    with open_sink(out, overwrite=True) as sink:
        fill(sink, 2)
        sink.finish()
    assert value_in(tmp_path / "s.zarr.old") == 1
    assert value_in(out) == 2


def test_what_a_kill_at_the_very_start_leaves_is_cleared_away(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    (tmp_path / "s.zarr.partial" / "embedding").mkdir(parents=True)
    (tmp_path / "s.zarr.partial.new" / "embedding").mkdir(parents=True)
    complete(out)
    assert names(tmp_path) == ["s.zarr"]


def test_a_link_to_a_store_stays_a_link(tmp_path: Path) -> None:
    """And what it points to is replaced."""
    target, link = complete(tmp_path / "target.zarr"), tmp_path / "link.zarr"
    link.symlink_to(target)
    with open_sink(link, overwrite=True) as sink:
        fill(sink, 2)
        sink.finish()
    assert link.is_symlink()
    assert value_in(target) == 2


@pytest.mark.parametrize("name", ["s.zarr", "s.zarr.partial"])
def test_nothing_but_our_own_stores_is_ever_removed(tmp_path: Path, name: str) -> None:
    """A folder of photos, a foreign store, a file: refused, and still there."""
    precious = tmp_path / name / "photo.jpg"
    precious.parent.mkdir()
    precious.write_text("precious")
    (precious.parent / "zarr.json").write_text('{"attributes": {}}')
    with pytest.raises(StoreError, match="not a store made by mmearth"):
        open_sink(tmp_path / "s.zarr", overwrite=True)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("https://host/s.zarr", "is only read"),
        ("ftp://host/s.zarr", "no store can have"),
        ("s3://bucket", "no store can have"),
        ("s3://bucket/../s.zarr", r"holds `.` or `..`"),
    ],
)
def test_addresses_are_not_folders(address: str, match: str, tmp_path: Path) -> None:
    """Nothing called `https:` appears beside the user's files."""
    for path in (address, Path(address)):
        with pytest.raises(StoreError, match=match) as caught:
            open_sink(path)
        assert caught.value.hint
    assert names(tmp_path) == []


def test_a_ledger_that_a_kill_left_half_begun(tmp_path: Path) -> None:
    """It goes with the ledger, whoever finishes; other stores keep theirs."""
    other = tmp_path / ".s2.zarr.ledger.abc.partial"
    for name in (".s.zarr.ledger.x1y.partial", ".s.zarr.ledger.16.z2.partial", other):
        (tmp_path / name).touch()
    complete(tmp_path / "s.zarr")
    assert names(tmp_path) == [other.name, "s.zarr"]
