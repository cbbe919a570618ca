"""A published checkpoint from the web to a model in the cache.

The authors publish no digests. What comes must be what it is called: it is read
without running code, every tensor has the shape that its encoder must have, and size,
patch and bands are those of its name. Its digest is remembered, and another file under
the same name is refused from then on.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmearth_export.artifact import ExportConfig, export_model
from mmearth_export.download import download
from mmearth_infer.disk import disk_errors, file_beside, sha256_of
from mmearth_infer.errors import ModelError, StoreError
from mmearth_infer.models.cache import kept_checkpoint, kept_facts, kept_model
from mmearth_training.model.encoder import STAGES
from mmearth_training.published import load_published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mmearth_infer.models.published import Published

_MOST_FACTS_BYTES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """A model that is here."""

    model: Path
    """Its file."""

    checkpoint: Path
    """The checkpoint it was made of."""

    sha256: str
    """Digest of the checkpoint."""

    new: bool
    """Whether the model was made just now."""


def get_model(
    wanted: Published, address: str, *, tell: Callable[[str, int, int], None]
) -> Got:
    """Bring a published checkpoint here and make a model of it, as far as needed.

    Args:
        wanted: The checkpoint.
        address: Where its file is.
        tell: Is told step, parts done and parts to do.

    Raises:
        ModelError: If it cannot be had, or is not what it is called.
        VerificationError: If the model disagrees with eager PyTorch; it is not kept.
        StoreError: If the disk does not take it, or another process is at it.

    """
    model, checkpoint = kept_model(wanted.name), kept_checkpoint(wanted.name)
    with disk_errors(model):
        model.parent.mkdir(parents=True, exist_ok=True)
    with _alone(model.with_name(f"{wanted.name}.lock")):
        if not checkpoint.is_file():
            part = checkpoint.with_name(f"{checkpoint.name}.part")
            download(address, part, most_bytes=wanted.most_bytes, tell=tell)
            _keep(part, wanted, address)
        sha256, new = sha256_of(checkpoint), not model.is_file()
        if new:
            export_model(
                ExportConfig(
                    checkpoint=checkpoint,
                    out=model,
                    name=wanted.name,
                    stages=tuple(range(1, STAGES + 1)),
                )
            )
    return Got(model=model, checkpoint=checkpoint, sha256=sha256, new=new)


def _keep(part: Path, wanted: Published, address: str) -> None:
    """Give a file its name if it is what was wanted; remove it if it is not."""
    try:
        sha256 = _verified(part, wanted)
    except ModelError:
        part.unlink()
        raise
    facts = {"sha256": sha256, "bytes": part.stat().st_size, "from": address}
    with file_beside(kept_facts(wanted.name)) as aside:
        aside.write_text(json.dumps(facts, indent=1))
    with disk_errors(part):
        part.replace(kept_checkpoint(wanted.name))


def _verified(part: Path, wanted: Published) -> str:
    """Return the digest of a file that is the checkpoint of its name.

    Raises:
        ModelError: If it is not.

    """
    found = load_published(part)
    is_one = (found.size_name, found.config.patch_px, found.bands)
    if is_one != (wanted.size, wanted.patch_px, wanted.bands):
        raise ModelError(
            f"what came as `{wanted.name}` is {found.size_name}/"
            f"{found.config.patch_px} of {', '.join(found.bands)}; it is not kept",
            hint="check the address; without --url it is the authors'",
        )
    before = _remembered(wanted.name)
    if before not in {None, found.sha256}:
        raise ModelError(
            f"`{wanted.name}` was sha256:{before} when it came first, and is "
            f"sha256:{found.sha256} now; it is not kept",
            hint=f"if its authors changed it, remove `{kept_facts(wanted.name)}`",
        )
    return found.sha256


def _remembered(name: str) -> str | None:
    """Return the digest that a checkpoint had when it came first; None for never.

    Raises:
        ModelError: If what is remembered cannot be read.

    """
    path = kept_facts(name)
    try:
        with path.open("rb") as file:
            return str(json.loads(file.read(_MOST_FACTS_BYTES))["sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"`{path}` does not say which file `{name}` was", hint="remove it"
        ) from error


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep other processes off a model, where that can be done.

    Raises:
        StoreError: If one is at it.

    """
    try:
        import fcntl  # noqa: PLC0415 -- not there on Windows
    except ImportError:
        yield
        return
    with disk_errors(lock):
        file = lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"another process gets `{lock.stem}` at this moment",
                hint="wait for it",
            ) from error
        yield
