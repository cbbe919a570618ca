"""The checkpoints that the authors of MMEarth publish, and where.

Names and addresses are those of their repository: the table in its README has the ten,
its `hubconf.py` the form of an address. They publish no digests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mmearth_infer.contract.bands import MMEARTH_BANDS, MMEARTH_RGB_BANDS

PAGE: Final = "https://github.com/vishalned/MMEarth-train"
"""Where the authors list them."""

SHARE: Final = "https://sid.erda.dk/share_redirect/g23YOnaaTp"
"""Address of their folder."""

FILE: Final = "checkpoint-199.pth"
"""What every checkpoint is called in it, in a folder of its name."""

_NAMES: Final = (
    "pt-all_mod_atto_1M_64_uncertainty_56-8",
    "pt-all_mod_atto_1M_64_unweighted_56-8",
    "pt-all_mod_atto_1M_128_uncertainty_112-16",
    "pt-all_mod_tiny_1M_64_uncertainty_56-8",
    "pt-all_mod_atto_100k_128_uncertainty_112-16",
    "pt-img_mod_atto_1M_64_uncertainty_56-8",
    "pt-pix_mod_atto_1M_64_uncertainty_56-8",
    "pt-S2_atto_1M_64_uncertainty_56-8",
    "pt-rgb_atto_1M_64_uncertainty_56-8",
    "pt-rgb_atto_1M_128_uncertainty_112-16",
)
_FORM: Final = re.compile(
    r"pt-(?P<learns>\w+)_(?P<size>atto|tiny)_(?P<data>\w+)_(?P<weighting>[a-z]+)"
    r"_\d+-(?P<patch>\d+)"
)
_LEARNS: Final = {
    "all_mod": "all modalities",
    "img_mod": "modalities of a whole image",
    "pix_mod": "modalities of pixels",
    "S2": "Sentinel-2",
    "rgb": "B2, B3, B4",
}
_DATA: Final = {
    "1M_64": "MMEarth64",
    "1M_128": "MMEarth",
    "100k_128": "MMEarth100k",
}
_MOST_BYTES: Final = {"atto": 2**29, "tiny": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published checkpoint."""

    name: str
    """What the authors call it."""

    size: str
    """Size of its encoder."""

    patch_px: int
    """Pixels a side of a cell of its last stage."""

    bands: tuple[str, ...]
    """Bands it reads, in order."""

    learns: str
    """What it learnt to tell from them."""

    data: str
    """Data set it was trained on."""

    weighting: str
    """How its tasks were weighted."""

    @property
    def about(self) -> str:
        """What it is, in a line."""
        reads = "12 bands" if self.bands == MMEARTH_BANDS else ", ".join(self.bands)
        return (
            f"{self.size}/{self.patch_px}, {reads} to {self.learns}, {self.data}, "
            f"{self.weighting}"
        )

    @property
    def most_bytes(self) -> int:
        """What its file is not larger than: weights and twice as much of AdamW.

        35.3 million weights of atto/16 with its decoders make 424 MB, about 60 million
        of tiny/8 720 MB.
        """
        return _MOST_BYTES[self.size]

    def address(self, share: str = SHARE) -> str:
        """Return the address of its file, below that of a folder."""
        return f"{share.rstrip('/')}/{self.name}/{FILE}"


def _parse(name: str) -> Published:
    """Read what a checkpoint is off its name."""
    said = _FORM.fullmatch(name)
    assert said is not None, name
    return Published(
        name=name,
        size=said["size"],
        patch_px=int(said["patch"]),
        bands=MMEARTH_RGB_BANDS if said["learns"] == "rgb" else MMEARTH_BANDS,
        learns=_LEARNS[said["learns"]],
        data=_DATA[said["data"]],
        weighting=said["weighting"],
    )


PUBLISHED: Final = {name: _parse(name) for name in _NAMES}
"""The checkpoints by name, in the authors' order."""
