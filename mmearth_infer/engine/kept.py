"""A model that stays open between the runs of a process that makes many."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmearth_infer.engine.model import find_model
from mmearth_infer.engine.open import open_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmearth_infer.engine.choice import EngineChoice
    from mmearth_infer.engine.compiled import CompiledModel

_KEEPING: Final = ContextVar("_KEEPING", default=False)


@contextmanager
def keeping_models() -> Iterator[None]:
    """Let runs in the block use the model that an earlier one of them opened."""
    token = _KEEPING.set(True)
    try:
        yield
    finally:
        _KEEPING.reset(token)


def open_or_keep(
    path: str | Path, *, engine: EngineChoice, device: str, threads: int, trusted: bool
) -> CompiledModel:
    """Open a model; in `keeping_models`, give the one that is open if it is the same.

    A file of another size or time is another model.

    Raises:
        MMEarthError: What `open_model` raises.

    """
    if not _KEEPING.get():
        return open_model(
            path, engine=engine, device=device, threads=threads, trusted=trusted
        )
    path = find_model(path)
    return _kept(str(path), _stamp(path), engine, device, threads, trusted)


@lru_cache(maxsize=1)
def _kept(
    path: str,
    _stamp: tuple[int, int] | None,
    engine: EngineChoice,
    device: str,
    threads: int,
    trusted: bool,  # noqa: FBT001 -- likewise
) -> CompiledModel:
    """Open a model, and keep the last one."""
    return open_model(
        path, engine=engine, device=device, threads=threads, trusted=trusted
    )


def _stamp(path: str | Path) -> tuple[int, int] | None:
    """Return size and time of a file; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
