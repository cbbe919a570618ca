"""The model file: where it is, its digest, its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import ModelError
from mmearth_infer.models.cache import find_kept, kept_model

if TYPE_CHECKING:
    from mmearth_infer.contract.manifest import Manifest

BUILTIN: Final = "builtin"
"""Name of the model that is used when none is named."""

BUILTIN_MODEL: Final = Path(str(files("mmearth_infer") / "models" / "builtin.onnx"))
"""Its file."""

EXTERNAL_WEIGHTS: Final = b"\x0a\x08location"
"""How ONNX writes the key of a tensor that is kept in another file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model that was found and read."""

    path: Path
    """Where it is."""

    digest: str
    """SHA-256 of the file, in hex."""

    manifest: Manifest
    """What it promises."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before trusting its outputs."""
        said, name = self.manifest.provenance, self.manifest.name
        if not said.trained:
            warning = (
                f"the model `{name}` is UNTRAINED: its embeddings mean nothing, use "
                "them to try the tool only (--model names a trained one)"
            )
            return (warning,)
        if self.path == BUILTIN_MODEL:
            about = said.card.about if said.card else "without a card"
            return (f"the built-in model `{name}` is {about} (--model names another)",)
        return ()


def find_model(model: str | Path) -> Path:
    """Return the file of a model that is given by its path, or by its name.

    Args:
        model: A path; `builtin`, whatever lies here under that name; or the name of a
            published checkpoint, unless a file here has it.

    Raises:
        ModelError: If it is published and not on this machine yet.

    """
    path = Path(model)
    if str(path) == BUILTIN:
        return BUILTIN_MODEL
    return find_kept(path, kept_model)


def read_model(path: Path) -> bytes:
    """Return the bytes of a model file.

    A model is one file, so that its digest is the digest of everything that runs. An
    ONNX file may name others for its weights, anywhere on the machine: refused.

    Raises:
        ModelError: If the file cannot be read, or keeps its weights elsewhere.

    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"there is no model file `{path}`",
            hint="make one with `mmearth export`, or leave --model out to try the tool",
        ) from error
    except OSError as error:
        raise ModelError(
            f"cannot read model `{path}`: {error.strerror}", hint="check the path"
        ) from error
    if EXTERNAL_WEIGHTS in content:
        raise ModelError(
            f"model `{path}` keeps weights in other files",
            hint="make a single file with `mmearth export`",
        )
    return content
