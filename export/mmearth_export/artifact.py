"""From a checkpoint to a model file that passed the gate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Literal

from mmearth_export.calibrate import freeze, int8_scales, read_windows
from mmearth_export.describe import default_name, describe, of_segmentation
from mmearth_export.formats import LARGEST, SUFFIXES, VERIFIED_BY, Format, build
from mmearth_export.precision import check_pair
from mmearth_export.to_trt import check_host
from mmearth_export.verify import verify
from mmearth_infer.contract.card import card_from_toml
from mmearth_infer.contract.manifest import Manifest, Precision, Provenance, Storage
from mmearth_infer.disk import disk_errors, files_beside
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import ManifestError, ModelError, StoreError
from mmearth_infer.read.options import SceneOptions
from mmearth_training.encoder_checkpoint import UnetCheckpoint
from mmearth_training.load import load_encoder
from mmearth_training.model.encoder import STAGES
from mmearth_training.model.unet import Unet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mmearth_export.calibrate import Tile
    from mmearth_export.formats import Tiles
    from mmearth_export.network import Network
    from mmearth_infer.contract.card import Card
    from mmearth_training.encoder_checkpoint import EncoderCheckpoint

GrnChoice = Literal["window", "frozen"]
"""What GRN of an exported model takes its norm over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """A run of `mmearth export`."""

    checkpoint: Path
    """A published checkpoint, one of our own training, or a run."""

    out: Path
    """Where the model file goes."""

    format: Format = "onnx"
    """Kind of model file."""

    grn: GrnChoice = "window"
    """What GRN takes its norm over: each window, or what was measured on scenes."""

    precision: Precision = "fp32"
    """Arithmetic of the matrix products."""

    weights: Storage | None = None
    """What weights are kept in; None for what they are computed with."""

    calibrate: tuple[str, ...] = ()
    """Scenes that frozen GRN, and ranges and scales of int8, are measured on."""

    options: SceneOptions = field(default_factory=SceneOptions)
    """How to read them."""

    stages: tuple[int, ...] = (STAGES,)
    """Stages the model gives; the graph ends behind the deepest."""

    grn_eps: float = 1e-4
    """Epsilon of window GRN; 1e-4 is what published dense inference uses."""

    window_px: int = LARGEST[1]
    """Side of the largest tile, for TensorRT, which compiles for sizes."""

    batch_size: int = LARGEST[0]
    """Tiles of its largest batch."""

    name: str | None = None
    """What the model is called; None for the checkpoint's size and patch."""

    card: Path | None = None
    """A TOML file with the model's `Card`."""

    overwrite: bool = False
    """Replace a file that is there."""

    def __post_init__(self) -> None:
        """Refuse stages no encoder has.

        Raises:
            ModelError: Naming the value.

        """
        wrong = [stage for stage in self.stages if not 1 <= stage <= STAGES]
        if wrong or not self.stages:
            raise ModelError(
                f"an encoder has stages 1 to {STAGES}, not {wrong}",
                hint="--stage takes one of them",
            )
        if not self.grn_eps > 0:
            raise ModelError(
                f"--grn-eps {self.grn_eps} is not above 0",
                hint="1e-4 is what published inference has",
            )
        check_pair(
            self.format,
            self.precision,
            frozen=self.grn == "frozen",
            weights=self.weights,
        )
        if self.grn == "frozen" and not self.calibrate:
            raise ModelError(
                "frozen GRN is measured on scenes, and none is given",
                hint="--grn frozen --calibrate SCENE; several by repeating the flag",
            )


def export_model(config: ExportConfig) -> Manifest:
    """Export a checkpoint.

    Returns:
        The manifest in the file, with the report of the comparison.

    Raises:
        ModelError: If the checkpoint cannot be used.
        SceneError: If a scene of the calibration cannot be read.
        CalibrationError: If GRN cannot be measured on the scenes.
        VerificationError: If the file disagrees with eager PyTorch; it is not kept.
        StoreError: If the file exists or cannot be written.

    """
    check_place(config.out, config.format, overwrite=config.overwrite)
    if config.format == "trt":
        check_host()
    card = None if config.card is None else read_card(config.card)
    checkpoint = load_encoder(config.checkpoint)
    network = build_network(checkpoint, config)
    encoder = network.encoder if isinstance(network, Unet) else network
    source: str | None = None
    tiles: tuple[Tile, ...] = ()
    scales: dict[int, float] = {}
    if config.calibrate:
        calibration = read_windows(
            config.calibrate,
            bands=checkpoint.bands,
            statistics=checkpoint.statistics,
            options=config.options,
        )
        tiles = calibration.tiles
        windows = [tile.standardised() for tile in tiles]
        if config.grn == "frozen":
            source = calibration.source
            freeze(encoder, windows)
        if network is encoder:
            scales = int8_scales(encoder, windows, config.stages)
    manifest = describe(
        encoder.config,
        name=config.name or default_name(checkpoint),
        size_name=checkpoint.size_name,
        bands=checkpoint.bands,
        stages=config.stages,
        crop_px=checkpoint.crop_px,
        statistics=checkpoint.statistics,
        grn_source=source,
        precision=config.precision,
        weights=config.weights,
        int8_scales=scales,
        provenance=Provenance(
            trained=True,
            checkpoint=checkpoint.name,
            checkpoint_sha256=checkpoint.sha256,
            code_version=version("mmearth-infer"),
            statistics=checkpoint.statistics_source,
            card=card,
            facts=dict(checkpoint.facts),
        ),
    )
    if isinstance(checkpoint, UnetCheckpoint):
        manifest = of_segmentation(manifest, encoder.config, checkpoint.classes)
    return write_verified(
        network,
        manifest,
        config.out,
        kind=config.format,
        tiles=tiles,
        largest=(config.batch_size, config.window_px, config.window_px),
    )


def read_card(path: Path) -> Card:
    """Read the card of a model.

    Raises:
        ManifestError: If it is none.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ManifestError(
            f"cannot read the card `{path}`: {why}", hint="--card takes a TOML file"
        ) from error
    return card_from_toml(text, source=str(path))


def build_network(checkpoint: EncoderCheckpoint, config: ExportConfig) -> Network:
    """Build what a checkpoint holds, with the GRN that is asked for.

    Raises:
        ModelError: If stages are asked for of a segmentation model.

    """
    shape = replace(checkpoint.config, grn=config.grn, grn_eps=config.grn_eps)
    if not isinstance(checkpoint, UnetCheckpoint):
        return checkpoint.encoder(shape)
    if config.stages != (STAGES,):
        raise ModelError(
            f"`{checkpoint.name}` is a segmentation model, which gives logits and no "
            "stages",
            hint="leave --stage out",
        )
    return checkpoint.unet(shape)


def write_verified(  # noqa: PLR0913 -- what `build` takes, and where it goes
    network: Network,
    manifest: Manifest,
    out: Path,
    *,
    kind: Format = "onnx",
    tiles: Sequence[Tile] = (),
    largest: Tiles = LARGEST,
) -> Manifest:
    """Export a network, compare the file with it, and only then keep the file.

    Raises:
        ModelError: If it cannot be built.
        VerificationError: If they disagree; what was at `out` is left as it was.
        StoreError: If the file cannot be written.

    """
    artefact = build(kind, network, manifest, tiles, largest=largest)
    with disk_errors(out), files_beside(out, SUFFIXES[kind]) as aside:
        artefact.write(manifest, aside)
        model = open_model(aside, engine=VERIFIED_BY[kind], trusted=True)
        report = verify(model, network, manifest)
        manifest = replace(manifest, verification=report)
        artefact.write(manifest, aside)
    return manifest


def check_place(out: Path, kind: Format, *, overwrite: bool) -> None:
    """Refuse to overwrite files unasked, folders always, and names of other kinds.

    Raises:
        StoreError: Naming what is there.
        ModelError: If the name does not end as such models do.

    """
    if out.is_dir():
        raise StoreError(f"`{out}` is a folder", hint="-o takes the name of a file")
    suffix = SUFFIXES[kind][0]
    if out.suffix != suffix:
        raise ModelError(
            f"`{out}` does not end in `{suffix}`, as {kind} models do",
            hint=f"-o {out.with_suffix(suffix).name}",
        )
    for path in map(out.with_suffix, SUFFIXES[kind]):
        if path.exists() and not overwrite:
            raise StoreError(f"`{path}` exists already", hint="--overwrite replaces it")
