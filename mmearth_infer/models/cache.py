"""Where published checkpoints are kept, with the models made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from mmearth_infer.errors import ModelError
from mmearth_infer.models.published import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def kept_model(name: str) -> Path:
    """Return where the model of a published checkpoint is kept, once it is made."""
    return _folder() / f"{name}.onnx"


def kept_checkpoint(name: str) -> Path:
    """Return where a published checkpoint is kept, once it is here."""
    return _folder() / f"{name}.pth"


def kept_facts(name: str) -> Path:
    """Return where is kept what is remembered of a checkpoint: its digest."""
    return _folder() / f"{name}.json"


def find_kept(path: Path, place: Callable[[str], Path]) -> Path:
    """Return the file of a published name; a path that is there, or none, as it is.

    Args:
        path: A path, or the name of a published checkpoint.
        place: Which of its files.

    Raises:
        ModelError: If it is published and not here.

    """
    name = str(path)
    if name not in PUBLISHED or path.is_file():
        return path
    found = place(name)
    if not found.is_file():
        raise ModelError(
            f"`{name}` is published, and not on this machine yet",
            hint=f"mmearth models get {name}",
        )
    return found


def _folder() -> Path:
    """Return the folder; it need not be there."""
    return user_cache_path("mmearth") / "models"
