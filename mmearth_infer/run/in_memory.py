"""Runs whose maps stay in memory: the same values as in a store, and no store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmearth_infer.run.embed import embedding_layers
from mmearth_infer.run.pipeline import refuse_empty
from mmearth_infer.run.prepared import compute, prepare
from mmearth_infer.run.report import Stopwatch
from mmearth_infer.run.segment import panel_px, segment_layers
from mmearth_infer.run.tiling import PANEL_PX
from mmearth_infer.write.memory import MemoryMapSink, MemorySink

if TYPE_CHECKING:
    from mmearth_infer.run.config import EmbedConfig, SegmentConfig
    from mmearth_infer.run.pipeline import Progress
    from mmearth_infer.run.prepared import Prepared
    from mmearth_infer.write.memory import Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What a run made."""

    held: tuple[Held, ...]
    """Its maps, in the order of its layers."""

    made: Prepared
    """The model and the scene, which is closed."""


def embed_in_memory(config: EmbedConfig, progress: Progress | None = None) -> Computed:
    """Embed a scene; maps are those of the model's outputs.

    Args:
        config: What to read, and how.
        progress: Is told how far it is; None for nobody.

    Raises:
        MMEarthError: With a hint.

    """
    watch = Stopwatch()
    with prepare(config, task="embedding", stages=config.stages, watch=watch) as made:
        sink = MemorySink(embedding_layers(made, config))
        valid = compute(
            made, sink, config, panel_px=PANEL_PX, watch=watch, progress=progress
        )
        refuse_empty(valid, made.scene.name)
    return Computed(held=sink.held, made=made)


def segment_in_memory(
    config: SegmentConfig, progress: Progress | None = None
) -> Computed:
    """Map the classes of a scene; probabilities come first, if asked for.

    Args:
        config: What to read, and how.
        progress: Is told how far it is; None for nobody.

    Raises:
        MMEarthError: With a hint.

    """
    watch = Stopwatch()
    with prepare(config, task="segmentation", watch=watch) as made:
        sink = MemoryMapSink(segment_layers(made, config))
        valid = compute(
            made,
            sink,
            config,
            panel_px=panel_px(made, sink.chunk_cells),
            watch=watch,
            progress=progress,
        )
        refuse_empty(valid, made.scene.name)
    return Computed(held=sink.held, made=made)
