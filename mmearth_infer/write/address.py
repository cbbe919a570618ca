"""Where a store is: a path on a disk, or an address in an object store."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mmearth_infer.errors import StoreError

WRITTEN: Final = ("s3", "gs", "az")
"""Schemes that stores are written to, and read from."""

READ: Final = (*WRITTEN, "https", "http")
"""Schemes that stores are read from."""

_LIKE_ONE: Final = re.compile(r"[a-z0-9]{2,}:/")
_ADDRESS: Final = re.compile(r"(?P<scheme>\w+):/{1,2}(?P<bucket>[^/]+)/(?P<key>.+)")
"""One slash will do: of two, `pathlib` makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A name in an object store, as a path is one on a disk."""

    scheme: str
    """Which service: `s3`, `gs`, `az`."""

    bucket: str
    """Bucket, or container; of `https`, the host."""

    key: str
    """Name within it, of parts with slashes between them; empty for all of it."""

    @property
    def name(self) -> str:
        """Last part."""
        return self.key.rpartition("/")[2]

    @property
    def folder(self) -> Address:
        """What holds it."""
        return replace(self, key=self.key.rpartition("/")[0])

    def below(self, name: str) -> Address:
        """Return the address of something below it; itself if that has no name."""
        return replace(self, key="/".join(part for part in (self.key, name) if part))

    def __str__(self) -> str:
        """Return it as it is typed."""
        return f"{self.scheme}://{self.bucket}/{self.key}"


Where = Path | Address
"""Where a store is."""


def locate(where: str | Where) -> Where:
    """Return a path or an address for what was typed.

    Raises:
        StoreError: If it is an address that no store can have.

    """
    if isinstance(where, Address):
        return where
    if not _LIKE_ONE.match(str(where)):
        return Path(where)
    found = _ADDRESS.fullmatch(str(where).rstrip("/"))
    if found is None or found["scheme"] not in READ:
        raise StoreError(
            f"`{where}` is an address that no store can have",
            hint="s3://BUCKET/OUT.zarr, gs://BUCKET/OUT.zarr, az://CONTAINER/OUT.zarr",
        )
    parts = [part for part in found["key"].split("/") if part]
    if {".", ".."} & set(parts):
        raise StoreError(f"`{where}` holds `.` or `..`", hint="write it without")
    return Address(scheme=found["scheme"], bucket=found["bucket"], key="/".join(parts))


def locate_to_write(where: str | Where) -> Where:
    """Return a path or an address for what was typed, of what can be written.

    Raises:
        StoreError: If it cannot.

    """
    found = locate(where)
    if isinstance(found, Address) and found.scheme not in WRITTEN:
        raise StoreError(
            f"`{found}` is an address that is only read",
            hint="write to a disk, s3://, gs:// or az://, and copy it",
        )
    return found


def on_disk(where: str | Where, *, what: str) -> Path:
    """Return the path of a store that something is written beside.

    Args:
        where: The store.
        what: What is written.

    Raises:
        StoreError: If it is not on a disk.

    """
    found = locate(where)
    if isinstance(found, Address):
        raise StoreError(
            f"{what} is not written beside `{found}`, which is an address",
            hint="copy the store to a disk first",
        )
    return found
