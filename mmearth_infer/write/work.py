"""A store on its way: what it needs until it is complete, on a disk or beyond.

`write/folder.py` and `write/remote.py` say what a kill leaves, and what becomes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mmearth_infer.write.address import Address, locate_to_write
from mmearth_infer.write.folder import FolderWork
from mmearth_infer.write.metadata import STORE
from mmearth_infer.write.part import PartWork
from mmearth_infer.write.place import check_extra

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mmearth_infer.write.address import Where
    from mmearth_infer.write.ledger import Done, Job, Record
    from mmearth_infer.write.place import Place


class Work(Protocol):
    """A store that is being made, on a disk or beyond; made safe strip by strip."""

    @property
    def out(self) -> Where:
        """Where the store will be."""
        ...

    @property
    def place(self) -> Place:
        """Where it is written meanwhile."""
        ...

    @property
    def begun(self) -> bool:
        """Whether there is something to resume."""
        ...

    @property
    def taken(self) -> bool:
        """Whether something has the store's name."""
        ...

    @property
    def done(self) -> Done:
        """What is safe already."""
        ...

    def check(self) -> None:
        """Refuse early what `begin` would refuse when everything has been opened."""
        ...

    def begin(self, job: Job, make: Callable[[Place], None], *, resume: bool) -> None:
        """Start anew, or go on."""
        ...

    def record(self, strip: Record) -> None:
        """Write down that a strip is safe."""
        ...

    def finish(self, complete: Callable[[Place], None]) -> None:
        """Mark the store complete, under its name."""
        ...

    def leave(self, *, keep: bool = False) -> None:
        """Leave what is written for another run; what is nothing yet is removed.

        Args:
            keep: Unless parts of it are to be written by others.

        """
        ...

    def errors(self) -> AbstractContextManager[None]:
        """Raise a `StoreError` where what is written is not taken."""
        ...


def work_at(out: str | Where, *, overwrite: bool, part: range | None = None) -> Work:
    """Return a store on its way; what a kill left of it is put right.

    Args:
        out: Where the store will be.
        overwrite: Replace one that is there.
        part: Rows of it that are written here, while others write others.

    Raises:
        StoreError: If it cannot be there.
        MissingExtraError: If it is an address, and what reaches it is not installed.

    """
    found = locate_to_write(out)
    if not isinstance(found, Address):
        if part is not None:
            return PartWork(found, part)
        return FolderWork(found, STORE, overwrite=overwrite)
    assert part is None, "parts are written to disks only"
    check_extra(found)
    from mmearth_infer.write.remote import RemoteWork  # noqa: PLC0415 -- an extra

    return RemoteWork(found, overwrite=overwrite)
