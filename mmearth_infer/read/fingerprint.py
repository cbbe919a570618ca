"""What tells a scene from a changed one without reading its pixels."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIGNATURE: Final = re.compile(
    r"sig|signature|x-(amz|goog)-signature|(access_)?token", re.IGNORECASE
)
"""Parameters that cloud storage signs addresses with."""


def files_fingerprint(paths: Iterable[str | Path]) -> str:
    """Return a digest of the names, sizes and times of files.

    Folders above a file do not count, so that a scene may be moved as a whole. A file
    that is not on this machine's disks, such as one behind a URL, counts by its name;
    what signs an address for an hour does not count.
    """
    digest = hashlib.sha256()
    for path in sorted(map(str, paths)):
        said: tuple[object, ...] = (_unsigned(path),)
        if os.path.exists(path):  # noqa: PTH110 -- never raises
            status = os.stat(path)  # noqa: PTH116 -- of anything GDAL names
            said = (Path(path).name, status.st_size, status.st_mtime_ns)
        digest.update(repr(said).encode())
    return digest.hexdigest()


def _unsigned(path: str) -> str:
    """Return an address without its query, where that signs it.

    >>> _unsigned("https://x/a.tif?se=2026&sig=abc"), _unsigned("https://x/a?id=3")
    ('https://x/a.tif', 'https://x/a?id=3')
    """
    place, _, query = path.partition("?")
    signs = any(_SIGNATURE.fullmatch(key) for key, _ in parse_qsl(query))
    return place if signs else path
