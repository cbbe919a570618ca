"""A store on its way on a disk: the folder, the ledger beside it, the name last.

    OUT.partial    what is written, in every detail a store, marked incomplete
    OUT.ledger     what it is made from, and which strips are on the disk
    OUT.ledger.N   likewise, of the part that begins at row N (`write/part.py`)

A kill at any moment leaves one of few states, and each is put right by the next run:

| left behind | next run |
|---|---|
| `OUT.partial.new` | removed: nothing was begun |
| `OUT.partial` alone | removed: nothing was recorded |
| both | resumed, if that is asked for and nothing changed |
| `.OUT.replaced`, no `OUT` | put back: the new one had not taken the name |
| `.OUT.replaced`, and `OUT` | removed: it had |
| `OUT` and a ledger, nothing partial | the ledger is removed: it is complete |
| `.OUT.ledger.*` | removed with the ledger: one that was being begun |
"""

from __future__ import annotations

import shutil
from glob import escape
from typing import TYPE_CHECKING

from mmearth_infer.disk import (
    check_output,
    clear_left_over,
    disk_errors,
    sync_tree,
    to_disk,
)
from mmearth_infer.write.ledger import (
    Ledger,
    check_free,
    ledger_path,
    ledgers_of_parts,
    partial_path,
    read_ledger,
    refuse_changes,
    refuse_to_lose,
)
from mmearth_infer.write.place import Folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mmearth_infer.disk import Kind
    from mmearth_infer.write.ledger import Done, Job, Record
    from mmearth_infer.write.place import Place


class FolderWork:
    """A folder that is being made, and may be gone on with after a kill."""

    def __init__(self, out: Path, kind: Kind, *, overwrite: bool) -> None:
        """Put right what a kill left, and refuse what may not be replaced.

        Args:
            out: Where the folder will be.
            kind: What it is.
            overwrite: Replace one that is there, once this is complete.

        Raises:
            StoreError: If something is there that may not be replaced.

        """
        with disk_errors(out):
            self.out = out.resolve()
        self.partial = partial_path(self.out)
        self._ledger_path = ledger_path(self.out)
        self._replaced = self.out.with_name(f".{self.out.name}.replaced")
        self._kind, self._overwrite = kind, overwrite
        self._ledger: Ledger | None = None
        with disk_errors(self.out):
            self._put_right()

    def _put_right(self) -> None:
        """Finish what a kill interrupted between two renames."""
        if self._replaced.exists():
            if self.out.exists():
                shutil.rmtree(self._replaced)
            else:
                self._replaced.rename(self.out)
        if self.out.exists() and self._ledger_path.exists() and not self.begun:
            self._forget()

    def check(self) -> None:
        """Refuse early what `begin` would refuse when everything has been opened.

        Raises:
            StoreError: If something is there that may not be replaced, or lost.

        """
        check_output(self.out, self._kind, overwrite=self._overwrite)
        if self.begun and not self._overwrite:
            self._refuse_to_lose()

    @property
    def place(self) -> Place:
        """Where it is written meanwhile."""
        return Folder(self.partial)

    @property
    def taken(self) -> bool:
        """Whether something has the folder's name."""
        return self.out.exists()

    @property
    def begun(self) -> bool:
        """Whether there is something to resume."""
        return self.partial.exists() and self._ledger_path.exists()

    @property
    def done(self) -> Done:
        """What is on the disk already."""
        assert self._ledger is not None
        return self._ledger.done

    def begin(self, job: Job, make: Callable[[Place], None], *, resume: bool) -> None:
        """Start anew, or go on.

        Args:
            job: What the folder is made from.
            make: Writes the folder as it is before anything is in it.
            resume: Go on with what was begun, if anything was.

        Raises:
            StoreError: If what was begun is of another job, or would be lost.

        """
        check_output(self.out, self._kind, overwrite=self._overwrite)
        with disk_errors(self.out):
            if self._ledger_path.exists():
                check_free(self._ledger_path)
            if self.begun and resume:
                self._ledger = Ledger(self._ledger_path, job)
                self._gather(job)
                return
            if self.begun and not self._overwrite:
                self._refuse_to_lose()
            self._forget()
            fresh = self.partial.with_name(f"{self.partial.name}.new")
            for left_over in (fresh, self.partial):
                clear_left_over(left_over, self._kind)
            try:
                make(Folder(fresh))
                sync_tree(fresh)
                fresh.rename(self.partial)
                self._ledger = Ledger.begin(self._ledger_path, job)
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                shutil.rmtree(self.partial, ignore_errors=True)
                raise

    def _gather(self, job: Job) -> None:
        """Take over what parts have written; none is at work, as this one could lock.

        Raises:
            StoreError: If a part is of another job.

        """
        assert self._ledger is not None
        for path in ledgers_of_parts(self._ledger_path):
            before, done, _ = read_ledger(path)
            refuse_changes(before, job, self.out)
            for strip in done.strips.values():
                self._ledger.add(strip)
            path.unlink()

    def _forget(self) -> None:
        """Remove the ledgers, that of the whole first: without it parts are nothing."""
        self._ledger_path.unlink(missing_ok=True)
        for path in ledgers_of_parts(self._ledger_path):
            path.unlink()
        self._tidy()

    def _tidy(self) -> None:
        """Remove ledgers that a kill has left half begun."""
        for path in self.out.parent.glob(f".{escape(self._ledger_path.name)}.*"):
            path.unlink(missing_ok=True)

    def _refuse_to_lose(self) -> None:
        """Refuse to throw away what another run wrote.

        Raises:
            StoreError: If it wrote anything.

        """
        _, done, _ = read_ledger(self._ledger_path)
        refuse_to_lose(done, self.out)

    def record(self, strip: Record) -> None:
        """Write down that a strip is on the disk."""
        assert self._ledger is not None
        self._ledger.add(strip)

    def finish(self, complete: Callable[[Place], None]) -> None:
        """Mark it complete and give it its name; what it replaces is removed last."""
        assert self._ledger is not None
        complete(self.place)
        sync_tree(self.partial)
        if self.out.exists():
            self.out.rename(self._replaced)
        try:
            self.partial.rename(self.out)
        except BaseException:
            if self._replaced.exists():
                self._replaced.rename(self.out)
            raise
        to_disk(self.out.parent)
        self._ledger.close()
        self._forget()
        if self._replaced.exists():
            shutil.rmtree(self._replaced)

    def leave(self, *, keep: bool = False) -> None:
        """Leave what is written for another run; what is nothing yet is removed.

        Args:
            keep: Unless parts of it are to be written by others.

        """
        if self._ledger is None:
            return
        self._ledger.close()
        nothing = not keep and not self._ledger.done.valid_cells
        if nothing and self.partial.exists():
            self._ledger_path.unlink(missing_ok=True)
            shutil.rmtree(self.partial, ignore_errors=True)

    def errors(self) -> AbstractContextManager[None]:
        """Say what the disk refused, and where."""
        return disk_errors(self.out)
