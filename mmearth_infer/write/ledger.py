"""The ledger beside a store: what it is made from, and which strips are safe.

Lines of JSON. The first says what the store is made from; each further line names a
strip whose chunks are safe, and is itself safe before the next is begun: on the disk,
or taken by an object store (`write/remote.py`). A line that a kill cut short counts as
not written.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict

from mmearth_infer.disk import file_beside, to_disk
from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA: Final = 1
"""Version of the lines."""

MOST_CHANGES: Final = 3
"""Changes that are said in full."""

Job = dict[str, Any]
"""Everything a store depends on, as JSON: equal jobs make equal stores."""


class Record(TypedDict):
    """A strip, as a line says it."""

    row: int
    """First row of cells."""

    col: int
    """First column of cells."""

    height: int
    """Rows of cells."""

    width: int
    """Columns of cells."""

    valid: int
    """Cells with data."""


@dataclass(slots=True, kw_only=True)
class Done:
    """What is written: strips come in order in every panel."""

    next_row: dict[int, int] = field(default_factory=dict)
    """First row of cells that is missing, by the panel's first column."""

    valid_cells: int = 0
    """Cells with data in what is written."""

    cells: int = 0
    """Cells that are written."""

    def add(self, strip: Record) -> None:
        """Count a strip."""
        self.next_row[strip["col"]] = strip["row"] + strip["height"]
        self.valid_cells += strip["valid"]
        self.cells += strip["height"] * strip["width"]


class Ledger:
    """A ledger that is being written; it is locked while it is open."""

    def __init__(self, path: Path, job: Job, done: Done, size: int) -> None:
        """Take over what `begin` or `resume` found."""
        self.path, self.job, self.done = path, job, done
        self._file = path.open("r+b")
        self._file.truncate(size)
        self._file.seek(size)
        _lock(self._file.fileno(), path)

    @classmethod
    def begin(cls, path: Path, job: Job) -> Self:
        """Write the first line."""
        first = first_line(job)
        with file_beside(path) as aside:
            aside.write_bytes(first)
        to_disk(path.parent)
        return cls(path, job, Done(), len(first))

    @classmethod
    def resume(cls, path: Path, job: Job) -> Self:
        """Go on with a ledger of the same job.

        Raises:
            StoreError: If it is of another, naming what changed.

        """
        before, done, size = read_ledger(path)
        refuse_changes(before, job, path.with_suffix(""))
        return cls(path, job, done, size)

    def add(self, strip: Record) -> None:
        """Write down a strip whose chunks are on the disk."""
        self._file.write(line_of(strip))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done.add(strip)

    def close(self) -> None:
        """Close it, which unlocks it."""
        self._file.close()


def read_ledger(path: Path) -> tuple[Job, Done, int]:
    """Return the job, what is done, and how many bytes of the file say so.

    Raises:
        StoreError: If it is no ledger.

    """
    return read_lines(path.read_bytes(), path)


def read_lines(content: bytes, name: object) -> tuple[Job, Done, int]:
    """Return the same of the content of a ledger.

    Raises:
        StoreError: If it is that of no ledger, by its name.

    """
    whole = content[: content.rfind(b"\n") + 1]
    done = Done()
    try:
        first, *rest = whole.splitlines()
        said = json.loads(first)
        if said["schema"] != SCHEMA:
            raise StoreError(
                f"`{name}` is a ledger of version {said['schema']}, not {SCHEMA}",
                hint="resume with the version of mmearth that began it",
            )
        for line in rest:
            done.add(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"`{name}` is damaged: what is written cannot be told",
            hint="start anew with --overwrite",
        ) from error
    return said["job"], done, len(whole)


def refuse_changes(before: Job, now: Job, store: object) -> None:
    """Refuse to go on with a store that was begun from something else.

    Raises:
        StoreError: Naming what changed.

    """
    changed = differences(before, now)
    if changed:
        raise StoreError(
            f"`{store}` cannot be resumed: {changed}",
            hint="give what it was begun with, or start anew with --overwrite",
        )


def refuse_to_lose(done: Done, store: object) -> None:
    """Refuse to throw away what another run wrote.

    Raises:
        StoreError: If it wrote anything.

    """
    if done.valid_cells:
        raise StoreError(
            f"`{store}` was begun and not finished: {done.valid_cells} "
            "cells with data are written",
            hint="--resume goes on with it, --overwrite starts anew",
        )


def differences(before: Job, now: Job) -> str:
    """Return what changed between two jobs, in words; empty if nothing did.

    What stands at the top says most; of more than a few the rest is counted.
    """
    as_read = json.loads(json.dumps(now))
    changed = sorted(_changed(before, as_read, ()), key=lambda found: len(found[0]))
    said = [f"{' '.join(name)} {text}" for name, text in changed[:MOST_CHANGES]]
    if len(changed) > MOST_CHANGES:
        said.append(f"and {len(changed) - MOST_CHANGES} more")
    return "; ".join(said)


def _changed(
    before: Job, now: Job, at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the name of everything that changed, and how."""
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changed(old, new, (*at, key))
        elif old != new:
            yield (*at, key), f"was {_short(old)}, now it is {_short(new)}"


def check_free(path: Path) -> None:
    """Refuse to touch what another run is writing.

    Raises:
        StoreError: If one is.

    """
    with path.open("r+b") as file:
        _lock(file.fileno(), path)


def _short(value: object) -> str:
    """Return a value, cut where it is long."""
    text = json.dumps(value)
    longest = 40
    return text if len(text) <= longest else f"{text[:longest]}..."


def first_line(job: Job, **more: str) -> bytes:
    """Return the line that says what a store is made from."""
    said = {"schema": SCHEMA, "job": job, **more}
    return json.dumps(said, sort_keys=True).encode() + b"\n"


def line_of(strip: Record) -> bytes:
    """Return the line that names a strip."""
    return json.dumps(strip, sort_keys=True).encode() + b"\n"


def _lock(handle: int, path: Path) -> None:
    """Lock the file as long as this process has it open, where that can be done.

    Raises:
        StoreError: If another process has.

    """
    try:
        import fcntl  # noqa: PLC0415 -- not there on Windows
    except ImportError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise StoreError(
            f"another run is writing `{path.with_suffix('')}` at this moment",
            hint="wait for it, or choose another -o",
        ) from error
