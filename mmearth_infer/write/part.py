"""Rows of a store that is begun, written while others write other rows.

The store's metadata are there before any part begins, parts begin and end where chunks
do, and each has a ledger of its own: a chunk has one writer, and so has a ledger. Who
has a part shares the lock of the store's ledger; who has the whole store has it alone,
and takes over what parts have written (`write/folder.py`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from mmearth_infer.disk import disk_errors
from mmearth_infer.errors import StoreError
from mmearth_infer.write.ledger import (
    Done,
    Ledger,
    ledger_path,
    ledgers_of_parts,
    partial_path,
    read_ledger,
    refuse_changes,
    share,
)
from mmearth_infer.write.place import Folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO, NoReturn

    from mmearth_infer.write.ledger import Job, Record
    from mmearth_infer.write.place import Place


def cut(height: int, *, chunk: int, parts: int) -> tuple[range, ...]:
    """Cut rows into parts of whole chunks, as even as can be.

    Args:
        height: Rows there are.
        chunk: Rows of a chunk; the last may have fewer.
        parts: How many at most.

    """
    strips = -(-height // chunk)
    parts = min(parts, strips)
    bounds = [number * strips // parts * chunk for number in range(parts)]
    return tuple(
        range(start, stop)
        for start, stop in zip(bounds, [*bounds[1:], height], strict=True)
    )


class PartWork:
    """A part of a folder that is being made."""

    def __init__(self, out: Path, rows: range) -> None:
        """Look at nothing yet.

        Args:
            out: Where the folder will be.
            rows: Rows of cells of the part.

        """
        with disk_errors(out):
            self.out = out.resolve()
        self._partial = partial_path(self.out)
        self._whole = ledger_path(self.out)
        self._own = self._whole.with_name(f"{self._whole.name}.{rows.start}")
        self._ledger: Ledger | None = None
        self._shared: BinaryIO | None = None
        self.done = Done()

    @property
    def place(self) -> Place:
        """Where it is written meanwhile."""
        return Folder(self._partial)

    @property
    def begun(self) -> bool:
        """Whether the folder is on its way."""
        return self._partial.exists() and self._whole.exists()

    @property
    def taken(self) -> bool:
        """Whether something has the folder's name."""
        return self.out.exists()

    def check(self) -> None:
        """Do nothing: whoever began the folder has looked."""

    def begin(self, job: Job, make: Callable[[Place], None], *, resume: bool) -> None:
        """Join the folder.

        Args:
            job: What the folder is made from.
            make: Not called: whoever began the folder has made it.
            resume: Must be so.

        Raises:
            StoreError: If nothing is begun, or of another job, or somebody else has
                the whole or this part.

        """
        del make
        assert resume, "a part goes on with what is begun"
        with disk_errors(self.out):
            try:
                self._shared = share(self._whole)
                self._join(job)
            except BaseException as error:
                self.leave()
                if isinstance(error, FileNotFoundError):
                    self._refuse_nothing()
                raise

    def _join(self, job: Job) -> None:
        """Take the part's ledger, and read those of the others."""
        assert self._shared is not None
        finished = os.fstat(self._shared.fileno()).st_nlink == 0
        if finished or not self._partial.exists():
            self._refuse_nothing()
        before, self.done, _ = read_ledger(self._whole)
        refuse_changes(before, job, self.out)
        if self._own.exists():
            self._ledger = Ledger(self._own, job)
        else:
            self._ledger = Ledger.begin(self._own, job)
        for path in ledgers_of_parts(self._whole):
            for strip in read_ledger(path)[1].strips.values():
                self.done.add(strip)

    def _refuse_nothing(self) -> NoReturn:
        """Refuse to be a part of nothing.

        Raises:
            StoreError: Always.

        """
        raise StoreError(
            f"`{self.out}` is not begun, so that no part of it can be written",
            hint="run the whole with --resume",
        )

    def record(self, strip: Record) -> None:
        """Write down that a strip is on the disk."""
        assert self._ledger is not None
        self._ledger.add(strip)
        self.done.add(strip)

    def finish(self, complete: Callable[[Place], None]) -> None:
        """Refuse: only who has the whole may say that it is complete."""
        raise AssertionError(complete)

    def leave(self, *, keep: bool = True) -> None:
        """Leave what is written for whoever has the whole."""
        del keep
        for file in (self._ledger, self._shared):
            if file is not None:
                with suppress(OSError):
                    file.close()

    def errors(self) -> AbstractContextManager[None]:
        """Say what the disk refused, and where."""
        return disk_errors(self.out)
