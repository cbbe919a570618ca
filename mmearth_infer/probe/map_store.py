"""A store of embeddings and a probe make a store of a map, as `mmearth segment` does.

Shapes: K classes, h w cells of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmearth_infer.grid.window import Window
from mmearth_infer.probe.apply import logits_of, opened
from mmearth_infer.seams import Strip
from mmearth_infer.write.layout import COMPLETE
from mmearth_infer.write.map_store import MapSink, map_layers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mmearth_infer.probe.apply import ApplyConfig
    from mmearth_infer.probe.cells import Cells
    from mmearth_infer.probe.probe_file import ProbeFile


def write_map_store(config: ApplyConfig, *, probabilities: bool) -> None:
    """Map the classes of a probe over a store of embeddings, block by block.

    The map says of its origin what the store does, and which probe it is of.

    Args:
        config: What to read, and where to write.
        probabilities: Keep the probability of each class, too.

    Raises:
        MMEarthError: With a hint. Nothing is under the map's name, or what was there
            before.

    """
    assert config.out is not None, "a store has a place"
    probe, embedding = opened(config)
    said = {
        **embedding.provenance,
        "probe": {"digest": f"sha256:{probe.digest}", "kind": probe.manifest.kind},
        "output": {"probabilities": probabilities},
        **config.tags,
    }
    del said[COMPLETE]  # which it becomes last of all
    layers = map_layers(
        embedding.geobox,
        probe.manifest.classes,
        stride_px=embedding.stride_px or 1,
        probabilities=probabilities,
    )
    with MapSink(
        config.out,
        layers=layers,
        provenance=said,
        job=said,
        overwrite=config.overwrite,
    ) as sink:
        for block in _blocks(embedding, sink.chunk_cells):
            logits_Khw = _logits(probe, embedding, block)
            valid_hw = np.isfinite(logits_Khw[0]).astype(np.float32)
            sink.write(
                [
                    Strip(
                        row=block.row,
                        col=block.col,
                        features_DhW=logits_Khw,
                        valid_hW=valid_hw,
                    )
                ]
            )
        sink.finish()


def _logits(probe: ProbeFile, embedding: Cells, block: Window) -> NDArray[np.float32]:
    """Return `logits_Khw` of a block, of whose embeddings a chunk is held at a time."""
    classes = len(probe.manifest.classes)
    logits_Khw = np.empty((classes, block.height, block.width), np.float32)
    for part in _blocks(embedding, embedding.chunk_cells, block):
        rows = slice(part.row - block.row, part.row - block.row + part.height)
        cols = slice(part.col - block.col, part.col - block.col + part.width)
        logits_Khw[:, rows, cols] = logits_of(probe, embedding.read(part))
    return logits_Khw


def _blocks(
    embedding: Cells, side: int, within: Window | None = None
) -> Iterator[Window]:
    """Yield squares that partition a window of a store, or all of it, row by row."""
    box = embedding.geobox
    whole = within or Window(row=0, col=0, height=box.height, width=box.width)
    bottom, right = whole.row + whole.height, whole.col + whole.width
    for row in range(whole.row, bottom, side):
        for col in range(whole.col, right, side):
            yield Window(row=row, col=col, height=side, width=side).clipped(
                bottom, right
            )
