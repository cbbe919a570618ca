"""A folder made beside its final name, and renamed when it is complete."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

MADE_BY: Final = "made_by"
"""Key of NAME_provenance.json that marks a data set of ours."""


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse to write over anything but, when asked, a data set we made.

    Raises:
        StoreError: Naming what is there.

    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise StoreError(
            f"`{out}` exists already", hint="--overwrite replaces it, once done"
        )
    if not _is_ours(out):
        raise StoreError(
            f"`{out}` is not a data set made by mmearth, so it is not replaced",
            hint="choose another -o, or remove it yourself",
        )


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
    check_output(out, overwrite=overwrite)
    out = Path(os.path.abspath(out))  # noqa: PTH100 -- a link is replaced, not followed
    partial = out.with_name(f"{out.name}.partial")
    try:
        _clear_left_over(partial)
        partial.mkdir(parents=True)
        with ExitStack() as clearing:
            clearing.callback(shutil.rmtree, partial, ignore_errors=True)
            write_json(partial / f"{name}_provenance.json", provenance)
            yield partial
            if overwrite and out.exists():
                _replace(out, partial)
            else:
                partial.rename(out)
            clearing.pop_all()
    except OSError as error:
        raise StoreError(
            f"cannot write `{out}`: {error.strerror or error}",
            hint="free space or choose another place with -o",
        ) from error


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


def _clear_left_over(partial: Path) -> None:
    """Remove what a killed run left."""
    if not os.path.lexists(partial):
        return
    if not _is_ours(partial) and (not partial.is_dir() or any(partial.iterdir())):
        raise StoreError(
            f"`{partial}` is in the way and is not a data set made by mmearth",
            hint="choose another -o, or remove it yourself",
        )
    shutil.rmtree(partial)


def _replace(out: Path, partial: Path) -> None:
    """Put the new folder where the old is, which is removed only after that."""
    aside = out.with_name(f".{out.name}.replaced-{os.getpid()}")
    out.rename(aside)
    with ExitStack() as restoring:  # unless all goes well
        restoring.callback(aside.rename, out)
        partial.rename(out)
        restoring.pop_all()
    shutil.rmtree(aside)
