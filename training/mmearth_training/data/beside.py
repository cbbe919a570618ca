"""A folder made beside its final name, and renamed when it is complete."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mmearth_infer.disk import (
    Kind,
    check_output,
    clear_left_over,
    disk_errors,
    put_in_place,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE_BY: Final = "made_by"
"""Key of NAME_provenance.json that marks a data set of ours."""


@contextmanager
def made_beside(
    out: Path, *, name: str, provenance: dict[str, Any], overwrite: bool
) -> Iterator[Path]:
    """Give a folder that takes the place of `out` if the block succeeds.

    It is called `OUT.partial`. If the block fails it is removed; after a kill it
    stays, and the next run clears it away. What was at `out` stays until the end.

    Raises:
        StoreError: If something else is there, or the disk does not take it.

    """
    check_output(out, DATA_SET, overwrite=overwrite)
    out = Path(os.path.abspath(out))  # noqa: PTH100 -- a link is replaced, not followed
    partial = out.with_name(f"{out.name}.partial")
    with disk_errors(out), ExitStack() as clearing:
        clear_left_over(partial, DATA_SET)
        partial.mkdir(parents=True)
        clearing.callback(shutil.rmtree, partial, ignore_errors=True)
        write_json(partial / f"{name}_provenance.json", provenance)
        yield partial
        put_in_place(partial, out, overwrite=overwrite)
        clearing.pop_all()


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 -- anything JSON holds
    """Write a JSON file; numbers that are not finite as Python does, and MMEarth."""
    path.write_text(json.dumps(content, indent=None) + "\n")


def _is_ours(path: Path) -> bool:
    """Tell whether a folder is a data set that this package made, complete or not."""
    if path.is_symlink() or not path.is_dir():
        return False
    for found in path.glob("*_provenance.json"):
        try:
            return MADE_BY in json.loads(found.read_bytes())
        except (OSError, ValueError, TypeError):
            return False
    return False


DATA_SET: Final = Kind("data set", _is_ours)
"""What `make-dataset` and `pack` write."""
