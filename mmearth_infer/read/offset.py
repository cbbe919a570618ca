"""The +1000 of processing baseline 04.00: is it in the pixels?

Decided by evidence, never by date: archives correct it, or not, as they please.
The order of evidence and the arithmetic are from ESA's product specification and
from a comparison with a corrected archive on 274.6 million pixels: subtract 1000
from every digital number of at least 1, and floor at 1, because 0 is nodata.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mmearth_infer.errors import SceneError
from mmearth_infer.read.product import ProductFacts, upper_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from mmearth_infer.read.options import OffsetChoice

OFFSET_DN: Final = -1000
"""What products of baseline 04.00 and later need added to them."""

FIRST_BASELINE: Final = 4.0
"""First processing baseline whose products carry the offset."""

DARK_PERCENTILE: Final = 1.0
"""The percentile of a band that counts as its darkest pixels."""

_OFFSET_TAGS: Final = ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")


class Offset(NamedTuple):
    """What must be added to every valid pixel, and what says so."""

    dn: int
    """0, or -1000."""

    evidence: str
    """What says so."""


def decide_offset(  # noqa: PLR0913 -- every kind of evidence
    asked: OffsetChoice,
    *,
    tags: Mapping[str, str],
    facts: ProductFacts,
    band_offsets: Sequence[float],
    darkest_dn: float | None,
    source: str,
) -> Offset:
    """Decide by the first that speaks: user, XML tags, baseline, band offsets.

    Where none speaks, the pixels are asked: a scene whose darkest pixels are all
    brighter than 1000 is refused, since both answers are possible and one is wrong.

    Args:
        asked: The user's word.
        tags: Metadata tags of the file.
        facts: What name and tags say of the product.
        band_offsets: The file's offset of each band in digital numbers, 0 for none.
        darkest_dn: Lowest over the bands of their dark percentile; None if unknown.
        source: Name of the scene, for messages.

    Raises:
        SceneError: If the evidence is of an offset that no product has, or missing
            where the pixels look as if there were one.

    """
    stated = stated_offset(
        asked, tags=tags, facts=facts, band_offsets=band_offsets, source=source
    )
    return stated or offset_by_pixels(darkest_dn, source=source)


def stated_offset(
    asked: OffsetChoice,
    *,
    tags: Mapping[str, str],
    facts: ProductFacts,
    band_offsets: Sequence[float],
    source: str,
) -> Offset | None:
    """Decide by what user and metadata say, as `decide_offset`; None if nothing.

    Raises:
        SceneError: If the evidence is of an offset that no product has.

    """
    if asked != "auto":
        return Offset(0 if asked == "none" else OFFSET_DN, f"--offset {asked}")
    named = {
        key: text
        for key, text in upper_keys(tags).items()
        if key.startswith(_OFFSET_TAGS)
    }
    if named:
        key = next(iter(named))
        text = ", ".join(sorted(set(named.values())))
        return Offset(_known_offset(text, key, source=source), f"{key}={text}")
    if facts.baseline is not None:
        dn = OFFSET_DN if facts.baseline >= FIRST_BASELINE else 0
        return Offset(dn, facts.baseline_evidence)
    stated = {round(offset) for offset in band_offsets if math.isfinite(offset)}
    if stated - {0}:
        text = ", ".join(map(str, sorted(stated)))
        return Offset(
            _known_offset(text, "band offset", source=source),
            f"the file's band offsets are {text} DN",
        )
    return None


def offset_by_pixels(darkest_dn: float | None, *, source: str) -> Offset:
    """Return no offset, unless the pixels look as if there were one.

    Raises:
        SceneError: If no band has dark pixels.

    """
    if darkest_dn is not None and darkest_dn > -OFFSET_DN:
        raise SceneError(
            f"no band of `{source}` is darker than {darkest_dn:.0f}: it looks as if "
            "the +1000 of baseline 04.00 were still in the pixels, but nothing says so",
            hint="--offset -1000 removes it, --offset none keeps the pixels",
        )
    if darkest_dn is None:
        return Offset(0, "no metadata name one, and no pixel was found to tell")
    return Offset(0, "no metadata name one, and some pixels are darker than 1000")


def check_scaled(
    offset: Offset, *, asked: OffsetChoice, scale: float | None, source: str
) -> None:
    """Refuse to remove an offset that metadata name from values that are scaled.

    Raises:
        SceneError: If the user did not say whether it is applied already.

    """
    if scale and asked == "auto" and offset.dn:
        raise SceneError(
            f"`{source}` is scaled by --scale, and an offset of {offset.dn} is named "
            f"by {offset.evidence}: it may be applied already",
            hint="--offset none if its values are right, --offset -1000 if not",
        )


def _known_offset(text: str, key: str, *, source: str) -> int:
    """Return 0 or -1000, the only offsets Sentinel-2 products have."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value not in (0, OFFSET_DN):
        raise SceneError(
            f"`{source}` states an offset of {text} ({key}); products have 0 or -1000",
            hint="--offset -1000 removes 1000, --offset none keeps the pixels",
        )
    return int(value)


def darkest_dn(dn_CP: Iterable[NDArray[np.uint16]]) -> float | None:
    """Return the lowest dark percentile of any band, or None without pixels.

    Args:
        dn_CP: Sampled pixels by band, 0 where there are none; P may differ.

    """
    lowest = [
        float(np.percentile(band[band > 0], DARK_PERCENTILE))
        for band in dn_CP
        if band.any()
    ]
    return min(lowest) if lowest else None
