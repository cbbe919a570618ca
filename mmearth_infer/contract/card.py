"""The card of a model: what its weights have seen, and what they are good for."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import msgspec

from mmearth_infer.errors import ManifestError

LONGEST: Final = 1000
"""Characters of an entry; more is no card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What someone should know before using a model, in sentences."""

    about: str
    """What it is, in one line; said where the model runs and nobody named it."""

    trained_on: str
    """Which data, and how much."""

    trained_for: str
    """How long, and on what."""

    good_for: str
    """What it was shown to be good for."""

    not_good_for: str
    """What it was shown, or must be expected, to be bad at."""

    licence: str
    """Licence of the weights."""

    attribution: str
    """Whom the training data are to be credited to."""

    def __post_init__(self) -> None:
        """Refuse entries that say nothing, or are no sentences.

        Raises:
            ManifestError: Naming the entry.

        """
        for field in fields(self):
            text = getattr(self, field.name)
            if not 0 < len(text.strip()) <= LONGEST:
                raise ManifestError(
                    f"`{field.name}` of a card has {len(text)} characters",
                    hint=f"1 to {LONGEST} are allowed",
                )
        if "\n" in self.about:
            raise ManifestError("`about` of a card has several lines, it is one")


def card_from_toml(text: str, *, source: str) -> Card:
    """Read a card.

    Args:
        text: TOML with every field of `Card`.
        source: Name of the file it stood in, for messages.

    Raises:
        ManifestError: Naming what is missing or wrong.

    """
    try:
        return msgspec.toml.decode(text, type=Card)
    except msgspec.DecodeError as error:
        raise ManifestError(
            f"the card `{source}` is not valid: {error}",
            hint=f"it is a TOML file with {', '.join(f.name for f in fields(Card))}",
        ) from error
