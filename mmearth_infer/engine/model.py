"""The model file: where it is, its digest, its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mmearth_infer.contract.digest import sha256_of
from mmearth_infer.errors import ModelError

if TYPE_CHECKING:
    from mmearth_infer.contract.manifest import Manifest

BUILTIN_MODEL: Final = Path(str(files("mmearth_infer") / "models" / "untrained.onnx"))
"""Model that is used when none is named."""


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
        if self.manifest.provenance.trained:
            return ()
        warning = (
            f"the model `{self.manifest.name}` is UNTRAINED: its embeddings mean "
            "nothing, use them to try the tool only (--model names a trained one)"
        )
        return (warning,)


def model_digest(path: Path) -> str:
    """Return the SHA-256 of a model file, in hex.

    Raises:
        ModelError: If the file cannot be read.

    """
    try:
        return sha256_of(path)
    except FileNotFoundError as error:
        raise ModelError(
            f"there is no model file `{path}`",
            hint="make one with `mmearth export`, or leave --model out to try the tool",
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read model `{path}`: {error.strerror}") from error
