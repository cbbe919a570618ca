"""Files that commands write: refused if they are there, whole or not there at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmearth_infer.disk import Kind, check_output
from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE: Final = Kind("file", Path.is_file)
"""What --overwrite replaces: a file, never a folder."""


def check_files(paths: Sequence[Path | None], *, overwrite: bool) -> None:
    """Refuse outputs that are there, unless asked to replace them.

    Raises:
        StoreError: Naming the first that is there.

    """
    for path in paths:
        if path is not None:
            check_output(path, FILE, overwrite=overwrite)


def check_suffix(path: Path, suffixes: Sequence[str], what: str) -> None:
    """Refuse a name that promises another format.

    Raises:
        StoreError: Naming the suffixes that there are.

    """
    if path.suffix.lower() not in suffixes:
        raise StoreError(
            f"`{path}` does not end in {' or '.join(suffixes)}",
            hint=f"-o takes {what}",
        )
