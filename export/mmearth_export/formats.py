"""Kinds of model files: what a network is built into, and how that is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, get_args

from mmearth_infer.engine.choice import EngineName  # noqa: TC001 -- read at run time

Tiles = tuple[int, int, int]
"""`(N, H, W)` of a batch."""

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mmearth_export.calibrate import Tile
    from mmearth_export.network import Network
    from mmearth_infer.contract.manifest import Manifest

Format = Literal["onnx", "openvino", "pt2", "trt"]
"""A kind of model file."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)

SUFFIXES: Final[Mapping[Format, tuple[str, ...]]] = {
    "onnx": (".onnx",),
    "openvino": (".xml", ".bin"),
    "pt2": (".pt2",),
    "trt": (".engine",),
}
"""Suffix of the file, and of those that lie beside it."""

VERIFIED_BY: Final[Mapping[Format, EngineName]] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "pt2": "torch",
    "trt": "tensorrt",
}
"""Engine that a file is held against eager PyTorch with."""


LARGEST: Final[Tiles] = (8, 672, 672)
"""Largest batch of an engine of TensorRT when none is named: `mmearth embed`'s own."""


class Artefact(Protocol):
    """A compiled network in memory."""

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write it with its manifest inside."""
        ...


def build(
    kind: Format,
    network: Network,
    manifest: Manifest,
    tiles: Sequence[Tile] = (),
    *,
    largest: Tiles = LARGEST,
) -> Artefact:
    """Build a network into a kind of model.

    Args:
        kind: The kind.
        network: With GRN scope `window` or `frozen`.
        manifest: Says outputs and precision.
        tiles: What ranges of int8 are measured on.
        largest: Largest batch, for what is compiled for sizes.

    Raises:
        ModelError: If it cannot be built.

    """
    if kind == "trt":
        from mmearth_export.to_trt import TrtArtefact  # noqa: PLC0415 -- an extra

        return TrtArtefact(network, manifest, tiles, largest)
    return _BUILDERS[kind](network, manifest, tiles)


def _build_onnx(
    network: Network, manifest: Manifest, tiles: Sequence[Tile]
) -> Artefact:
    from mmearth_export.to_onnx import OnnxArtefact  # noqa: PLC0415 -- slow to import

    return OnnxArtefact(network, manifest, tiles)


def _build_openvino(
    network: Network, manifest: Manifest, tiles: Sequence[Tile]
) -> Artefact:
    from mmearth_export.to_openvino import OpenvinoArtefact  # noqa: PLC0415 -- an extra

    return OpenvinoArtefact(network, manifest, tiles)


def _build_pt2(
    network: Network, manifest: Manifest, _tiles: Sequence[Tile]
) -> Artefact:
    from mmearth_export.to_aot import AotArtefact  # noqa: PLC0415 -- slow to import

    return AotArtefact(network, manifest)


_BUILDERS: Final[
    Mapping[Format, Callable[[Network, Manifest, Sequence[Tile]], Artefact]]
] = {
    "onnx": _build_onnx,
    "openvino": _build_openvino,
    "pt2": _build_pt2,
}
