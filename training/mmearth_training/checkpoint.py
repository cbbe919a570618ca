"""Checkpoints of a run: safetensors and JSON in a folder that appears complete.

    RUN/checkpoints/step-0000123/{model,optimizer}.safetensors  checkpoint.json

The folder is written under another name, brought to the disk, and renamed.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmearth_infer.disk import sha256_of, to_disk
from mmearth_infer.errors import StoreError, TrainingError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import AdamW

FORMAT: Final = 1
"""Version of the layout this code writes and reads."""

MODEL: Final = "model.safetensors"
OPTIMIZER: Final = "optimizer.safetensors"
FACTS: Final = "checkpoint.json"

_REMOVED: Final = ".removed"
_NAME: Final = re.compile(r"step-(\d{7,})")
_AVERAGES: Final = ("step", "exp_avg", "exp_avg_sq")


def find_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the complete checkpoints in a folder by step, oldest first.

    One without weights or JSON was not copied to its end, and is passed over.
    """
    found = {}
    for path in folder.glob("step-*"):
        match = _NAME.fullmatch(path.name)
        if match and all((path / n).is_file() for n in (FACTS, MODEL)):
            found[int(match[1])] = path
    return dict(sorted(found.items()))


def write_checkpoint(
    folder: Path, model: nn.Module, optimizer: AdamW, facts: dict[str, Any]
) -> Path:
    """Write a checkpoint; it is there as a whole or not at all.

    Args:
        folder: Folder of all checkpoints of the run.
        model: Its weights are kept.
        optimizer: Its averages are kept.
        facts: Content of `checkpoint.json`; holds `step`.

    Raises:
        StoreError: If it cannot be written.

    """
    final = folder / f"step-{facts['step']:07d}"
    partial = folder / f".{final.name}.partial"
    names = {id(p): name for name, p in model.named_parameters()}
    averages = {
        f"{kind}.{names[id(p)]}": state[kind]
        for p, state in optimizer.state.items()
        for kind in _AVERAGES
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _save(model.state_dict(), partial / MODEL)
        _save(averages, partial / OPTIMIZER)
        digests = {name: sha256_of(partial / name) for name in (MODEL, OPTIMIZER)}
        content = {"format": FORMAT, **facts, "sha256": digests}
        (partial / FACTS).write_bytes(
            msgspec.json.format(msgspec.json.encode(content), indent=1)
        )
        for path in (*partial.iterdir(), partial):
            to_disk(path)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        to_disk(folder)
    except (OSError, SafetensorError) as error:  # the latter for a full disk, too
        shutil.rmtree(partial, ignore_errors=True)
        raise StoreError(
            f"cannot write `{final}`: {getattr(error, 'strerror', None) or error}",
            hint="free space, then go on with --resume",
        ) from error
    return final


def prune_checkpoints(folder: Path, *, keep: int) -> None:
    """Remove all but the newest ones and the best, by loss in validation."""
    for left_over in folder.glob(f".step-*{_REMOVED}"):
        shutil.rmtree(left_over, ignore_errors=True)
    found = find_checkpoints(folder)
    losses = {step: _val_loss(path) for step, path in found.items()}
    known = {step: loss for step, loss in losses.items() if loss is not None}
    kept = set(list(found)[-keep:])
    if known:
        kept.add(min(known, key=lambda step: (known[step], step)))
    for step in found.keys() - kept:  # renamed first: never half a one by its name
        removed = folder / f".{found[step].name}{_REMOVED}"
        with suppress(OSError):
            found[step].rename(removed)
            shutil.rmtree(removed)


def _val_loss(path: Path) -> float | None:
    """Return the loss a checkpoint has on held-out data; None if it says none."""
    try:
        loss: float | None = read_facts(path).get("val_loss")
    except TrainingError:
        return None
    return loss


def read_facts(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint's JSON.

    Raises:
        TrainingError: If it is broken or too new.

    """
    try:
        facts: dict[str, Any] = json.loads((path / FACTS).read_text())
        version = facts["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrainingError(
            f"checkpoint `{path}` is broken: {error}",
            hint="remove it, and resume from the one before",
        ) from error
    if version != FORMAT:
        raise TrainingError(
            f"checkpoint `{path}` has format {version}, this version reads {FORMAT}",
            hint="resume with the version that wrote it",
        )
    return facts


def restore(path: Path, model: nn.Module, optimizer: AdamW) -> None:
    """Put a checkpoint's weights and averages in place.

    Raises:
        TrainingError: If a file is damaged, or belongs to another network.

    """
    facts = read_facts(path)
    tensors = {}
    for name in (MODEL, OPTIMIZER):
        try:
            if sha256_of(path / name) != facts["sha256"][name]:
                raise TrainingError(
                    f"`{path / name}` is damaged: its digest is not the recorded one",
                    hint="remove this checkpoint, and resume from the one before",
                )
            tensors[name] = load_file(path / name)
        except (OSError, SafetensorError, KeyError) as error:
            raise TrainingError(
                f"`{path / name}` cannot be read: {error}",
                hint="remove this checkpoint, and resume from the one before",
            ) from error
    try:
        model.load_state_dict(tensors[MODEL])
        for name, p in model.named_parameters():
            if p.requires_grad:
                optimizer.state[p] = {
                    kind: _beside(tensors[OPTIMIZER][f"{kind}.{name}"], kind, p)
                    for kind in _AVERAGES
                }
    except (RuntimeError, KeyError) as error:
        raise TrainingError(
            f"checkpoint `{path}` is of another network",
            hint="resume with the recipe it was made with",
        ) from error


def _beside(value: Tensor, kind: str, parameter: nn.Parameter) -> Tensor:
    """Return an average on the parameter's device; the fused step counts there too."""
    value = value.to(parameter.device)
    return value if kind == "step" else value.to(parameter.dtype)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors, each in memory of its own."""
    save_file(
        {
            name: value.detach().cpu().contiguous().clone()
            for name, value in tensors.items()
        },
        path,
    )
