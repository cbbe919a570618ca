"""The history of a run: one JSON line a record, safe to cut off at any moment.

A line counts once its line feed is written; what follows the last one is dropped.
"""

from __future__ import annotations

import math
import os
from collections.abc import (
    Mapping,  # noqa: TC003 -- msgspec reads the annotations
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import msgspec

from mmearth_infer.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Split = Literal["train", "val"]
"""The part of the data that a record was measured on."""

_LINE_FEED: Final = b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was measured at one step; a task without any target has a loss of NaN."""

    step: int
    """Optimiser steps taken."""

    epoch: float
    """Epochs seen, with their fraction."""

    split: Split
    """What it was measured on."""

    loss: float
    """Weighted sum over the tasks."""

    losses: Mapping[str, float]
    """Unweighted loss a task."""

    log_vars: Mapping[str, float]
    """`s_t = log sigma_t^2` a task; empty when tasks weigh equally."""

    trivial: Mapping[str, float]
    """Loss of the trivial predictor a task; may be empty."""


def record_to_json(record: Record) -> str:
    """Return a record as one line of JSON, without its line feed.

    JSON knows no NaN and no infinity: both become `null`, and NaN when read.
    """
    return msgspec.json.encode(record).decode()


def read_history(path: Path) -> tuple[Record, ...]:
    """Read every complete record, in the order of the file.

    `append_record` for each of `records` makes `read_history(path) == records`, and
    cutting bytes off the end of the file drops only the records it cuts into.

    Raises:
        TrainingError: If the file cannot be read, or a complete line is no record.

    """
    return tuple(record for _, record in _parse(path))


def append_record(path: Path, record: Record) -> None:
    """Add a record and wait until it is on the disk; a torn last line is cut first.

    Raises:
        TrainingError: If the file cannot be written.

    """
    line = record_to_json(record).encode() + _LINE_FEED
    try:
        with path.open("a+b") as file:
            _cut_torn_line(file)
            file.write(line)
            _flush_to_disk(file)
    except OSError as error:
        raise _unwritable(path, error) from error


def truncate_history(path: Path, step: int) -> None:
    """Drop the records after `step`, all at once or not at all.

    Afterwards `read_history(path)` holds the records with `record.step <= step` that
    it held before. A file that does not exist is left so.

    Args:
        path: The history.
        step: Last step to keep: that of the checkpoint a run resumes from.

    Raises:
        TrainingError: If the file cannot be read or written.

    """
    if not path.exists():
        return
    kept = b"".join(line for line, record in _parse(path) if record.step <= step)
    aside = path.with_name(f"{path.name}.part")
    try:
        with aside.open("wb") as file:
            file.write(kept)
            _flush_to_disk(file)
        aside.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _parse(path: Path) -> Iterator[tuple[bytes, Record]]:
    """Yield each complete line with its line feed, and the record it holds."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(
            f"cannot read the history `{path}`: {error.strerror}",
            hint="give the folder of a run that has begun",
        ) from error
    *lines, _torn = content.split(_LINE_FEED)
    for number, line in enumerate(lines, start=1):
        try:
            plain = msgspec.json.decode(line)
            record = msgspec.convert(_null_to_nan(plain), Record)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TrainingError(
                f"line {number} of `{path}` is no record: {error}",
                hint="only the last line can be torn; mend or remove this one",
            ) from error
        yield line + _LINE_FEED, record


def _null_to_nan(plain: Any) -> Any:  # noqa: ANN401 -- JSON, not checked yet
    """Undo what JSON makes of NaN, where a number is expected."""
    if not isinstance(plain, dict):
        return plain
    return {
        key: math.nan if value is None else _null_to_nan(value)
        for key, value in plain.items()
    }


def _cut_torn_line(file: BinaryIO) -> None:
    """Cut what follows the last line feed, and leave the position at the end."""
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) == _LINE_FEED:
        return
    file.seek(0)
    file.truncate(file.read().rfind(_LINE_FEED) + 1)
    file.seek(0, os.SEEK_END)


def _flush_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _unwritable(path: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"cannot write the history `{path}`: {error.strerror}",
        hint="check the free space and the rights of the folder",
    )
