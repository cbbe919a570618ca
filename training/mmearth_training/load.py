"""Reads an encoder from a checkpoint of either kind, told apart by what the path is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import ModelError
from mmearth_training.checkpoint import FACTS
from mmearth_training.published import load_published
from mmearth_training.trained import STEPS, last_checkpoint, load_trained

if TYPE_CHECKING:
    from pathlib import Path

    from mmearth_training.encoder_checkpoint import EncoderCheckpoint

_HINT: Final = (
    "give a published `checkpoint-199.pth`, the folder of a training run, "
    f"or one of its checkpoints, a folder with `{FACTS}`"
)


def load_encoder(path: Path) -> EncoderCheckpoint:
    """Read a checkpoint, published or of our own training.

    What fine-tuning wrote is a `UnetCheckpoint`, which has an encoder, too.

    Args:
        path: A folder with `checkpoint.json`, that file itself, the folder of a run,
            of which the last complete checkpoint is taken, or a published `.pth`.

    Raises:
        UnsafeFileError: If a `.pth` file asks for anything but data.
        ModelError: If it is no checkpoint, or one that cannot be used.

    """
    if path.is_dir():
        if (path / FACTS).exists():
            return load_trained(path)
        if (path / STEPS).is_dir():
            return load_trained(last_checkpoint(path))
        raise ModelError(
            f"the folder `{path}` is neither run nor checkpoint", hint=_HINT
        )
    if not path.exists():
        raise ModelError(f"there is no checkpoint `{path}`", hint=_HINT)
    if path.name == FACTS:
        return load_trained(path.parent)
    if path.suffix == ".safetensors":
        raise ModelError(
            f"`{path}` holds weights but not what they are of",
            hint=f"give the folder that it lies in with `{FACTS}`",
        )
    return load_published(path)
