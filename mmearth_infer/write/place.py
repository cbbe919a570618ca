"""What a store needs of the place it lies in, and how a folder gives it.

The other place is everything below an address (`write/object_store.py`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol

from zarr.storage import LocalStore

from mmearth_infer.disk import to_disk
from mmearth_infer.errors import MissingExtraError
from mmearth_infer.write.address import Address, locate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from zarr.abc.store import Store

    from mmearth_infer.write.address import Where

TEMPORARY: Final = "*.partial"
"""What zarr calls a file that it has not finished; a kill leaves it behind."""


class Place(Protocol):
    """Where the files of a store lie."""

    @property
    def where(self) -> Where:
        """Its path or address."""
        ...

    def store(self, group: str = "", *, read_only: bool = False) -> Store:
        """Return it, or a group in it, as zarr reads and writes it."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a small file; None if there is none."""
        ...

    def settle(self, names: Iterable[str]) -> None:
        """Wait until files are safe; those that are not there are empty chunks."""
        ...

    def tidy(self) -> None:
        """Remove the half-written files that a kill left."""
        ...

    def reading(self) -> AbstractContextManager[None]:
        """Raise a `StoreError` where the place, not the store, cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on a disk."""

    where: Path
    """Its path."""

    def store(self, group: str = "", *, read_only: bool = False) -> Store:
        """Return it, or a group in it, as zarr reads and writes it."""
        return LocalStore(self.where / group, read_only=read_only)

    def read(self, name: str) -> bytes | None:
        """Return a small file; None if there is none that can be read."""
        try:
            return (self.where / name).read_bytes()
        except OSError:
            return None

    def settle(self, names: Iterable[str]) -> None:
        """Wait until files and their folders are on the disk."""
        paths = [path for name in names if (path := self.where / name).exists()]
        for path in paths:
            to_disk(path)
        for folder in {path.parent for path in paths}:
            to_disk(folder)

    def tidy(self) -> None:
        """Remove the half-written files that a kill left."""
        for left_over in self.where.rglob(TEMPORARY):
            left_over.unlink()

    def reading(self) -> AbstractContextManager[None]:
        """Do nothing: a folder is there, or is not."""
        return nullcontext()


def place_at(where: str | Where) -> Place:
    """Return the place at a path or an address.

    Raises:
        StoreError: If it is an address that no store can have.
        MissingExtraError: If it is one, and what reaches it is not installed.

    """
    found = locate(where)
    if not isinstance(found, Address):
        return Folder(found)
    check_extra(found)
    from mmearth_infer.write.object_store import Objects  # noqa: PLC0415 -- an extra

    return Objects(found)


def check_extra(address: Address) -> None:
    """Refuse an address where nothing is installed that reaches it.

    Raises:
        MissingExtraError: Naming the extra.

    """
    if find_spec("obstore") is None:
        raise MissingExtraError(f"{address.scheme}://", extra="cloud")
