"""What the metadata of a scene say: product name, level, processing baseline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mmearth_infer.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from mmearth_infer.contract.bands import ProductLevel
    from mmearth_infer.read.options import ProductChoice

_PRODUCT: Final = re.compile(
    r"S2[A-Z]_MSIL(?P<level>1C|2A)_\d{8}T\d{6}_N(?P<baseline>\d{4})_R\d{3}"
)
"""Name of a Sentinel-2 product since 2016, with its processing baseline."""

_LEVEL: Final = re.compile(
    r"(?:MSI_?|LEVEL-?|(?<![A-Z0-9])L|^)(?P<level>1C|2A)", re.IGNORECASE
)
_L2A_BAND_COUNT: Final = 12
_LEVEL_TAGS: Final = (
    "PRODUCT_TYPE",
    "PROCESSING_LEVEL",
    "PROCESSING:LEVEL",
    "S2:PRODUCT_TYPE",
    "PRODUCT:TYPE",
    "COLLECTION",
)
_BASELINE_TAGS: Final = (
    "PROCESSING_BASELINE",
    "S2:PROCESSING_BASELINE",
    "SENTINEL:PROCESSING_BASELINE",
    "PROCESSING:VERSION",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFacts:
    """What names and tags say about a product; None where they are silent."""

    level: ProductLevel | None
    """Product level."""

    level_evidence: str
    """Where it stands."""

    baseline: float | None
    """Processing baseline, 4.0 for `N0400`."""

    baseline_evidence: str
    """Where it stands."""


def upper_keys(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags under upper-case names: files do not agree on the case."""
    return {key.upper(): value for key, value in tags.items()}


def texts(name: str, tags: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield what may hold a product name, with where it was found."""
    yield "the file name", name
    for key, value in tags.items():
        yield f"tag {key}", value


def product_facts(name: str, tags: Mapping[str, str]) -> ProductFacts:
    """Read level and baseline from the file's name and its tags.

    Args:
        name: File name or product name.
        tags: Metadata tags of the file.

    """
    level: ProductLevel | None = None
    baseline: float | None = None
    level_evidence = baseline_evidence = ""
    for where, text in texts(name, tags):
        found = _PRODUCT.search(text)
        if found:
            level = "l1c" if found["level"] == "1C" else "l2a"
            baseline = int(found["baseline"]) / 100
            level_evidence = baseline_evidence = f"{found[0]} in {where}"
            break
    shouted = upper_keys(tags)
    for key in _LEVEL_TAGS:
        found = _LEVEL.search(shouted.get(key, ""))
        if level is None and found:
            level = "l1c" if found["level"].upper() == "1C" else "l2a"
            level_evidence = f"{key}={shouted[key]}"
    for key in _BASELINE_TAGS:
        text = shouted.get(key, "")
        if baseline is None and re.fullmatch(r"\d{1,2}\.\d{1,2}", text):
            baseline = float(text)
            baseline_evidence = f"{key}={text}"
    return ProductFacts(
        level=level,
        level_evidence=level_evidence,
        baseline=baseline,
        baseline_evidence=baseline_evidence,
    )


def decide_level(
    asked: ProductChoice, facts: ProductFacts, bands: Collection[str], *, source: str
) -> tuple[ProductLevel, str]:
    """Decide the product level: the user, then metadata, then the bands.

    Only L1C has the cirrus band B10, so a full set of bands tells the level too.

    Raises:
        SceneError: If nothing tells.

    """
    if asked != "auto":
        return asked, f"--product {asked}"
    if facts.level is not None:
        return facts.level, facts.level_evidence
    if "B10" in bands:
        return "l1c", "it has B10, which only L1C has"
    if len(bands) >= _L2A_BAND_COUNT:
        return "l2a", "it has all bands but B10, which L2A lacks"
    raise SceneError(
        f"nothing in `{source}` says whether it is L1C or L2A",
        hint="say so with --product l1c or --product l2a",
    )
