"""A store on its way in an object store: under its own name, complete last.

    OUT/...       what is written, a store that says that it is not complete
    OUT.ledger    what it is made from, and which strips are safe

Nothing can be renamed there, and nothing locked. The ledger is put whole again after
each strip, on the condition that it is still the one that this run put: whoever begins
or resumes later takes it over, and the earlier run stops. A kill at any moment leaves
one of few states, and each is put right by the next run:

| left behind | next run |
|---|---|
| `OUT` incomplete, no ledger | begun anew: the old one was about to be replaced |
| a ledger without strips | begun anew, whatever is there of `OUT` |
| a ledger with strips, `OUT` incomplete | resumed, if asked for and nothing changed |
| `OUT` complete and a ledger | the ledger is removed: it is complete |
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import StoreError
from mmearth_infer.write.layout import COMPLETE, PROVENANCE
from mmearth_infer.write.ledger import (
    Done,
    first_line,
    line_of,
    read_lines,
    refuse_changes,
    refuse_to_lose,
)
from mmearth_infer.write.metadata import ROOT, said_by
from mmearth_infer.write.object_store import Objects, troubles

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from obstore import UpdateVersion

    from mmearth_infer.write.address import Address
    from mmearth_infer.write.ledger import Job, Record
    from mmearth_infer.write.object_store import Found
    from mmearth_infer.write.place import Place

NO_LONGER: Final = (
    f'{{"zarr_format": 3, "node_type": "group", '
    f'"attributes": {{"{PROVENANCE}": {{"{COMPLETE}": false}}}}}}'
).encode()
"""Root of a store that is about to be replaced: ours, and not complete."""


class RemoteWork:
    """A store that is being made, and may be gone on with after a kill."""

    def __init__(self, out: Address, *, overwrite: bool) -> None:
        """Look what is there, and put right what a kill left.

        Args:
            out: Where the store will be.
            overwrite: Replace one that is there; it is gone once this one is begun.

        Raises:
            StoreError: If that cannot be told.

        """
        self.out, self.place = out, Objects(out)
        self.done = Done()
        self._beside, self._name = Objects(out.folder), f"{out.name}.ledger"
        self._overwrite = overwrite
        self._ledger: _Ledger | None = None
        self._found = self._beside.get(self._name)
        said = said_by(self.place)
        self._is_complete = said is not None and said.get(COMPLETE) is True
        self._is_foreign = said is None and not self.place.is_empty()
        if self._is_complete and self._found is not None:
            self._beside.remove(self._name)
            self._found = None

    @property
    def begun(self) -> bool:
        """Whether there is something to resume."""
        return self._found is not None

    @property
    def taken(self) -> bool:
        """Whether something has the store's name that is not on its way."""
        return self._is_complete or self._is_foreign

    def check(self) -> None:
        """Refuse early what `begin` would refuse when everything has been opened.

        Raises:
            StoreError: If something is there that may not be replaced, or lost.

        """
        if self._is_complete and not self._overwrite:
            raise StoreError(
                f"`{self.out}` exists already",
                hint="--overwrite removes it, and then writes",
            )
        if self._is_foreign:
            raise StoreError(
                f"`{self.out}` is not a store made by mmearth, so it is not replaced",
                hint="choose another -o, or remove it yourself",
            )
        if self._found is not None and not self._overwrite:
            refuse_to_lose(self._read(self._found)[1], self.out)

    def begin(self, job: Job, make: Callable[[Place], None], *, resume: bool) -> None:
        """Start anew, or go on.

        Args:
            job: What the store is made from.
            make: Writes the store as it is before anything is in it.
            resume: Go on with what was begun, if anything was.

        Raises:
            StoreError: If what was begun is of another job, or would be lost, or
                something is there that may not be replaced.

        """
        if self._found is not None and resume and not self._is_foreign:
            before, done = self._read(self._found)
            refuse_changes(before, job, self.out)
            if done.cells:
                _, _, strips = self._found.content.partition(b"\n")
                self._ledger = self._take(job, strips)
                self.done = done
                return
        else:
            self.check()
        if self._is_complete:
            self.place.put(ROOT, NO_LONGER)
        self._ledger = self._take(job, b"")
        try:
            self.place.clear(last=ROOT)
            make(self.place)
        except BaseException:
            self.leave()
            raise

    def _read(self, found: Found) -> tuple[Job, Done]:
        """Return what a ledger says."""
        job, done, _ = read_lines(found.content, self._beside.where.below(self._name))
        return job, done

    def _take(self, job: Job, strips: bytes) -> _Ledger:
        """Put a ledger of this run in place of what was found."""
        first = first_line(job, writer=secrets.token_hex(8))
        before = None if self._found is None else self._found.version
        return _Ledger(self._beside, self._name, first + strips, before)

    def record(self, strip: Record) -> None:
        """Write down that a strip is safe."""
        assert self._ledger is not None
        self._ledger.put(line_of(strip))
        self.done.add(strip)

    def finish(self, complete: Callable[[Place], None]) -> None:
        """Mark it complete, if no other run has taken it over; then the ledger goes."""
        assert self._ledger is not None
        self._ledger.put()
        complete(self.place)
        self._ledger.remove()
        self._ledger = None

    def leave(self, *, keep: bool = False) -> None:
        """Leave what is written for another run; what is nothing yet is removed."""
        ledger, self._ledger = self._ledger, None
        if ledger is None or keep or self.done.valid_cells:
            return
        with suppress(StoreError):  # then it is left
            ledger.put()
            self.place.clear(last=ROOT)
            ledger.remove()

    def errors(self) -> AbstractContextManager[None]:
        """Say what the service refused, and what helps."""
        return troubles(self.out, "write")


class _Ledger:
    """A ledger that this run put last."""

    def __init__(
        self, beside: Objects, name: str, content: bytes, before: UpdateVersion | None
    ) -> None:
        """Put it in place of another version, or of nothing."""
        self._beside, self._name = beside, name
        self._content, self._version = content, before
        self.put()

    def put(self, more: bytes = b"") -> None:
        """Put it whole, with another line or without.

        Raises:
            StoreError: If another run has put its own meanwhile.

        """
        content = self._content + more
        version = self._beside.exchange(self._name, content, before=self._version)
        if version is None:
            store = self._beside.where.below(self._name.removesuffix(".ledger"))
            raise StoreError(
                f"another run is writing `{store}` at this moment",
                hint="let it finish, or choose another -o",
            )
        self._content, self._version = content, version

    def remove(self) -> None:
        """Remove it."""
        self._beside.remove(self._name)
