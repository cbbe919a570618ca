"""What tells a scene from a changed one without reading its pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def files_fingerprint(paths: Iterable[str | Path]) -> str:
    """Return a digest of the names, sizes and times of files.

    Folders above a file do not count, so that a scene may be moved as a whole. A file
    that is not on this machine's disks, such as one behind a URL, counts by its name.
    """
    digest = hashlib.sha256()
    for path in sorted(map(str, paths)):
        said: tuple[object, ...] = (path,)
        if os.path.exists(path):  # noqa: PTH110 -- never raises
            status = os.stat(path)  # noqa: PTH116 -- of anything GDAL names
            said = (Path(path).name, status.st_size, status.st_mtime_ns)
        digest.update(repr(said).encode())
    return digest.hexdigest()
