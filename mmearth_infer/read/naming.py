"""Which band of a file is which: by description, by the user's word, by count."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmearth_infer.contract.bands import L1C_BANDS, L2A_BANDS, find_band
from mmearth_infer.errors import BandError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """The bands of a file, and how they were recognised."""

    index: dict[str, int]
    """Number of each band in the file, from 1."""

    evidence: str
    """How they were recognised, for people."""

    warning: str | None = None
    """Said where the recognition is a convention rather than a fact."""


def name_bands(
    descriptions: Sequence[str | None], said: Sequence[str], *, source: str
) -> Naming:
    """Recognise the bands of a file.

    The user's word comes first, then the descriptions in the file. A file without
    any that has 12 or 13 bands is read in the order of Sentinel-2's own products
    (B8A after B8), with a warning.

    Args:
        descriptions: One a band, None where the file has none.
        said: Names from `--bands`, `-` for a band to ignore; empty for none.
        source: Name of the file, for messages.

    Raises:
        BandError: If the bands stay unknown, or two have the same name.

    """
    count = len(descriptions)
    if said:
        if len(said) != count:
            raise BandError(
                f"--bands names {len(said)} bands, `{source}` has {count}",
                hint="name every band of the file in its order, `-` for one to skip",
            )
        index = {name: n for n, name in enumerate(said, start=1) if name != "-"}
        return Naming(index=index, evidence="named by --bands")
    found = [find_band(text) if text else None for text in descriptions]
    if any(found) and not _merely_counted(descriptions):
        index = {}
        for n, name in enumerate(found, start=1):
            if name in index:
                raise BandError(
                    f"bands {index[name]} and {n} of `{source}` are both called {name}",
                    hint="name all bands with --bands",
                )
            if name is not None:
                index[name] = n
        return Naming(index=index, evidence="named by the descriptions in the file")
    for order in (L2A_BANDS, L1C_BANDS):
        if len(order) == count:
            return Naming(
                index={name: n for n, name in enumerate(order, start=1)},
                evidence=f"unnamed; taken as {count} bands in Sentinel-2's own order",
                warning=f"the bands of `{source}` have no names; taken as "
                f"{' '.join(order)} (--bands says otherwise)",
            )
    raise BandError(
        f"the {count} bands of `{source}` have no names",
        hint="name them in the order of the file, such as --bands B02,B03,B04",
    )


def _merely_counted(descriptions: Sequence[str | None]) -> bool:
    """Tell `Band 1`, `Band 2`, ...: what some tools call any file's bands."""
    return all(
        text is not None and re.fullmatch(rf"band[ _-]?0*{n}", text.strip().lower())
        for n, text in enumerate(descriptions, start=1)
    )


def pick_bands(
    naming: Naming,
    wanted: Sequence[str],
    *,
    source: str,
    hint: str = "--bands corrects wrong names",
) -> list[int]:
    """Return the file's band numbers of `wanted`, in that order.

    Args:
        naming: The bands it has.
        wanted: The bands that are asked for.
        source: Name of the scene, for messages.
        hint: What to do about bands that are missing.

    Raises:
        BandError: Naming every band that is missing.

    """
    missing = [name for name in wanted if name not in naming.index]
    if missing:
        raise BandError(
            f"`{source}` lacks {', '.join(missing)}, which the model needs",
            hint=f"it has {', '.join(naming.index) or 'no band with a known name'}; "
            + hint,
        )
    return [naming.index[name] for name in wanted]
