"""What embeddings are worth to a linear probe, beside plain numbers of the pixels.

    python -m tests.benchmarks.downstream [--model ENCODER.onnx]

Three small sets: `rstoolbox` (4 classes in polygons) and `sen1floods11` (water), cells
held out in spatial blocks; `eurosat` (10 classes of 10 chips), chips held out. Rows of
cells of one size have the same cells, folds and probe. Beside the model stand an
encoder of random weights, made here, and the means of the bands of a cell; for water
a threshold of NDWI, too. Prints the tables of docs/benchmarks/downstream.md; the last
line is JSON.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from mmearth_export.artifact import write_verified
from mmearth_export.describe import describe
from mmearth_infer.contract.bands import MMEARTH_BANDS
from mmearth_infer.contract.manifest import Provenance
from mmearth_infer.engine.open import open_model
from mmearth_infer.errors import SceneError
from mmearth_infer.probe.cells import open_cells
from mmearth_infer.probe.folds import choose_blocks, with_data
from mmearth_infer.probe.labels import LabelOptions, open_labels
from mmearth_infer.probe.sample import draw_places, find_places, read_features
from mmearth_infer.probe.scores import confusion_of, intervals, scores_of
from mmearth_infer.probe.validate import cross_validate
from mmearth_infer.read.options import SceneOptions
from mmearth_infer.run.config import EmbedConfig
from mmearth_infer.run.embed import embed
from tests.benchmarks.precision_cost import read_chips
from tests.helpers.data import RSTOOLBOX, SEN1FLOODS
from tests.helpers.models import echo_manifest, write_echo_model
from tests.helpers.untrained import CONFIG, untrained_encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 5
SEED = 0
STRIDES_PX = {1: 2, 2: 4, 3: 8, 4: 16}
"""Pixels a cell, of encoders with patches of 16 px."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A scene with labels."""

    name: str
    """What it is called."""

    scene: Path
    """The scene."""

    labels: Path
    """Its labels."""

    scene_options: SceneOptions
    """How it is read."""

    label_options: LabelOptions
    """How they are read."""


TASKS = (
    Task(
        name="rstoolbox",
        scene=RSTOOLBOX,
        labels=RSTOOLBOX.with_name("rstoolbox_trainingPolygons_sen2.geojson"),
        scene_options=SceneOptions(offset="-1000", allow_resolution=True),
        label_options=LabelOptions(class_field="class"),
    ),
    Task(
        name="sen1floods11",
        scene=SEN1FLOODS,
        labels=SEN1FLOODS.with_name("Spain_7370579_LabelHand.tif"),
        scene_options=SceneOptions(allow_resolution=True),
        label_options=LabelOptions(names={0: "dry", 1: "water"}, ignore=(-1,)),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to see a set, and how well a probe does with it."""

    task: str
    """The set."""

    features: str
    """What the probe sees."""

    cells: int
    """Cells or chips; 0 where there are too few to validate."""

    blocks: str
    """How many blocks, and how large."""

    accuracy: tuple[float, float, float]
    """Value, and the ends of its 95 % interval."""

    mean_iou: tuple[float, float, float]
    """Likewise."""

    def __str__(self) -> str:
        """Return it as a row of a table."""
        if not self.cells:
            return f"| {self.features} | {self.blocks} | | | |"
        said = [
            f"{value:.3f} ({low:.3f} to {high:.3f})"
            for value, low, high in (self.accuracy, self.mean_iou)
        ]
        columns = (self.features, str(self.cells), self.blocks, *said)
        return f"| {' | '.join(columns)} |"


def write_untrained(path: Path) -> Path:
    """Write an encoder of random weights that gives all four stages."""
    manifest = describe(
        CONFIG,
        name="random weights",
        size_name="custom",
        bands=MMEARTH_BANDS,
        stages=(1, 2, 3, 4),
        crop_px=112,
        provenance=Provenance(trained=False, checkpoint="random weights"),
    )
    write_verified(untrained_encoder(), manifest, path)
    return path


def write_bands(folder: Path, stage: int) -> Path:
    """Write a model that gives the mean of each band over a cell."""
    manifest = echo_manifest(stride_px=STRIDES_PX[stage], stage=stage)
    return write_echo_model(folder / f"bands{stage}.onnx", manifest)


def measure_cells(
    task: Task, model: Path, stages: tuple[int, ...], *, label: str
) -> list[Row]:
    """Return a row for a model's cells; for band means of water, two for NDWI too."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "s.zarr"
        embed(
            EmbedConfig(
                scene=str(task.scene),
                out=store,
                model=model,
                stages=stages,
                options=task.scene_options,
            )
        )
        embedding = open_cells(store, stages)
        try:
            found = find_places(
                [embedding],
                [open_labels(task.labels, task.label_options)],
                min_share=0.5,
                tell=lambda *_: None,
            )
            drawn = draw_places(found, 20_000, SEED)
            places, features_SD = read_features([embedding], drawn, lambda *_: None)
            places = with_data(places, FOLDS, [])
            side, block_S = choose_blocks(
                places,
                [embedding.geobox],
                folds=FOLDS,
                block_cells=None,
                block_m=None,
                warnings=[],
            )
        except SceneError as error:
            nothing = (0.0, 0.0, 0.0)
            said = str(error).partition(":")[0]
            return [
                Row(
                    task=task.name,
                    features=label,
                    cells=0,
                    blocks=said,
                    accuracy=nothing,
                    mean_iou=nothing,
                )
            ]
        size_m = side * embedding.geobox.pixel_m()[0]
    blocks = f"{len(np.unique(block_S))} of {size_m:.0f} m"
    rows = [_row(task.name, label, features_SD, places.class_S, block_S, blocks=blocks)]
    if label.startswith("band means") and places.names == ("dry", "water"):
        rows += ndwi_rows(task.name, features_SD, places.class_S, block_S, blocks)
    return rows


def _row(
    task: str,
    label: str,
    features_SD: NDArray[np.float32],
    class_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    *,
    blocks: str,
) -> Row:
    """Cross-validate a logistic probe."""
    with threadpool_limits(1):
        validation = cross_validate(
            "logistic",
            features_SD,
            class_S,
            block_S,
            names=tuple(str(n) for n in range(int(class_S.max()) + 1)),
            folds=FOLDS,
            block_cells=1,
            block_m=0,
            balanced=False,
            seed=SEED,
            tell=lambda *_: None,
        )
    score, iou = (validation.scores[name] for name in ("accuracy", "mean_iou"))
    return Row(
        task=task,
        features=label,
        cells=len(class_S),
        blocks=blocks,
        accuracy=(score.value, score.low, score.high),
        mean_iou=(iou.value, iou.low, iou.high),
    )


def ndwi_rows(
    task: str,
    means_SD: NDArray[np.float32],
    class_S: NDArray[np.int64],
    block_S: NDArray[np.int64],
    blocks: str,
) -> list[Row]:
    """Return rows of thresholds: 0, and the one that is best on the training blocks."""
    green_S, nir_S = (means_SD[:, MMEARTH_BANDS.index(band)] for band in ("B3", "B8"))
    ndwi_S = (green_S - nir_S) / (green_S + nir_S)
    best_S = np.zeros(len(class_S), dtype=np.int64)
    split = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    for train, test in split.split(means_SD, class_S, groups=block_S):
        tried = np.quantile(ndwi_S[train], np.linspace(0.02, 0.98, 97))
        worth = [
            scores_of(
                confusion_of(class_S[train], (ndwi_S[train] > t).astype(np.int64), 2)
            )["mean_iou"]
            for t in tried
        ]
        best_S[test] = ndwi_S[test] > tried[int(np.argmax(worth))]
    rows = []
    for label, said_S in (
        ("NDWI > 0", (ndwi_S > 0).astype(np.int64)),
        ("NDWI, threshold of the training blocks", best_S),
    ):
        numbers, place_S = np.unique(block_S, return_inverse=True)
        confusion_B22 = np.zeros((len(numbers), 2, 2), dtype=np.int64)
        np.add.at(confusion_B22, (place_S, class_S, said_S), 1)
        scores, ends = scores_of(confusion_B22.sum(axis=0)), intervals(confusion_B22, 0)
        rows.append(
            Row(
                task=task,
                features=label,
                cells=len(class_S),
                blocks=blocks,
                accuracy=(float(scores["accuracy"]), *ends["accuracy"]),
                mean_iou=(float(scores["mean_iou"]), *ends["mean_iou"]),
            )
        )
    return rows


def measure_chips(models: dict[str, Path]) -> list[Row]:
    """Return rows for EuroSAT: each stage of each model, and numbers of the pixels."""
    chips, names = read_chips(MMEARTH_BANDS)
    _, class_S = np.unique(names, return_inverse=True)
    chip_S = np.arange(len(class_S))
    pixels = chips.astype(np.float32)
    mean, std = pixels.mean((2, 3)), pixels.std((2, 3))
    seen = {
        "band means": mean,
        "band means and deviations": np.concatenate([mean, std], axis=1),
    }
    for name, path in models.items():
        model = open_model(path)
        outputs = model.file.manifest.outputs
        maps = model.engines(level="l1c", outputs=outputs)(chips)
        for output, features in zip(outputs, maps, strict=True):
            seen[f"{name}, stage {output.stage}"] = features.mean((2, 3))
    return [
        _row(
            "eurosat",
            label,
            features,
            class_S.astype(np.int64),
            chip_S,
            blocks=f"{len(chip_S)} chips",
        )
        for label, features in seen.items()
    ]


@click.command()
@click.option("--model", type=click.Path(path_type=Path), help="A trained encoder.")
def main(*, model: Path | None) -> None:
    """Print the tables."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        models = {"random weights": write_untrained(Path(folder) / "random.onnx")}
        if model is not None:
            models = {open_model(model).file.manifest.name: model, **models}
        for task in TASKS:
            for stage, px in STRIDES_PX.items():
                bands = write_bands(Path(folder), stage)
                label = f"band means, {px} px"
                rows += measure_cells(task, bands, (stage,), label=label)
                for name, path in models.items():
                    outputs = open_model(path).file.manifest.outputs
                    held = {one.stage for one in outputs}
                    several = tuple(range(1, stage + 1))
                    if stage in held:
                        label = f"{name}, stage {stage}, {px} px"
                        rows += measure_cells(task, path, (stage,), label=label)
                    if stage > 1 and held.issuperset(several):
                        label = f"{name}, stages 1 to {stage}, {px} px"
                        rows += measure_cells(task, path, several, label=label)
        rows += measure_chips(models)
    for task_name in dict.fromkeys(row.task for row in rows):
        print(f"\n## {task_name}\n")
        print("| features | cells | blocks | accuracy | mean IoU |")
        print("|---|---|---|---|---|")
        print(*(row for row in rows if row.task == task_name), sep="\n")
    print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
