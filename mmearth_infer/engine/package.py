"""What a `.pt2` package says of itself, read without PyTorch and without running it."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

from mmearth_infer.engine.runtime import RuntimeFailure

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST: Final = "extra/mmearth.manifest.json"
"""Where the manifest lies in the package, below its top folder."""

HOST: Final = "extra/mmearth.host.json"
"""Likewise, what the package was made for."""

MOST_JSON_BYTES: Final = 2**20
"""More is no manifest."""


def read_extra(path: Path, name: str) -> str | None:
    """Return a text file of a package without loading, let alone running, anything.

    Raises:
        RuntimeFailure: If the file is no package.

    """
    try:
        with zipfile.ZipFile(path) as package:
            found = [i for i in package.infolist() if i.filename.endswith(f"/{name}")]
            if len(found) != 1 or found[0].file_size > MOST_JSON_BYTES:
                return None
            return package.read(found[0]).decode()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RuntimeFailure(error) from error
