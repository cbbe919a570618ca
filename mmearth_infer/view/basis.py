"""Three directions in which embeddings differ most, kept so that scenes match.

Shapes: D channels, S cells of a sample, h w cells of a window.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mmearth_infer.disk import file_beside
from mmearth_infer.errors import StoreError
from mmearth_infer.view.sample import SAMPLE_CELLS, lattice_sample
from mmearth_infer.write.open_store import short_digest

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.write.open_store import Embedding

SCHEMA: Final = 1
"""Version of the file this code writes, and the newest it reads."""

COLOURS: Final = 3
"""Red, green, blue: the first, second and third component."""

STRETCH: Final = (2.0, 98.0)
"""Percentiles of the sample that become 0 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """How embeddings of one model and stage become colours."""

    model_name: str
    """Name of the model."""

    model_digest: str
    """Digest of its file."""

    stage: int | None
    """Stage of the encoder."""

    cells: int
    """Cells it was computed from."""

    explained: tuple[float, ...]
    """Share of the sample's variance that each component holds."""

    mean: NDArray[np.float64]
    """`(D,)`, mean of the sample."""

    components: NDArray[np.float64]
    """`(3, D)`, orthonormal; the largest entry of each by size is positive."""

    low: NDArray[np.float64]
    """Value of each component that becomes 0."""

    high: NDArray[np.float64]
    """Value of each component that becomes 1."""

    def colours(self, features_Dhw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `colours_3hw`, 0 to 1 within the stretch; NaN where features are."""
        wide_3 = np.maximum(self.high - self.low, np.finfo(np.float32).tiny)
        factors_3D = self.components / wide_3[:, None]
        offset_3 = factors_3D @ self.mean + self.low / wide_3
        flat_3 = factors_3D.astype(np.float32) @ features_Dhw.reshape(
            len(self.mean), -1
        )
        flat_3 -= offset_3.astype(np.float32)[:, None]
        return flat_3.reshape(COLOURS, *features_Dhw.shape[1:])

    def check(self, embedding: Embedding, name: str) -> None:
        """Refuse the embeddings of another model or stage, which mean other things.

        Raises:
            StoreError: Naming both.

        """
        hint = f"make one of this model: `mmearth view {embedding.path} -o PICTURE.png"
        hint += " --save-basis BASIS.json`"
        if self.model_digest != embedding.model_digest:
            raise StoreError(
                f"`{name}` is a basis of model `{self.model_name}` "
                f"({short_digest(self.model_digest)}), `{embedding.path}` was made by "
                f"`{embedding.model_name}` ({short_digest(embedding.model_digest)})",
                hint=hint,
            )
        if self.stage != embedding.stage:
            raise StoreError(
                f"`{name}` is a basis of stage {self.stage}, the embedding is of "
                f"stage {embedding.stage}",
                hint=f"choose --stage {self.stage}, or {hint}",
            )
        if len(self.mean) != embedding.channels:
            raise StoreError(
                f"`{name}` is a basis of {len(self.mean)} channels, the embedding "
                f"has {embedding.channels}",
                hint=hint,
            )


def fit_basis(embedding: Embedding, cells: int = SAMPLE_CELLS) -> Basis:
    """Compute the principal components of a sample, and their stretch.

    Args:
        embedding: What is read.
        cells: About how many the sample has.

    Raises:
        StoreError: If there is too little to compute them from.

    """
    if embedding.channels < COLOURS:
        raise StoreError(
            f"`{embedding.path}` has {embedding.channels} channels, colours need "
            f"{COLOURS}",
            hint="--similar-to X,Y draws a picture of any number of channels",
        )
    sample_SD = lattice_sample(embedding, cells).astype(np.float64)
    if len(sample_SD) < COLOURS:
        raise StoreError(
            f"`{embedding.path}` has {len(sample_SD)} cells with data, colours need "
            f"{COLOURS}",
            hint="embed a scene that holds more data",
        )
    mean_D = sample_SD.mean(axis=0)
    sample_SD -= mean_D
    variance, vectors_DD = np.linalg.eigh(sample_SD.T @ sample_SD)
    components_3D = vectors_DD[:, ::-1].T[:COLOURS]
    largest = np.abs(components_3D).argmax(axis=1)
    signs = np.sign(components_3D[np.arange(COLOURS), largest])
    components_3D = components_3D * signs[:, None]
    low_3, high_3 = np.percentile(sample_SD @ components_3D.T, STRETCH, axis=0)
    total = max(float(variance.sum()), np.finfo(np.float64).tiny)
    return Basis(
        model_name=embedding.model_name,
        model_digest=embedding.model_digest,
        stage=embedding.stage,
        cells=len(sample_SD),
        explained=tuple(float(v) / total for v in variance[::-1][:COLOURS]),
        mean=mean_D,
        components=components_3D,
        low=low_3,
        high=high_3,
    )


def save_basis(basis: Basis, path: Path) -> None:
    """Write a basis as JSON.

    Raises:
        StoreError: If the disk does not take it.

    """
    said = {
        "schema": SCHEMA,
        "model": {"name": basis.model_name, "digest": basis.model_digest},
        "stage": basis.stage,
        "cells": basis.cells,
        "stretch_percentiles": STRETCH,
        "explained": basis.explained,
        "low": basis.low.tolist(),
        "high": basis.high.tolist(),
        "mean": basis.mean.tolist(),
        "components": basis.components.tolist(),
    }
    with file_beside(path) as aside:
        aside.write_text(json.dumps(said, indent=1) + "\n")


def load_basis(path: Path) -> Basis:
    """Read a basis.

    Raises:
        StoreError: If it cannot be read, or is not one.

    """
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        basis = Basis(
            model_name=str(said["model"]["name"]),
            model_digest=str(said["model"]["digest"]),
            stage=said["stage"],
            cells=int(said["cells"]),
            explained=tuple(said["explained"]),
            mean=np.array(said["mean"], dtype=np.float64),
            components=np.array(said["components"], dtype=np.float64),
            low=np.array(said["low"], dtype=np.float64),
            high=np.array(said["high"], dtype=np.float64),
        )
        _check(said["schema"], basis)
    except OSError as error:
        raise StoreError(
            f"cannot read `{path}`: {error.strerror or error}",
            hint="`mmearth view STORE -o PICTURE.png --save-basis FILE` writes one",
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"`{path}` is not a basis: {error}",
            hint="`mmearth view STORE -o PICTURE.png --save-basis FILE` writes one",
        ) from error
    return basis


def _check(schema: int, basis: Basis) -> None:
    """Refuse another version, and numbers that do not fit each other."""
    if schema != SCHEMA:
        raise ValueError(f"it has schema {schema}, this version reads {SCHEMA}")
    shapes = [basis.components.shape, basis.low.shape, basis.high.shape]
    if shapes != [(COLOURS, basis.mean.size), (COLOURS,), (COLOURS,)]:
        raise ValueError(f"its parts have the shapes {shapes}")
    parts = (basis.mean, basis.components, basis.low, basis.high)
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("a number is not finite")
