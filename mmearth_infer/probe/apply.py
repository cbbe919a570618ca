"""`mmearth probe apply`: a store and a probe make a map.

Shapes: N cells, D channels, K classes, h w cells of a window.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmearth_infer.contract.classes import NODATA_CLASS
from mmearth_infer.disk import check_files, check_suffix
from mmearth_infer.probe.cells import open_cells
from mmearth_infer.probe.probe_file import open_probe
from mmearth_infer.seams import Strip
from mmearth_infer.write.classes import ClassEncoding, ShareEncoding
from mmearth_infer.write.cog_file import TIFFS
from mmearth_infer.write.map_cog import class_map, share_map
from mmearth_infer.write.map_store import map_layers
from mmearth_infer.write.memory import MemoryMapSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from mmearth_infer.grid.window import Window
    from mmearth_infer.probe.cells import Cells
    from mmearth_infer.probe.probe_file import ProbeFile
    from mmearth_infer.write.address import Where
    from mmearth_infer.write.memory import Held

    Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyConfig:
    """A run of `mmearth probe apply`."""

    store: str | Where
    """A finished store: a path, or an address."""

    probe: Path
    """The probe."""

    out: Path | None = None
    """Where the map goes; None to hold it in memory."""

    probabilities: Path | None = None
    """Where a band a class goes with its probability."""

    allow_other_model: bool = False
    """Accept embeddings of another model file."""

    overwrite: bool = False
    """Replace files that are there."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """What the map says besides, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What was mapped."""

    map: str
    """The file."""

    height: int
    """Rows of cells."""

    width: int
    """Columns of cells."""

    cells: dict[str, int]
    """Cells of each class."""

    square_km: dict[str, float]
    """About the area of each class."""

    without_data: int
    """Cells without data."""

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))


def apply_probe(config: ApplyConfig, tell: Tell) -> Mapped:
    """Map the classes of a probe over a store, window by window.

    The map is a COG in uint8 on the grid of the probe's cells: classes from 0, 255
    where an embedding is not finite, the colours of the classes in its palette.

    Args:
        config: What to read, and where to write.
        tell: Is told what is done, how far it is, and how far it goes.

    Raises:
        MMEarthError: With a hint. Nothing is under the map's name, or what was there
            before.

    """
    assert config.out is not None, "a map in memory has no place"
    for out in filter(None, (config.out, config.probabilities)):
        check_suffix(out, TIFFS, "a .tif")
    check_files([config.out, config.probabilities], overwrite=config.overwrite)
    probe, embedding = opened(config)
    manifest, box = probe.manifest, embedding.geobox
    counts = np.zeros(NODATA_CLASS + 1, dtype=np.int64)
    tags = {
        "MMEARTH_MODEL": embedding.model_name,
        "MMEARTH_MODEL_DIGEST": embedding.model_digest,
        "MMEARTH_PROBE_DIGEST": f"sha256:{probe.digest}",
        **config.tags,
    }
    as_class = ClassEncoding(classes=manifest.classes)
    as_shares = ShareEncoding(classes=manifest.classes)
    with ExitStack() as stack:
        write_classes = stack.enter_context(
            class_map(config.out, box, manifest.classes, tags)
        )
        write_shares = config.probabilities and stack.enter_context(
            share_map(config.probabilities, box, manifest.classes, tags)
        )
        for window, logits_Khw in _logits(probe, embedding, tell):
            (class_hw,), _ = as_class.encode(logits_Khw)
            write_classes(class_hw, window)
            if write_shares:
                write_shares(as_shares.encode(logits_Khw)[0], window)
            counts += np.bincount(class_hw.ravel(), minlength=len(counts))
    km2 = box.square_km / box.pixels
    cells = dict(zip(manifest.names, counts.tolist(), strict=False))
    return Mapped(
        map=str(config.out),
        height=box.height,
        width=box.width,
        cells=cells,
        square_km={name: round(count * km2, 4) for name, count in cells.items()},
        without_data=int(counts[NODATA_CLASS]),
    )


def apply_in_memory(
    config: ApplyConfig, tell: Tell, *, probabilities: bool
) -> tuple[Held, ...]:
    """Map the classes of a probe over a store, and hold what `apply_probe` would write.

    Args:
        config: What to read.
        tell: Is told what is done, how far it is, and how far it goes.
        probabilities: Hold the probability of each class too, before the classes.

    Raises:
        MMEarthError: With a hint.

    """
    probe, embedding = opened(config)
    layers = map_layers(
        embedding.geobox,
        probe.manifest.classes,
        stride_px=embedding.stride_px or 1,
        probabilities=probabilities,
    )
    sink = MemoryMapSink(layers)
    for window, logits_Khw in _logits(probe, embedding, tell):
        sink.write(
            [
                Strip(
                    row=window.row,
                    col=window.col,
                    features_DhW=logits_Khw,
                    valid_hW=np.isfinite(logits_Khw[0]).astype(np.float32),
                )
            ]
        )
    return sink.held


def opened(config: ApplyConfig) -> tuple[ProbeFile, Cells]:
    """Open a probe and a store that it was made for.

    Raises:
        MMEarthError: If it was made for another, or one cannot be read.

    """
    probe = open_probe(config.probe)
    embedding = open_cells(config.store, probe.manifest.stages)
    probe.check_model(
        embedding.model_name,
        embedding.model_digest,
        allow_other=config.allow_other_model,
    )
    probe.check_channels(embedding.channels)
    return probe, embedding


def _logits(
    probe: ProbeFile, embedding: Cells, tell: Tell
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """Yield `logits_Khw` of windows, NaN where an embedding is not finite."""
    windows = list(embedding.chunks())
    for done, window in enumerate(windows, start=1):
        yield window, logits_of(probe, embedding.read(window))
        tell("cells", done, len(windows))


def logits_of(
    probe: ProbeFile, features_Dhw: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return `logits_Khw`, NaN where an embedding is not finite."""
    finite_hw = np.isfinite(features_Dhw).all(axis=0)
    shape = (len(probe.manifest.classes), *finite_hw.shape)
    logits_Khw = np.full(shape, np.nan, np.float32)
    logits_Khw[:, finite_hw] = probe.logits(features_Dhw[:, finite_hw].T).T
    return logits_Khw
