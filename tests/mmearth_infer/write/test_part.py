"""Parts of one store, written apart."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from mmearth_infer.errors import StoreError
from mmearth_infer.write.ledger import Done
from mmearth_infer.write.part import cut
from tests.helpers.digest import digest
from tests.helpers.sinks import fill, open_sink

PARTS = (range(16), range(16, 32), range(32, 40))


def whole(path: Path) -> str:
    with open_sink(path) as sink:
        fill(sink, 1)
        sink.finish()
    return digest(path)


def begin(path: Path) -> None:
    with open_sink(path) as sink:
        sink.keep()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1,), ()])
def test_parts_in_any_order_or_not_at_all(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    """Whoever has the whole writes what is missing, and only that."""
    out = tmp_path / "s.zarr"
    begin(out)
    for number in order:
        with open_sink(out, resume=True, part=PARTS[number]) as part:
            assert part.missing(0) == [PARTS[number]]
            fill(part, 1)
            assert part.missing(0) == []
    assert not out.exists()
    with open_sink(out, resume=True) as sink:
        missing = {row for rows in sink.missing(0) for row in rows}
        there = {row for number in order for row in PARTS[number]}
        assert missing == set(range(40)) - there
        fill(sink, 1)
        sink.finish()
    assert names(tmp_path) == ["s.zarr"]
    assert digest(out) == whole(tmp_path / "whole.zarr")


def test_several_at_once(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    begin(out)
    with (
        open_sink(out, resume=True, part=PARTS[0]) as north,
        open_sink(out, resume=True, part=PARTS[1]) as south,
    ):
        fill(south, 1)
        for how in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(StoreError, match="another run is writing"):
                open_sink(out, **how)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="another run is writing"):
            open_sink(out, resume=True, part=PARTS[1])
        fill(north, 1)
    with open_sink(out, resume=True) as sink:
        assert sink.missing(0) == [PARTS[2]]
        with pytest.raises(StoreError, match="another run is writing"):
            open_sink(out, resume=True, part=PARTS[2])


def test_a_part_that_was_cut_otherwise(tmp_path: Path) -> None:
    """What other parts have written is not written again."""
    out = tmp_path / "s.zarr"
    begin(out)
    with open_sink(out, resume=True, part=PARTS[1]) as part:
        fill(part, 1)
    with open_sink(out, resume=True, part=range(40)) as part:
        assert part.missing(0) == [PARTS[0], PARTS[2]]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (names, "is not begun"),
        (begin, 'from was "this"'),
    ],
)
def test_parts_of_something_else(
    tmp_path: Path, prepare: Callable[[Path], object], said: str
) -> None:
    out = tmp_path / "s.zarr"
    prepare(out if prepare is begin else tmp_path)
    before = names(tmp_path)
    with pytest.raises(StoreError, match=said):
        open_sink(out, made_from="that", resume=True, part=PARTS[0])
    assert names(tmp_path) == before


def test_a_part_of_what_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "s.zarr"
    before = whole(out)
    with open_sink(out, resume=True, part=PARTS[0]) as part:
        assert part.is_complete
    assert digest(out) == before


def test_parts_are_forgotten_with_the_whole(tmp_path: Path) -> None:
    """Beginning anew leaves nothing that a later run would believe."""
    out = tmp_path / "s.zarr"
    begin(out)
    with open_sink(out, resume=True, part=PARTS[1]) as part:
        fill(part, 1)
    with open_sink(out, overwrite=True) as sink:
        assert sink.missing(0) == [range(40)]
        assert names(tmp_path) == ["s.zarr.ledger", "s.zarr.partial"]
        fill(sink, 2)
        sink.finish()
    assert names(tmp_path) == ["s.zarr"]


def test_strips_that_are_missing() -> None:
    done = Done()
    for row in (16, 48, 64):
        done.add({"row": row, "col": 0, "height": 16, "width": 9, "valid": 3})
    done.add({"row": 48, "col": 0, "height": 16, "width": 9, "valid": 3})
    assert (done.cells, done.valid_cells) == (3 * 16 * 9, 9)
    assert done.missing(0, range(0, 90, 16)) == [
        range(16),
        range(32, 48),
        range(80, 90),
    ]
    assert done.missing(0, range(48, 80, 16)) == []
    assert done.missing(9, range(0, 20, 16)) == [range(20)]


def test_rows_are_cut_at_chunks() -> None:
    assert cut(100, chunk=16, parts=3) == (range(32), range(32, 64), range(64, 100))
    assert cut(100, chunk=16, parts=99)[-1] == range(96, 100)
    assert cut(7, chunk=16, parts=2) == (range(7),)


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said as what it is, not as another run."""
    fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")

    def refused(*_: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(StoreError, match="knows no locks") as told:
        open_sink(tmp_path / "s.zarr")
    assert "Lustre" in str(told.value.hint)
