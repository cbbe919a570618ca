"""Everything that can go wrong, in one tree.

* MMEarthError
  + WindowError         a window that is empty or does not fit the grid
  + SceneError          a scene that cannot be read, or not as asked
    - BandError         bands missing, unnamed or ambiguous
  + ModelError          a model or checkpoint that cannot be used
    - ManifestError     a model without a contract, or with one we cannot keep
    - UnsafeFileError   a checkpoint that asks for code to be run
  + CalibrationError    scenes that statistics cannot be measured on
  + VerificationError   a compiled model that disagrees with eager PyTorch
  + DataError           a training data set that is missing, broken or incomplete
  + RecipeError         a training run described in a way that cannot be
  + TrainingError       a training run that cannot go on
  + JobError            a batch job that cannot be, or of which scenes failed
  + StoreError          an output that exists, or cannot be written or read
  + MissingExtraError   a feature whose optional dependency is not installed
"""

from __future__ import annotations


class MMEarthError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What is wrong, with the value that is wrong.
        hint: What to do about it, if anything can be done.

    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep the hint apart, so that the CLI can print it on its own line."""
        super().__init__(message)
        self.hint = hint


class WindowError(MMEarthError):
    """A window that is empty, or a tiling that the grid does not allow."""


class SceneError(MMEarthError):
    """A scene that cannot be read, or not in the way that was asked for."""


class BandError(SceneError):
    """Bands that a model needs are missing, unnamed or ambiguous."""


class ModelError(MMEarthError):
    """A model or checkpoint that cannot be used."""


class ManifestError(ModelError):
    """A model without a manifest, or with one that this version cannot honour."""


class UnsafeFileError(ModelError):
    """A checkpoint that asks for code to be run when it is loaded."""


class CalibrationError(MMEarthError):
    """Scenes that the statistics of a model cannot be measured on."""


class VerificationError(MMEarthError):
    """A compiled model whose names, shapes or values differ from eager PyTorch."""


class DataError(MMEarthError):
    """A training data set that is missing, broken, or lacks what was asked for."""


class RecipeError(MMEarthError):
    """A recipe with a value that cannot be, or values that contradict each other."""


class TrainingError(MMEarthError):
    """A training run that cannot start, go on or be resumed."""


class JobError(MMEarthError):
    """A batch job that cannot be, cannot go on, or of which scenes failed."""


class StoreError(MMEarthError):
    """An output that exists already, or that cannot be written or read."""


class MissingExtraError(MMEarthError):
    """A feature whose optional dependency is not installed."""

    def __init__(
        self, feature: str, *, extra: str | None = None, hint: str | None = None
    ) -> None:
        """Name the feature as the user typed it, and the extra that brings it.

        Args:
            feature: What was asked for.
            extra: The extra that brings what it needs.
            hint: How else to get it, where no extra can bring it.

        """
        needed = f"the `{extra}` extra" if extra else "what is not installed"
        super().__init__(
            f"`{feature}` needs {needed}",
            hint=hint or f'pip install "mmearth-infer[{extra}]"',
        )
