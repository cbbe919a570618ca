"""A run's folder: what it was started with, and whether it may go on.

RUN/run.json  history.jsonl  checkpoints/  tensorboard/  plots/
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 -- a field's type
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from mmearth_infer.disk import disk_errors, file_beside
from mmearth_infer.errors import StoreError, TrainingError
from mmearth_training.config import Recipe  # noqa: TC001 -- a field's type
from mmearth_training.model.sparse import BackendName  # noqa: TC001 -- likewise

if TYPE_CHECKING:
    from mmearth_training.data.folder import DataFolder
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint

Precision = Literal["fp32", "bf16"]
"""Arithmetic of the matrix products; norms, losses and weights stay in float32."""

RUN_FILE: Final = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A call of `mmearth pretrain`."""

    recipe: Recipe
    """What is computed."""

    data: Path
    """The data set."""

    out: Path
    """Folder of the run."""

    init: Path | None = None
    """Checkpoint whose encoder it starts from; None for weights drawn by the seed."""

    backend: BackendName = "sites"
    """How the encoder is computed."""

    device: str = "auto"
    """`auto`, `cpu` or a CUDA device."""

    precision: Precision = "fp32"
    """Arithmetic of the matrix products."""

    compiled: bool = False
    """Compile the model with `torch.compile`."""

    workers: int = 1
    """Processes that read; 0 reads in the training process itself."""

    keep: int = 2
    """Checkpoints that stay, besides the best."""

    log_every: int = 10
    """Steps between records of the training loss."""

    plots: bool = False
    """Draw pictures at every validation."""

    resume: bool = False
    """Go on from the last checkpoint; start where there is none."""

    overwrite: bool = False
    """Remove a run that is there."""

    minutes: float | None = None
    """Stop after this time as if interrupted, with a checkpoint."""

    stop_after: int | None = None
    """Stop after this many steps as if interrupted, with a checkpoint; for tests."""

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.out / "checkpoints"

    @property
    def history(self) -> Path:
        """File of the records."""
        return self.out / "history.jsonl"


def identity(
    config: RunConfig,
    folder: DataFolder,
    *,
    processes: int,
    start: EncoderCheckpoint | None,
) -> dict[str, Any]:
    """Return what must not change between the parts of one run."""
    recipe = msgspec.to_builtins(config.recipe)
    return {
        "recipe": recipe,
        "data": {"name": folder.name, "digest": folder.digest},
        "backend": config.backend,
        "precision": config.precision,
        "processes": processes,
        "init": start.sha256 if start else None,
    }


class Asked(Protocol):
    """What is said about the folder of a run, whatever the run does."""

    @property
    def out(self) -> Path:
        """Where it is."""
        ...

    @property
    def resume(self) -> bool:
        """Whether to go on with what is there."""
        ...

    @property
    def overwrite(self) -> bool:
        """Whether to remove what is there."""
        ...


def prepare(config: Asked, this: dict[str, Any]) -> None:
    """Make the run's folder ready.

    Raises:
        StoreError: If something is there that is not to be touched.
        TrainingError: If the run there was started differently; nothing is changed.

    """
    out = config.out
    if config.resume and config.overwrite:
        raise StoreError(
            "--resume and --overwrite exclude each other",
            hint="--resume goes on with a run, --overwrite removes it",
        )
    if out.exists() and not (out / RUN_FILE).is_file() and _holds_anything(out):
        raise StoreError(
            f"`{out}` is no folder of a training run",
            hint="choose another place with -o",
        )
    if (out / RUN_FILE).is_file() and not config.resume:
        if not config.overwrite:
            raise StoreError(
                f"`{out}` holds a run already",
                hint="--resume goes on with it, --overwrite removes it",
            )
        _remove(out)
    if (out / RUN_FILE).is_file():
        _compare(out, this)
        return
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        text = msgspec.json.format(msgspec.json.encode(this), indent=1)
        with file_beside(out / RUN_FILE) as aside:
            aside.write_bytes(text)


def _remove(out: Path) -> None:
    """Remove a run: it is renamed first, so that its name never holds a part of one."""
    with disk_errors(out):
        aside = out.with_name(f".{out.name}.replaced-{os.getpid()}")
        out.rename(aside)
        if aside.is_symlink():
            aside.unlink()
        else:
            shutil.rmtree(aside)


def _holds_anything(path: Path) -> bool:
    """Whether a path is a file, or a folder that is not empty."""
    return not path.is_dir() or any(path.iterdir())


def _compare(out: Path, this: dict[str, Any]) -> None:
    """Refuse to go on with a run that was started differently."""
    try:
        that = msgspec.json.decode((out / RUN_FILE).read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise TrainingError(
            f"`{out / RUN_FILE}` cannot be read: {error}",
            hint="start anew with --overwrite",
        ) from error
    before, now = _flat(that), _flat(msgspec.to_builtins(this))
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise TrainingError(
                f"the run in `{out}` was started with {key} = `{before.get(key)}`, "
                f"not `{now.get(key)}`",
                hint="resume with what it was started with, or choose another -o",
            )


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:  # noqa: ANN401 -- JSON
    """Return nested dictionaries as one, with dotted keys."""
    if not isinstance(content, dict):
        return {prefix: list(content) if isinstance(content, tuple) else content}
    flat = {}
    for key, value in content.items():
        flat.update(_flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
