"""The ledger beside a store: what it is made from, and which strips are safe.

Lines of JSON. The first says what the store is made from; each further line names a
strip whose chunks are safe, and is itself safe before the next is begun: on the disk,
or taken by an object store (`write/remote.py`). A line that a kill cut short counts as
not written.
"""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from glob import escape
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypedDict

import msgspec
from msgspec import Meta

from mmearth_infer.disk import file_beside, to_disk
from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

SCHEMA: Final = 1
"""Version of the lines."""

MOST_CHANGES: Final = 3
"""Changes that are said in full."""

Job = dict[str, Any]
"""Everything a store depends on, as JSON: equal jobs make equal stores."""


class Record(TypedDict):
    """A strip, as a line says it."""

    row: Annotated[int, Meta(ge=0)]
    """First row of cells."""

    col: Annotated[int, Meta(ge=0)]
    """First column of cells."""

    height: Annotated[int, Meta(ge=1)]
    """Rows of cells."""

    width: Annotated[int, Meta(ge=1)]
    """Columns of cells."""

    valid: Annotated[int, Meta(ge=0)]
    """Cells with data."""


@dataclass(slots=True, kw_only=True)
class Done:
    """What is written, strip by strip."""

    strips: dict[tuple[int, int], Record] = field(default_factory=dict)
    """Each by its first row and column; one that was written again counts once."""

    def add(self, strip: Record) -> None:
        """Count a strip."""
        self.strips[strip["row"], strip["col"]] = strip

    def missing(self, col: int, rows: range) -> list[range]:
        """Return the rows of a panel that are missing, as few ranges as can be.

        Args:
            col: First column of the panel.
            rows: Rows that are asked for; strips begin at multiples of its step.

        """
        gaps: list[range] = []
        row = start = rows.start
        while row < rows.stop:
            strip = self.strips.get((row, col))
            if strip is None:
                row = min(row + rows.step, rows.stop)
                continue
            if start < row:
                gaps.append(range(start, row))
            row = start = row + strip["height"]
        if start < rows.stop:
            gaps.append(range(start, rows.stop))
        return gaps

    @property
    def valid_cells(self) -> int:
        """Cells with data in what is written."""
        return sum(strip["valid"] for strip in self.strips.values())

    @property
    def cells(self) -> int:
        """Cells that are written."""
        return sum(strip["height"] * strip["width"] for strip in self.strips.values())


class Ledger:
    """A ledger that is being written; it is locked while it is open."""

    def __init__(self, path: Path, job: Job) -> None:
        """Lock a ledger that is there, and go on with it.

        Raises:
            StoreError: If another run has it, or it is of another job, naming what
                changed.

        """
        self.path = path
        self._file = path.open("r+b")
        try:
            _lock(self._file.fileno(), path)
            before, self.done, size = read_lines(self._file.read(), path)
            refuse_changes(before, job, path.with_suffix(""))
        except BaseException:
            self._file.close()
            raise
        self._file.truncate(size)
        self._file.seek(size)

    @classmethod
    def begin(cls, path: Path, job: Job) -> Self:
        """Write the first line."""
        with file_beside(path) as aside:
            aside.write_bytes(first_line(job))
        to_disk(path.parent)
        return cls(path, job)

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


def ledger_path(out: Path) -> Path:
    """Return where the ledger of a store lies."""
    return out.with_name(f"{out.name}.ledger")


def partial_path(out: Path) -> Path:
    """Return where a store is written until it has its name."""
    return out.with_name(f"{out.name}.partial")


def ledgers_of_parts(whole: Path) -> list[Path]:
    """Return the ledgers of parts beside that of the whole store."""
    return sorted(whole.parent.glob(f"{escape(whole.name)}.[0-9]*"))


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
            done.add(msgspec.json.decode(line, type=Record))
    except (ValueError, KeyError, TypeError, msgspec.DecodeError) as error:
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


def share(path: Path) -> BinaryIO:
    """Open a ledger that several processes may have, but none that writes it.

    Raises:
        StoreError: If one writes it.

    """
    file = path.open("rb")
    try:
        _lock(file.fileno(), path, shared=True)
    except BaseException:
        file.close()
        raise
    return file


def _lock(handle: int, path: Path, *, shared: bool = False) -> None:
    """Lock the file as long as this process has it open, where that can be done.

    Raises:
        StoreError: If another process has.

    """
    try:
        import fcntl  # noqa: PLC0415 -- not there on Windows
    except ImportError:
        return
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES}:
            raise StoreError(
                f"`{path.parent}` knows no locks: {error.strerror}",
                hint="write to a file system that does (Lustre: mounted with flock)",
            ) from error
        raise StoreError(
            f"another run is writing `{path.with_suffix('')}` at this moment",
            hint="wait for it, or choose another -o",
        ) from error
