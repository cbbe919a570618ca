"""Files and folders that are there as a whole or not at all.

What is written goes to another name beside its own, and takes its own name last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder that this package makes, and may therefore replace."""

    name: str
    """What it is called: `store`, `data set`."""

    is_ours: Callable[[Path], bool]
    """Tells whether a folder is one, complete or not."""


def check_output(out: Path, kind: Kind, *, overwrite: bool) -> None:
    """Refuse to write over anything but, when asked, a folder of our own.

    Raises:
        StoreError: Naming what is there.

    """
    if not os.path.lexists(out):  # False, too, for what this user may not look at
        return
    if not overwrite:
        raise StoreError(
            f"`{out}` exists already", hint="--overwrite replaces it, once done"
        )
    if not kind.is_ours(out):
        raise StoreError(
            f"`{out}` is not a {kind.name} made by mmearth, so it is not replaced",
            hint="choose another -o, or remove it yourself",
        )


FILE: Final = Kind("file", Path.is_file)
"""What --overwrite replaces where one file is written: a file, never a folder."""


def check_files(paths: Sequence[Path | None], *, overwrite: bool) -> None:
    """Refuse outputs that are there, unless asked to replace them.

    Raises:
        StoreError: Naming the first that is there.

    """
    for path in paths:
        if path is not None:
            check_output(path, FILE, overwrite=overwrite)


def check_suffix(
    path: Path, suffixes: Sequence[str], what: str, *, option: str = "-o"
) -> None:
    """Refuse a name that promises another format.

    Args:
        path: The file to be.
        suffixes: Those that there are.
        what: The format, in words.
        option: How the name was given.

    Raises:
        StoreError: Naming the suffixes that there are.

    """
    if path.suffix.lower() not in suffixes:
        raise StoreError(
            f"`{path}` does not end in {' or '.join(suffixes)}",
            hint=f"{option} takes {what}",
        )


def clear_left_over(partial: Path, kind: Kind) -> None:
    """Remove what a killed run left: a folder of ours, or one without a file.

    Raises:
        StoreError: If something else has that name.

    """
    if not os.path.lexists(partial):
        return
    empty = partial.is_dir() and not any(p.is_file() for p in partial.rglob("*"))
    if not (empty or kind.is_ours(partial)):
        raise StoreError(
            f"`{partial}` is in the way and is not a {kind.name} made by mmearth",
            hint="choose another -o, or remove it yourself",
        )
    shutil.rmtree(partial)


def put_in_place(partial: Path, out: Path, *, overwrite: bool) -> None:
    """Give a finished folder its name; what it replaces is removed only after that."""
    if not (overwrite and out.exists()):
        partial.rename(out)
        return
    aside = out.with_name(f".{out.name}.replaced-{os.getpid()}")
    out.rename(aside)
    with ExitStack() as restoring:  # unless all goes well
        restoring.callback(aside.rename, out)
        partial.rename(out)
        restoring.pop_all()
    shutil.rmtree(aside)


@contextmanager
def file_beside(out: Path) -> Iterator[Path]:
    """Give an empty file beside `out` that takes its place if the block succeeds.

    Raises:
        StoreError: If the disk does not take it.

    """
    with disk_errors(out):
        handle, name = tempfile.mkstemp(
            prefix=f".{out.name}.", suffix=".partial", dir=out.parent
        )
        os.close(handle)
        aside = Path(name)
        try:
            yield aside
            aside.chmod(0o666 & ~_umask())
            to_disk(aside)
            aside.replace(out)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def files_beside(out: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Give a name in a folder beside `out`; what is written by it takes its place.

    Args:
        out: The file that others belong to.
        suffixes: Those of `out` and of the files that lie beside it. `out` comes last,
            so that what it points to is there.

    """
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        yield Path(folder) / out.name
        written = [(Path(folder) / out.name).with_suffix(s) for s in suffixes]
        for path in written:
            to_disk(path)
        for path in reversed(written):
            path.replace(out.with_suffix(path.suffix))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Say what the disk refused, and where."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write `{path}`: {error.strerror or error}",
            hint="free space or choose another place with -o",
        ) from error


def to_disk(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything below it is on the disk."""
    for below, _, files in os.walk(folder, topdown=False):
        for name in files:
            to_disk(Path(below) / name)
        to_disk(Path(below))
    to_disk(folder.parent)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
