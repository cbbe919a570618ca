"""Finds Sentinel-2 products as they are delivered: a .SAFE folder, or a .zip of one.

What is in it is what its own metadata say (`safe_metadata.py`): MTD_MSIL1C.xml or
MTD_MSIL2A.xml, in products before December 2016 S2A_OPER_MTD_SAFL1C_...xml.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from mmearth_infer.errors import SceneError

METADATA: Final = re.compile(
    r"(?:MTD_MSIL|S2[A-Z]_(?:OPER|USER)_MTD_SAFL)(1C|2A)(?:_PDMC_[\w.-]+)?\.xml"
)
"""Name of a product's own metadata."""

MAX_XML_BYTES: Final = 32 * 2**20
"""Real ones are below 100 kB, L1C of old baselines below 1 MB."""

HINT_DAMAGED: Final = (
    "the product may be cut off or changed; compare it with its source"
)
"""What to do about a product that is not as it should be."""

_HINT_ONE: Final = "name one product: its .SAFE folder or its .zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Safe:
    """Where a product is, and what its metadata file holds."""

    name: str
    """Name of the folder or archive."""

    metadata: str
    """Name of the metadata file."""

    xml: bytes
    """What is in it."""

    prefix: str
    """What GDAL needs before a path inside the product."""

    files: tuple[str, ...]
    """Files that tell this product from another."""

    folder: Path | None = None
    """Root of the product; None for an archive."""

    members: frozenset[str] = frozenset()
    """Paths inside the product, where it is an archive."""

    @property
    def level(self) -> str:
        """`1C` or `2A`, by the name of the metadata file."""
        found = METADATA.fullmatch(self.metadata)
        assert found is not None  # it was found by its name
        return found[1]

    def locate(self, inside: str) -> str | None:
        """Return what GDAL calls a file of the product, None if it is not there.

        Raises:
            SceneError: If the path leads out of the product.

        """
        parts = PurePosixPath(inside).parts
        odd = any(sign in inside for sign in '\\:\0\n"{}')
        outside = inside.startswith("/") or ".." in parts or odd
        if not outside and self.folder is not None:
            place = (self.folder / inside).resolve()
            outside = not place.is_relative_to(self.folder.resolve())
            there = place.is_file()
        else:
            there = inside in self.members
        if outside:
            raise SceneError(
                f"{self.metadata} of `{self.name}` names a file outside the product: "
                f"{inside[:200]!r}",
                hint="get the product from its source again; nothing was read",
            )
        return self.prefix + inside if there else None


def find_safe(path: Path) -> Safe | None:
    """Return the product at a path, None if it looks like none.

    A folder around a single .SAFE is taken for it, as an unpacked archive is.

    Raises:
        SceneError: If there are several, or one without its metadata.

    """
    if METADATA.fullmatch(path.name) and path.is_file():
        return _in_folder(path.resolve().parent, path.name)
    if path.suffix.lower() == ".zip" and path.is_file():
        return _in_zip(path)
    if not path.is_dir():
        return None
    inside = sorted(entry.name for entry in path.iterdir())
    metadata = [name for name in inside if METADATA.fullmatch(name)]
    if metadata:
        if len(metadata) > 1:
            raise SceneError(
                f"`{path}` holds several products: {', '.join(metadata)}",
                hint="name one of these files",
            )
        return _in_folder(path.resolve(), metadata[0])
    safes = [name for name in inside if name.upper().endswith(".SAFE")]
    if len(safes) > 1:
        raise SceneError(
            f"`{path}` holds several products: {safes[0]}, {safes[1]}", hint=_HINT_ONE
        )
    if safes:
        return find_safe(path / safes[0])
    if path.name.upper().endswith(".SAFE"):
        raise SceneError(
            f"`{path}` holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml", hint=HINT_DAMAGED
        )
    return None


def _in_folder(root: Path, metadata: str) -> Safe:
    """Return the product in a folder."""
    file = root / metadata
    if file.stat().st_size > MAX_XML_BYTES:
        raise SceneError(f"`{file}` is too large for metadata", hint=HINT_DAMAGED)
    return Safe(
        name=root.name,
        metadata=metadata,
        xml=file.read_bytes(),
        prefix=f"{root}/",
        files=(str(file),),
        folder=root,
    )


def _in_zip(path: Path) -> Safe:
    """Return the product in an archive, which stays packed."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata = [
                name
                for name in names
                if METADATA.fullmatch(PurePosixPath(name).name)
                and len(PurePosixPath(name).parts) <= 2  # noqa: PLR2004 -- X.SAFE/MTD
            ]
            if len(metadata) > 1:
                raise SceneError(
                    f"`{path}` holds several products: {metadata[0]}, {metadata[1]}",
                    hint="unpack it, and name one of them",
                )
            if not metadata:
                raise SceneError(
                    f"`{path}` holds no MTD_MSIL1C.xml or MTD_MSIL2A.xml",
                    hint="give a .zip of one .SAFE folder; unpack others",
                )
            if archive.getinfo(metadata[0]).file_size > MAX_XML_BYTES:
                raise SceneError(
                    f"{metadata[0]} in `{path}` is too large for metadata",
                    hint=HINT_DAMAGED,
                )
            xml = archive.read(metadata[0])
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, RuntimeError),
        *(NotImplementedError, ValueError, UnicodeError),
    ) as error:
        raise SceneError(
            f"`{path}` is not an archive that can be read: {error}",
            hint=HINT_DAMAGED,
        ) from error
    root = metadata[0][: -len(PurePosixPath(metadata[0]).name)]
    return Safe(
        name=path.name,
        metadata=PurePosixPath(metadata[0]).name,
        xml=xml,
        prefix=f"/vsizip/{{{path.resolve()}}}/{root}",
        files=(str(path.resolve()),),
        members=frozenset(n.removeprefix(root) for n in names if n.startswith(root)),
    )
