"""History of a run: what is written is read, whatever cut it off."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmearth_infer.errors import TrainingError
from mmearth_training.history import (
    Record,
    append_record,
    read_history,
    record_to_json,
    truncate_history,
)

values = st.floats(allow_nan=False, allow_infinity=False)
by_task = st.dictionaries(st.sampled_from(["sentinel2", "biome"]), values)
records = st.builds(
    Record,
    step=st.integers(0, 20),
    epoch=values,
    split=st.sampled_from(["train", "val"]),
    loss=values,
    losses=by_task,
    log_vars=by_task,
    trivial=by_task,
)
histories = st.lists(records, max_size=5)


def record(step: int = 0, **changes: float) -> Record:
    return Record(
        step=step,
        epoch=step / 4,
        split="train",
        loss=changes.get("loss", 1.0),
        losses={"sentinel2": changes.get("sentinel2", 0.5)},
        log_vars={},
        trivial={},
    )


def write(path: Path, history: list[Record]) -> None:
    path.touch()
    for one in history:
        append_record(path, one)


@given(histories)
def test_what_is_appended_is_read(history: list[Record]) -> None:
    """`append_record` for each of `records` makes `read_history(path) == records`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        write(path, history)
        assert read_history(path) == tuple(history)


@given(histories, records, st.data())
def test_a_cut_drops_only_what_it_cuts_into(
    history: list[Record], following: Record, data: st.DataObject
) -> None:
    """Cutting bytes off the end of the file drops only the records it cuts into."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        write(path, history)
        content = path.read_bytes()
        cut = content[: data.draw(st.integers(0, len(content)))]
        path.write_bytes(cut)
        whole = tuple(history[: cut.count(b"\n")])
        assert read_history(path) == whole
        append_record(path, following)
        assert read_history(path) == (*whole, following)


@given(histories, st.integers(-1, 21))
def test_truncate_keeps_the_records_up_to_a_step(
    history: list[Record], step: int
) -> None:
    """Afterwards the history holds the records with `record.step <= step`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        write(path, history)
        truncate_history(path, step)
        assert read_history(path) == tuple(r for r in history if r.step <= step)
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_record_is_one_line() -> None:
    assert record_to_json(record(4)) == (
        '{"step":4,"epoch":1.0,"split":"train","loss":1.0,'
        '"losses":{"sentinel2":0.5},"log_vars":{},"trivial":{}}'
    )


def test_what_is_not_finite_is_read_as_nan(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_record(path, record(loss=math.nan, sentinel2=math.inf))
    (read,) = read_history(path)
    assert math.isnan(read.loss)
    assert math.isnan(read.losses["sentinel2"])


def test_truncating_no_file_makes_none(tmp_path: Path) -> None:
    truncate_history(tmp_path / "history.jsonl", 3)
    assert not list(tmp_path.iterdir())


def test_a_missing_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot read the history `") as caught:
        read_history(tmp_path / "history.jsonl")
    assert caught.value.hint == "give the folder of a run that has begun"


def test_a_history_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot write the history `") as caught:
        append_record(tmp_path / "nowhere" / "history.jsonl", record())
    assert caught.value.hint == "check the free space and the rights of the folder"


@pytest.mark.parametrize(
    "line",
    [
        b'{"step": 1',
        b"",
        b"[]",
        b"\xff",
        b'"\xff"',
        b'{"step":null}',
        record_to_json(record()).replace('"train"', '"test"').encode(),
        record_to_json(record()).replace("0.5", '"a"').encode(),
        record_to_json(record()).replace('"step":0', '"step":null').encode(),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "history.jsonl"
    append_record(path, record())
    path.write_bytes(path.read_bytes() + line + b"\n")
    append_record(path, record())
    with pytest.raises(TrainingError, match=r"line 2 of `.*` is no record") as caught:
        read_history(path)
    assert (
        caught.value.hint == "only the last line can be torn; mend or remove this one"
    )
    before = path.read_bytes()
    with pytest.raises(TrainingError, match="line 2"):
        truncate_history(path, 3)
    assert path.read_bytes() == before
